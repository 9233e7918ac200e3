"""Configs: every key of Detectron2's, its merging rules, and YAML files read as plain data."""

from . import sections as sections  # which announces them
from .configurable import configurable
from .node import CN, CfgNode, get_cfg, unknown_settings

__all__ = ["CN", "CfgNode", "configurable", "get_cfg", "unknown_settings"]
