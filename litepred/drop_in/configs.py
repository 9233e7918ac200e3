"""The global config, and configs of older format versions."""

from __future__ import annotations

from ..config import CfgNode, get_cfg
from ..config.upgrade import CURRENT_VERSION, upgrade
from ..errors import ConfigError

global_cfg = CfgNode()
"""A config that is there for all modules of a program; empty at first."""

_C = get_cfg()


def set_global_cfg(cfg: CfgNode) -> None:
    """Replace the content of `global_cfg`."""
    global_cfg.clear()
    global_cfg.update(cfg)


def upgrade_config(cfg: CfgNode, to_version: int | None = None) -> CfgNode:
    """Return a copy of a config of an older format version in today's, the only one to upgrade to.

    Raises:
        ConfigError: another version is asked for, or the config cannot be upgraded.
    """
    if to_version not in (None, CURRENT_VERSION):
        raise ConfigError(f"configs are upgraded to version {CURRENT_VERSION}, got {to_version}")
    return CfgNode(upgrade(cfg, "the config", ""))
