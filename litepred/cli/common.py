"""What commands share."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..config import CfgNode

__all__ = ["count_types", "megabytes", "progress_bar", "skeleton"]


def skeleton(cfg: CfgNode) -> nn.Module:
    """Build a config's model on the meta device: names and shapes, no memory.

    Raises:
        ConfigError: the config describes no model.
    """
    import torch

    from ..modeling import build_model

    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


def count_types(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Return how many tensors there are of each element type, such as ``float32``, the most frequent first."""
    return dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors).most_common())


def megabytes(size: int) -> str:
    """Write a number of bytes as ``1.2 MB``."""
    return f"{size / 1e6:,.1f} MB"


def progress_bar(total: int | None, unit: str) -> Any:
    """Return a progress bar with rate and time left, on standard error, shown only where that is a terminal."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    return tqdm(total=total, unit=unit, file=sys.stderr, disable=hidden, dynamic_ncols=True, smoothing=0.1)
