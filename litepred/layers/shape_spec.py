"""What one module tells the next about a feature map before any image is seen."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ShapeSpec"]


@dataclass(frozen=True)
class ShapeSpec:
    """The known part of a feature map's shape; ``stride`` is in input pixels per cell."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
