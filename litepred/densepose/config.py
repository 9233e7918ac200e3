"""The keys that DensePose adds to a config.

No other config gets them. Those that steer training are among them, so that any config of DensePose merges; the
sections of evaluation, and of models that litepred does not run (HRNet, continuous surface embeddings), take any key.
"""

from __future__ import annotations

from pathlib import Path

from ..config import CfgNode
from ..config.safe_yaml import read_yaml_with_base
from ..config.sections import add_keys

__all__ = ["add_densepose_config"]


def add_densepose_config(cfg: CfgNode) -> None:
    """Add DensePose's keys with their defaults to a config from ``get_cfg()``; keys that it has keep their values.

    Raises:
        AttributeError: The config is frozen.
    """
    add_keys(cfg, read_yaml_with_base(Path(__file__).with_name("keys.yaml")))
