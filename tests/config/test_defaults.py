"""The defaults: their number, and those that released configs rely on without stating them."""

from pathlib import Path

import pytest

from litepred.config import node
from litepred.config.node import read_defaults
from litepred.config.safe_yaml import parse_yaml


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


DEFAULTS = read_defaults()
LEAVES = dict(flat(DEFAULTS))


def test_every_key_is_there_once():
    assert len(LEAVES) == 192
    assert set(DEFAULTS["MODEL"]) >= {"BACKBONE", "FPN", "RESNETS", "RPN", "ROI_HEADS", "RETINANET", "PANOPTIC_FPN"}


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("DATASETS.TEST", ()),
        ("MODEL.FPN.IN_FEATURES", []),
        ("MODEL.WEIGHTS", ""),
        ("SOLVER.WEIGHT_DECAY_BIAS", None),
        ("VERSION", 2),
        ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
        ("MODEL.RESNETS.STRIDE_IN_1X1", True),
        ("MODEL.RESNETS.OUT_FEATURES", ["res4"]),
        ("MODEL.ANCHOR_GENERATOR.OFFSET", 0.0),
        ("MODEL.ANCHOR_GENERATOR.SIZES", [[32, 64, 128, 256, 512]]),
        ("MODEL.RPN.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0)),
        ("MODEL.RPN.CONV_DIMS", [-1]),
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.05),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"),
        ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 14),
        ("MODEL.ROI_BOX_HEAD.NUM_FC", 0),
        (
            "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS",
            ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)),
        ),
        ("MODEL.ROI_MASK_HEAD.NUM_CONV", 0),
        ("MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", (512, 512, 512, 512, 512, 512, 512, 512)),
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 54),
        ("MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT", 4096),
        ("MODEL.RETINANET.SMOOTH_L1_LOSS_BETA", 0.1),
        ("INPUT.MAX_SIZE_TEST", 1333),
        ("TEST.DETECTIONS_PER_IMAGE", 100),
        ("TEST.AUG.MIN_SIZES", (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)),
    ],
)
def test_default(key, default):
    assert LEAVES[key] == default
    assert type(LEAVES[key]) is type(default)


def test_the_fast_loader_reads_what_the_careful_one_reads():
    text = Path(node.__file__).with_name("defaults.yaml").read_text(encoding="utf-8")
    assert repr(read_defaults()) == repr(parse_yaml(text, "defaults.yaml"))  # the types as well
