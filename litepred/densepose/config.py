"""DensePose's part of a config."""

from __future__ import annotations

from ..config.densepose import add_densepose_config

__all__ = ["add_densepose_config"]
