"""DensePose's keys: in the configs that are used for it, and in no other."""

from __future__ import annotations

import pytest
import yaml

from litepred.config import CfgNode, get_cfg
from litepred.densepose import add_densepose_config as exported
from litepred.densepose.config import add_densepose_config
from litepred.errors import ConfigError


def full() -> CfgNode:
    cfg = get_cfg()
    add_densepose_config(cfg)
    return cfg


def test_a_plain_config_has_none_of_them():
    cfg = get_cfg()
    assert "ROI_DENSEPOSE_HEAD" not in cfg.MODEL and "BOOTSTRAP_MODEL" not in cfg
    cfg.merge_from_list(["MODEL.MASK_ON", True])
    assert cfg.keys() == get_cfg().keys() and cfg.MODEL.keys() == get_cfg().MODEL.keys()
    assert exported is add_densepose_config


def test_added_keys():
    cfg = full()
    head = cfg.MODEL.ROI_DENSEPOSE_HEAD
    assert cfg.MODEL.DENSEPOSE_ON is True
    assert (head.NAME, head.POOLER_TYPE, head.POOLER_SAMPLING_RATIO, head.DEEPLAB.NONLOCAL_ON) == (
        "",
        "ROIAlignV2",
        2,
        0,
    )
    assert cfg.MODEL.HRNET == head.CSE == cfg.DENSEPOSE_EVALUATION == {}
    assert cfg.TEST.AUG.ROTATION_ANGLES == () and cfg.INPUT.ROTATION_ANGLES == [0]


def test_configs_share_nothing():
    full().INPUT.ROTATION_ANGLES.append(90)
    assert full().INPUT.ROTATION_ANGLES == [0]


def test_adding_twice_keeps_values():
    cfg = full()
    cfg.MODEL.ROI_DENSEPOSE_HEAD.UP_SCALE = 4
    add_densepose_config(cfg)
    assert cfg.MODEL.ROI_DENSEPOSE_HEAD.UP_SCALE == 4


def test_a_frozen_config_is_left_alone():
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError):
        add_densepose_config(cfg)


CHANGES = {"MODEL": {"ROI_DENSEPOSE_HEAD": {"NAME": "DensePoseDeepLabHead"}, "MASK_ON": True}}


@pytest.mark.parametrize("way", ["file", "other", "list", "dump"])
def test_merging_a_densepose_config_adds_them(way, tmp_path):
    cfg = get_cfg()
    if way == "file":
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(CHANGES), encoding="utf-8")
        cfg.merge_from_file(tmp_path / "a.yaml")
    elif way == "other":
        cfg.merge_from_other_cfg(CHANGES)
    elif way == "list":
        cfg.merge_from_list(["MODEL.ROI_DENSEPOSE_HEAD.NAME", "DensePoseDeepLabHead", "MODEL.MASK_ON", "True"])
    else:
        wanted = full()
        wanted.merge_from_other_cfg(CHANGES)
        cfg.merge_from_other_cfg(CfgNode.load_cfg(wanted.dump()))
    wanted = full()
    wanted.MODEL.ROI_DENSEPOSE_HEAD.NAME, wanted.MODEL.MASK_ON = "DensePoseDeepLabHead", True
    assert yaml.safe_load(cfg.dump()) == yaml.safe_load(wanted.dump())


@pytest.mark.parametrize("wrong", [{"NAMES": "x"}, {"UP_SCALE": "two"}, 3])
def test_a_merge_that_fails_adds_nothing(wrong):
    cfg = get_cfg()
    with pytest.raises(ConfigError, match="ROI_DENSEPOSE_HEAD"):
        cfg.merge_from_other_cfg({"MODEL": {"ROI_DENSEPOSE_HEAD": wrong}})
    assert cfg == get_cfg()


def test_a_part_of_a_config_is_not_taken_for_a_whole():
    part = CfgNode({"MODEL": {"WEIGHTS": ""}})
    with pytest.raises(KeyError, match="ROI_DENSEPOSE_HEAD"):
        part.merge_from_other_cfg(CHANGES)


def test_sections_that_take_any_key():
    cfg = full()
    cfg.merge_from_other_cfg(
        {
            "DATASETS": {"CATEGORY_MAPS": {"base": {"16": 1}}, "WHITELISTED_CATEGORIES": {"base": [1, 16]}},
            "MODEL": {
                "ROI_DENSEPOSE_HEAD": {"CSE": {"EMBEDDERS": {"cat": {"TYPE": "vertex_feature"}}, "EMBED_SIZE": 16}},
                "HRNET": {"STAGE2": {"NUM_CHANNELS": [32, 64]}},
            },
            "BOOTSTRAP_MODEL": {"WEIGHTS": "", "DEVICE": "cuda"},
            "DENSEPOSE_EVALUATION": {"TYPE": "iou"},
            "BOOTSTRAP_DATASETS": [{"DATASET": "x", "IMAGE_LOADER": {"TYPE": "y"}}],
        }
    )
    assert cfg.DATASETS.CATEGORY_MAPS.base["16"] == 1
    assert (cfg.MODEL.HRNET.STAGE2.NUM_CHANNELS, cfg.MODEL.ROI_DENSEPOSE_HEAD.CSE.EMBED_SIZE) == ([32, 64], 16)
    assert cfg.BOOTSTRAP_DATASETS[0]["IMAGE_LOADER"]["TYPE"] == "y"
