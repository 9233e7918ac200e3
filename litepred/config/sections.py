"""Sections of the config that few models have: a config gets one when a file or a list names a key of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import extensions
from .node import CfgNode
from .safe_yaml import read_yaml_with_base

__all__ = ["add_keys", "add_mvit_config", "add_swin_config", "add_vit_config", "model_section"]

extensions.announce(
    config_sections={
        "MODEL.MVIT": "litepred.config.sections:add_mvit_config",
        "MODEL.SWIN": "litepred.config.sections:add_swin_config",
        "MODEL.VIT": "litepred.config.sections:add_vit_config",
    }
)


def add_vit_config(cfg: CfgNode) -> None:
    """Add ``MODEL.VIT`` with its defaults to a config; keys that it has keep their values.

    Raises:
        AttributeError: The config is frozen.
    """
    _add("VIT", cfg)


def add_mvit_config(cfg: CfgNode) -> None:
    """Add ``MODEL.MVIT`` with its defaults to a config; keys that it has keep their values.

    Raises:
        AttributeError: The config is frozen.
    """
    _add("MVIT", cfg)


def add_swin_config(cfg: CfgNode) -> None:
    """Add ``MODEL.SWIN`` with its defaults to a config; keys that it has keep their values.

    Raises:
        AttributeError: The config is frozen.
    """
    _add("SWIN", cfg)


def add_keys(section: CfgNode, keys: dict[str, Any]) -> None:
    """Add nested keys to a section, which keeps the values of those that it has.

    A new section takes any further key where its parent does, or where an empty mapping stands for it.
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
    return cfg.MODEL[name] if name in cfg.MODEL else type(cfg)(_defaults(name))


def _add(name: str, cfg: CfgNode) -> None:
    add_keys(cfg, {"MODEL": {name: _defaults(name)}})


def _defaults(name: str) -> dict[str, Any]:
    return read_yaml_with_base(Path(__file__).with_name("sections.yaml"))["MODEL"][name]
