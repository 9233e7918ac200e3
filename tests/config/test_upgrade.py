"""Files of versions 0 and 1 under today's names."""

import copy

import pytest

from litepred.config import get_cfg
from litepred.config.trees import nested
from litepred.config.upgrade import RENAMED, upgrade
from litepred.errors import ConfigError


@pytest.mark.parametrize(
    ("loaded", "expected"),
    [
        ({}, {}),
        ({"VERSION": 2}, {"VERSION": 2}),
        ({"VERSION": 2, "MODEL": {"WEIGHT": "w"}}, {"VERSION": 2, "MODEL": {"WEIGHT": "w"}}),
        ({"MODEL": {"RPN_HEAD": {"NAME": "X"}}}, {"MODEL": {"RPN_HEAD": {"NAME": "X"}}}),
        ({"VERSION": 0, "MODEL": {"RPN_HEAD": {"NAME": "X"}}}, {"VERSION": 2, "MODEL": {"RPN": {"HEAD_NAME": "X"}}}),
        ({"VERSION": 1, "MODEL": 3}, {"VERSION": 2, "MODEL": 3}),
        ({"MODEL": {"WEIGHT": "w", "MASK_ON": True}}, {"VERSION": 2, "MODEL": {"WEIGHTS": "w", "MASK_ON": True}}),
        ({"TEST": {"AUG_ON": True}}, {"VERSION": 2, "TEST": {"AUG": {"ENABLED": True}}}),
        (
            {"VERSION": 1, "MODEL": {"ROI_HEADS": {"NMS": 0.4, "SCORE_THRESH_TEST": 0.1}}},
            {"VERSION": 2, "MODEL": {"ROI_HEADS": {"NMS_THRESH_TEST": 0.4, "SCORE_THRESH_TEST": 0.1}}},
        ),
    ],
)
def test_upgrade(loaded, expected):
    before = copy.deepcopy(loaded)
    assert upgrade(loaded, "t", "GeneralizedRCNN") == expected
    assert loaded == before


ANCHORS = {"ANCHOR_SIZES": [[1]], "ANCHOR_ASPECT_RATIOS": [[2.0]]}
RETINANET_ANCHORS = {"ANCHOR_SIZES": [[3]], "ANCHOR_STRIDES": [8]}


@pytest.mark.parametrize(
    ("named", "merged_into", "sizes"),
    [
        ({}, "GeneralizedRCNN", {"SIZES": [[1]], "ASPECT_RATIOS": [[2.0]]}),
        ({}, "RetinaNet", {"SIZES": [[3]]}),
        ({"META_ARCHITECTURE": "RetinaNet"}, "GeneralizedRCNN", {"SIZES": [[3]]}),
        ({"META_ARCHITECTURE": "PanopticFPN"}, "RetinaNet", {"SIZES": [[1]], "ASPECT_RATIOS": [[2.0]]}),
    ],
)
def test_anchors_of_version_1(named, merged_into, sizes):
    loaded = {"VERSION": 1, "MODEL": {**named, "RPN": dict(ANCHORS), "RETINANET": dict(RETINANET_ANCHORS)}}
    assert upgrade(loaded, "t", merged_into) == {"VERSION": 2, "MODEL": {**named, "ANCHOR_GENERATOR": sizes}}


@pytest.mark.parametrize("old", RENAMED)
def test_every_old_name_reaches_a_key_that_exists(old):
    cfg = get_cfg()
    cfg.merge_from_other_cfg(upgrade(nested([("VERSION", 0), (old, None)], "t"), "t", ""))
    value = cfg
    for name in RENAMED[old].split("."):
        value = value[name]
    assert value is None


@pytest.mark.parametrize("version", [3, -1, "2", 1.0, True, None])
def test_unknown_version(version):
    with pytest.raises(ConfigError, match=r"t: config VERSION .* litepred reads 0 to 2"):
        upgrade({"VERSION": version}, "t", "")


@pytest.mark.parametrize(
    "loaded",
    [
        {"MODEL": {"WEIGHT": "a", "WEIGHTS": "b"}},
        {"VERSION": 1, "MODEL": {"RPN": None, "PANOPTIC_FPN": {"RPN_LOSS_SCALE": 1.0}}},
    ],
)
def test_conflict_of_old_and_new(loaded):
    with pytest.raises(ConfigError, match=r"t: .*(keep one|is a section)"):
        upgrade(loaded, "t", "")
