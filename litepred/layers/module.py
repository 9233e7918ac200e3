"""The base of litepred's own modules: evaluation mode from the start, and no other."""

from __future__ import annotations

from typing import TypeVar

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
