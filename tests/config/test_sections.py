"""Sections that a config has only when something names them."""

from __future__ import annotations

import pytest

from litepred import extensions
from litepred.config import CfgNode, get_cfg, sections
from litepred.config.sections import add_keys
from litepred.errors import ConfigError

SECTIONS = ("MVIT", "SWIN", "VIT")


def test_no_config_has_them_from_the_start():
    assert not {*SECTIONS} & get_cfg().MODEL.keys()
    assert extensions.config_functions(["MODEL.RPN"]) == []


@pytest.mark.parametrize("name", SECTIONS)
def test_naming_one_key_brings_the_others_of_its_section(name, tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list([f"MODEL.{name}.EMBED_DIM", 24])
    section = cfg.MODEL[name]
    assert section.EMBED_DIM == 24 and len(section) > 10 and section.QKV_BIAS is True
    assert {*SECTIONS} & cfg.MODEL.keys() == {name}
    cfg.merge_from_list([f"MODEL.{name}.QKV_BIAS", False])
    assert (section.EMBED_DIM, section.QKV_BIAS) == (24, False)
    file = tmp_path / "config.yaml"
    file.write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(file)
    assert again.MODEL[name] == section


def test_a_key_that_a_section_lacks():
    cfg = get_cfg()
    with pytest.raises(
        ConfigError, match=r"unknown config key MODEL\.SWIN\.EMBED_DIMS\. Did you mean MODEL\.SWIN\.EMBED_D"
    ):
        cfg.merge_from_list(["MODEL.SWIN.EMBED_DIMS", 24])
    assert cfg == get_cfg()
    cfg.set_new_allowed(True)
    cfg.merge_from_list(["MODEL.SWIN.EMBED_DIMS", 24])
    assert (cfg.MODEL.SWIN.EMBED_DIMS, cfg.MODEL.SWIN.EMBED_DIM) == (24, 96)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"A": 1, "B": {"C": 2}}),
        ({"A": 5, "D": [3]}, {"A": 1, "B": {"C": 2}, "D": [3]}),
        ({"B": {"C": 5, "E": None}, "F": {}}, {"A": 1, "B": {"C": 2, "E": None}, "F": {}}),
    ],
)
def test_add_keys(keys, expected):
    cfg = CfgNode({"A": 1, "B": {"C": 2}})
    add_keys(cfg, keys)
    assert cfg == expected
    assert [key for key, value in cfg.items() if isinstance(value, CfgNode) and value.is_new_allowed()] == [
        key for key, value in keys.items() if value == {}
    ]


PROJECTS = {
    "deeplab": {
        "MODEL.RESNETS.STEM_TYPE": "basic",
        "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS": [1, 2, 3],
        "SOLVER.POLY_LR_POWER": 0.5,
    },
    "pointrend": {
        "INPUT.COLOR_AUG_SSD": True,
        "MODEL.POINT_HEAD.FC_DIM": 8,
        "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON": True,
        "MODEL.IMPLICIT_POINTREND.POS_ENC_ENABLED": False,
    },
}


@pytest.mark.parametrize("project", PROJECTS)
def test_naming_one_key_of_a_project_brings_all(project):
    whole = get_cfg()
    getattr(sections, f"add_{project}_config")(whole)
    for key, value in PROJECTS[project].items():
        cfg, wanted = get_cfg(), whole.clone()
        assert cfg != whole
        cfg.merge_from_list([key, value])
        wanted.merge_from_list([key, value])
        assert cfg == wanted != whole


def test_a_completed_copy():
    cfg = get_cfg()
    cfg.freeze()
    copy = sections.completed(cfg, sections.add_pointrend_config)
    assert copy.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS == 784 and copy.MODEL.POINT_HEAD.IN_FEATURES == ("p2",)
    assert cfg == get_cfg() and cfg.is_frozen()
