"""The keys that DensePose adds to a config.

No other config gets them. Those that steer training are among them, so that any config of DensePose merges; the
sections of evaluation, and of models that litepred does not run (HRNet, continuous surface embeddings), take any key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import CfgNode
from ..config.safe_yaml import read_yaml_with_base

__all__ = ["add_densepose_config"]


def add_densepose_config(cfg: CfgNode) -> None:
    """Add DensePose's keys with their defaults to a config from ``get_cfg()``; keys that it has keep their values.

    Raises:
        AttributeError: The config is frozen.
    """
    _add(cfg, read_yaml_with_base(Path(__file__).with_name("keys.yaml")))


def _add(section: CfgNode, keys: dict[str, Any]) -> None:
    for key, value in keys.items():
        if not isinstance(value, dict):
            if key not in section:
                setattr(section, key, value)
            continue
        if key not in section:
            setattr(section, key, type(section)(new_allowed=not value))
        _add(section[key], value)
