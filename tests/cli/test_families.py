"""The family of a model, from its heads and from its config."""

from __future__ import annotations

import pytest

from litepred.cli.families import family_of_config, family_of_heads
from litepred.config import get_cfg


@pytest.mark.parametrize(
    ("heads", "options", "name", "meta_architecture"),
    [
        ([], {}, "", ""),
        (["proposals"], {}, "RPN", "ProposalNetwork"),
        (["stuff"], {}, "Semantic FPN", "SemanticSegmentor"),
        (["boxes"], {}, "Fast R-CNN", "GeneralizedRCNN"),
        (["boxes"], {"dense": True}, "RetinaNet", "RetinaNet"),
        (["proposals", "boxes"], {}, "Faster R-CNN", "GeneralizedRCNN"),
        (["proposals", "boxes"], {"cascade": True}, "Cascade R-CNN", "GeneralizedRCNN"),
        (["boxes", "masks", "keypoints"], {"cascade": True}, "Cascade Mask Keypoint R-CNN", "GeneralizedRCNN"),
        (["proposals", "boxes", "surfaces"], {}, "DensePose R-CNN", "GeneralizedRCNN"),
        (["proposals", "boxes", "masks", "stuff"], {"cascade": True}, "Cascade Panoptic FPN", "PanopticFPN"),
    ],
)
def test_family_of_heads(heads, options, name, meta_architecture):
    family = family_of_heads(heads, **options)
    assert (family.name, family.meta_architecture, family.heads) == (name, meta_architecture, tuple(heads))


def test_a_meta_architecture_of_the_users_own_is_taken_for_an_r_cnn():
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "MyModel"
    assert family_of_config(cfg).name == "Faster R-CNN"
