"""The base of litepred's own modules: evaluation mode from the start and no other, with CUDA or without."""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch
from torch import nn

from ..errors import LitepredError

__all__ = ["InferenceModule"]

_Self = TypeVar("_Self", bound="InferenceModule")


class InferenceModule(nn.Module):
    """An ``nn.Module`` that is in evaluation mode when built and refuses to leave it."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def train(self: _Self, mode: bool = True) -> _Self:
        """Accept ``train(False)``, which is ``eval()``.

        Raises:
            LitepredError: when asked for training mode.
        """
        if mode:
            raise LitepredError(
                f"{type(self).__name__}.train() was called, but litepred only runs inference: it has no losses and no "
                "training mode. Train with Detectron2 and load the checkpoint here; leave the model in eval() mode."
            )
        return super().train(False)

    def cuda(self: _Self, device: int | torch.device | None = None) -> _Self:
        """Move the module to a CUDA device; where torch sees none, it stays where it is, with a warning."""
        if torch.cuda.is_available():
            return super().cuda(device)
        warnings.warn("cuda() was called, but this torch sees no CUDA device: the model stays as it is", stacklevel=2)
        return self
