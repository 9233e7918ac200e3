"""Parts written for Detectron2 run for inference; `custom_code.py` is the program that has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("custom_code.py")
FIELDS = "['pred_boxes', 'pred_classes', 'scores']"
ROWS = {
    "a backbone": ("MODEL.BACKBONE.NAME build_toy_fpn_backbone", f"GeneralizedRCNN {FIELDS} {{}}"),
    "a ResNet of its own": (
        "MODEL.BACKBONE.NAME build_short_resnet_backbone MODEL.RPN.IN_FEATURES ['res4'] "
        "MODEL.ROI_HEADS.IN_FEATURES ['res4'] MODEL.ANCHOR_GENERATOR.SIZES [[8,16]]",
        f"GeneralizedRCNN {FIELDS} {{}}",
    ),
    "ROI heads with (cfg, input_shape)": (
        "MODEL.ROI_HEADS.NAME OwnInitROIHeads",
        "GeneralizedRCNN ['pred_boxes', 'pred_classes', 'pred_extra', 'scores'] {}",
    ),
    "ROI heads with from_config": (
        "MODEL.ROI_HEADS.NAME FromConfigROIHeads MODEL.TOY.SCALE 2.0",
        f"GeneralizedRCNN {FIELDS} {{}}",
    ),
    "ROI heads with a box branch of their own": (
        "MODEL.ROI_HEADS.NAME OwnBoxROIHeads",
        "GeneralizedRCNN ['pred_boxes', 'pred_classes', 'proposal', 'scores'] {}",
    ),
    "an RPN that chooses proposals itself": (
        "MODEL.PROPOSAL_GENERATOR.NAME AllDecodedRPN",
        f"GeneralizedRCNN {FIELDS} {{}}",
    ),
    "a box head": ("MODEL.ROI_BOX_HEAD.NAME DoubledBoxHead", f"GeneralizedRCNN {FIELDS} {{}}"),
    "a subclass of GeneralizedRCNN": (
        "MODEL.META_ARCHITECTURE SubclassRCNN MODEL.TOY.TAG mine",
        f"SubclassRCNN {FIELDS} {{'tag': 'mine'}}",
    ),
    "a module of its own": ("MODEL.META_ARCHITECTURE PlainModule", f"PlainModule {FIELDS} {{}}"),
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    words = " / ".join(options for options, _ in ROWS.values()).split()
    done = subprocess.run(
        [sys.executable, "-m", "litepred", "run", str(PROGRAM), *words],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(ROWS, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("row", ROWS)
def test_custom_code(printed, row):
    name, count, rest = printed[row].split(" ", 2)
    assert f"{name} {rest.replace('(128, 192) (64, 96) ', '')}" == ROWS[row][1]
    assert "(128, 192) (64, 96)" in rest
    assert int(count) > 0
