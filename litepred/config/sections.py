"""Sections that the configs of some models have: one is added, with its defaults, when a file names it.

Each key of a section that ``backbones.yaml`` has is an argument of a backbone's constructor, in capitals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import extensions
from .node import CfgNode
from .safe_yaml import read_yaml_with_base

__all__ = ["add_keys", "add_swin_config"]

extensions.announce(config_sections={"MODEL.SWIN": "litepred.config.sections:add_swin_config"})


def add_swin_config(cfg: CfgNode) -> None:
    """Add ``MODEL.SWIN``, the Swin Transformer's keys, with their defaults; keys that the config has keep their values.

    Raises:
        AttributeError: The config is frozen.
    """
    _add_backbone(cfg, "SWIN")


def _add_backbone(cfg: CfgNode, name: str) -> None:
    sections = read_yaml_with_base(Path(__file__).with_name("backbones.yaml"))
    add_keys(cfg.MODEL, {name: sections[name]})


def add_keys(section: CfgNode, keys: dict[str, Any]) -> None:
    """Add the keys that a section of a config lacks.

    A new section takes any further key where its parent does, or where an empty mapping stands for it.

    Raises:
        AttributeError: The section is frozen.
    """
    for key, value in keys.items():
        if not isinstance(value, dict):
            if key not in section:
                setattr(section, key, value)
            continue
        if key not in section:
            setattr(section, key, type(section)(new_allowed=section.is_new_allowed() or not value))
        add_keys(section[key], value)
