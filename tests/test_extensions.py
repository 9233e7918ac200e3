"""Parts that a package announces are imported when a config first names them, and not before."""

from __future__ import annotations

import sys

import pytest

from litepred import ConfigError, extensions
from litepred.config import CfgNode, get_cfg
from litepred.modeling import ROI_HEADS_REGISTRY
from litepred.modeling.registry import Registry

PLUGIN = """
from litepred.config import CfgNode
import greenhouse_registry

@greenhouse_registry.PLANTS.register()
class Fern:
    pass

def add_config(cfg):
    cfg.MODEL.FERN = CfgNode({"LEAVES": 3, "SHADE": {"ON": True}})
"""


@pytest.fixture
def plants(tmp_path, monkeypatch):
    for table in ("_COMPONENTS", "_CONFIG_SECTIONS", "_REFUSED"):
        monkeypatch.setattr(extensions, table, {})
    (tmp_path / "greenhouse.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("PLANTS")
    module = type(sys)("greenhouse_registry")
    module.PLANTS = registry
    monkeypatch.setitem(sys.modules, "greenhouse_registry", module)
    monkeypatch.delitem(sys.modules, "greenhouse", raising=False)
    yield registry
    sys.modules.pop("greenhouse", None)


def announce():
    extensions.announce(
        components={"Fern": "greenhouse"},
        config_sections={"MODEL.FERN": "greenhouse:add_config"},
        refused={"Cactus": "needs a desert"},
    )


def test_nothing_announced(plants):
    with pytest.raises(KeyError, match="Nothing of that name is registered in PLANTS"):
        plants.get("Fern")
    with pytest.raises(KeyError, match=r"unknown config key MODEL\.FERN\.LEAVES"):
        get_cfg().merge_from_list(["MODEL.FERN.LEAVES", 4])


def test_a_component_is_imported_when_it_is_named(plants):
    announce()
    assert "greenhouse" not in sys.modules and "Fern" not in plants
    assert plants.get("Fern").__module__ == "greenhouse"
    with pytest.raises(ConfigError, match=r"^'Cactus' needs a desert$"):
        plants.get("Cactus")


def test_a_module_that_does_not_register_what_it_announced(plants):
    extensions.announce({"Moss": "greenhouse"})
    with pytest.raises(KeyError, match="expected Fern"):
        plants.get("Moss")


@pytest.mark.parametrize("value", [4, "4"])
def test_a_section_is_added_when_it_is_merged(plants, value):
    announce()
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.FERN.LEAVES", value])
    assert cfg.MODEL.FERN == {"LEAVES": 4, "SHADE": {"ON": True}}
    assert "FERN" not in get_cfg().MODEL


@pytest.mark.parametrize("changes", [{"LEAVES": "many"}, {"ROOTS": 1}, 3])
def test_a_merge_that_fails_adds_no_section(plants, changes):
    announce()
    cfg = get_cfg()
    with pytest.raises(ConfigError, match=r"MODEL\.FERN"):
        cfg.merge_from_other_cfg({"MODEL": {"FERN": changes}})
    assert cfg == get_cfg()


def test_a_part_of_a_config_is_not_taken_for_a_whole(plants):
    announce()
    with pytest.raises(KeyError, match="FERN"):
        CfgNode({"MODEL": {"WEIGHTS": ""}}).merge_from_other_cfg({"MODEL": {"FERN": {"LEAVES": 1}}})


def test_densepose_announces_itself():
    assert ROI_HEADS_REGISTRY.get("DensePoseROIHeads").__module__ == "litepred.densepose.roi_heads"
