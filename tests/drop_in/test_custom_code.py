"""Parts written for Detectron2 run for inference; `custom_code.py` is the program that has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("custom_code.py")
SIZES = "(128, 192) (64, 96)"
FIELDS = "['pred_boxes', 'pred_classes', 'scores']"


@pytest.mark.parametrize(
    ("options", "model", "fields", "rest"),
    [
        ("", "GeneralizedRCNN", FIELDS, {}),
        (
            "MODEL.BACKBONE.NAME build_short_resnet_backbone MODEL.RPN.IN_FEATURES ['res4'] "
            "MODEL.ROI_HEADS.IN_FEATURES ['res4'] MODEL.ANCHOR_GENERATOR.SIZES [[8,16]]",
            "GeneralizedRCNN",
            FIELDS,
            {},
        ),
        (
            "MODEL.ROI_HEADS.NAME OwnInitROIHeads",
            "GeneralizedRCNN",
            "['pred_boxes', 'pred_classes', 'pred_extra', 'scores']",
            {},
        ),
        ("MODEL.ROI_HEADS.NAME FromConfigROIHeads MODEL.TOY.SCALE 2.0", "GeneralizedRCNN", FIELDS, {}),
        ("MODEL.ROI_BOX_HEAD.NAME DoubledBoxHead MODEL.TOY.NORM GN32", None, "unknown normalisation 'GN32'", {}),
        ("MODEL.ROI_BOX_HEAD.NAME DoubledBoxHead", "GeneralizedRCNN", FIELDS, {}),
        ("MODEL.META_ARCHITECTURE SubclassRCNN MODEL.TOY.TAG mine", "SubclassRCNN", FIELDS, {"tag": "mine"}),
        ("MODEL.META_ARCHITECTURE PlainModule", "PlainModule", FIELDS, {}),
    ],
)
def test_custom_code(tmp_path, options, model, fields, rest):
    words = [sys.executable, "-m", "litepred", "run", str(PROGRAM), *options.split()]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    if model is None:
        assert done.returncode == 1
        assert fields in done.stderr
        return
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    name, count, told = first.split(" ", 2)
    assert (name, told, second) == (model, f"{SIZES} {fields}", str(rest))
    assert int(count) > 0
