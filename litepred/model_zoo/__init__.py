"""Detectron2's official models by name: their configs, and the checkpoints released for them."""

from .catalog import get, get_checkpoint_url, get_config, get_config_file, is_known, missing_config
from .catalog import list_names as list

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file", "is_known", "list", "missing_config"]
