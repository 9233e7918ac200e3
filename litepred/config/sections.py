"""Sections of the config that few models have: a config gets one when a file or a list names a key of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import extensions
from .node import CfgNode
from .safe_yaml import read_yaml_with_base

__all__ = [
    "add_deeplab_config",
    "add_keys",
    "add_mvit_config",
    "add_pointrend_config",
    "add_swin_config",
    "add_vit_config",
    "completed",
    "model_section",
]

# What tells that a config is of a project: its section, or those of its keys that no other project's config names.
_TELLING = {
    "mvit": "MODEL.MVIT",
    "swin": "MODEL.SWIN",
    "vit": "MODEL.VIT",
    "deeplab": "MODEL.RESNETS.RES4_DILATION MODEL.RESNETS.RES5_MULTI_GRID MODEL.RESNETS.STEM_TYPE "
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS MODEL.SEM_SEG_HEAD.ASPP_DILATIONS MODEL.SEM_SEG_HEAD.ASPP_DROPOUT "
    "MODEL.SEM_SEG_HEAD.LOSS_TYPE MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS MODEL.SEM_SEG_HEAD.PROJECT_FEATURES "
    "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV SOLVER.POLY_LR_CONSTANT_ENDING SOLVER.POLY_LR_POWER",
    "pointrend": "INPUT.COLOR_AUG_SSD MODEL.IMPLICIT_POINTREND MODEL.POINT_HEAD "
    "MODEL.ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION MODEL.ROI_MASK_HEAD.POINT_HEAD_ON",
}
extensions.announce(
    config_sections={
        key: f"litepred.config.sections:add_{name}_config" for name, keys in _TELLING.items() for key in keys.split()
    }
)


def _adder(project: str) -> Callable[[CfgNode], None]:
    """Return the function that adds a project's keys to a config."""

    def add(cfg: CfgNode) -> None:
        """Add a project's keys with their defaults to a config; keys that it has keep their values.

        Raises:
            AttributeError: The config is frozen.
        """
        add_keys(cfg, _read(project))

    add.__name__ = add.__qualname__ = f"add_{project}_config"
    return add


add_deeplab_config = _adder("deeplab")
add_mvit_config = _adder("mvit")
add_pointrend_config = _adder("pointrend")
add_swin_config = _adder("swin")
add_vit_config = _adder("vit")


def add_keys(section: CfgNode, keys: dict[str, Any]) -> None:
    """Add nested keys to a section, which keeps the values of those that it has.

    A section that is added takes any further key if its parent does, or if it is empty itself.
    """
    for key, value in keys.items():
        if not isinstance(value, dict):
            if key not in section:
                setattr(section, key, value)
            continue
        if key not in section:
            setattr(section, key, type(section)(new_allowed=section.is_new_allowed() or not value))
        add_keys(section[key], value)


def model_section(cfg: CfgNode, name: str) -> CfgNode:
    """Return the section ``MODEL.<name>`` of a config, or one with the defaults where no key of it was named."""
    return cfg.MODEL[name] if name in cfg.MODEL else type(cfg)(_read(name.lower())["MODEL"][name])


def completed(cfg: CfgNode, add: Callable[[CfgNode], None]) -> CfgNode:
    """Return a copy of a config in which ``add`` has added what no key named."""
    cfg = cfg.clone()
    cfg.defrost()
    add(cfg)
    return cfg


def _read(project: str) -> dict[str, Any]:
    return read_yaml_with_base(Path(__file__).with_name(f"{project}.yaml"))
