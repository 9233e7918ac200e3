"""What DensePose predicts for each instance: first as maps of a fixed size over its box, then in the image's pixels.

N instances, K coarse channels (2 or 15, background first), C = 25 fine channels (background first), M × M map cells,
H × W pixels of a box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "DensePoseChartPredictorOutput",
    "DensePoseChartPredictorOutputWithConfidences",
    "DensePoseChartResult",
    "DensePoseChartResultQuantized",
    "DensePoseChartResultWithConfidences",
    "quantize_densepose_chart_result",
]

_Self = TypeVar("_Self", bound="_TensorFields")


@dataclass
class _TensorFields:
    """A dataclass of tensors, any of which may be ``None``."""

    def _map(self: _Self, function: Callable[[Tensor], Tensor]) -> _Self:
        values = vars(self).items()
        return type(self)(**{name: None if value is None else function(value) for name, value in values})

    def to(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Return a copy whose tensors went through their ``to(*args, **kwargs)``."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))


_Output = TypeVar("_Output", bound="DensePoseChartPredictorOutput")


@dataclass
class DensePoseChartPredictorOutput(_TensorFields):
    """The maps of N instances, which are the field ``pred_densepose`` of `Instances`; their cells cover the box evenly.

    Attributes:
        coarse_segm: (N, K, M, M) float32, logits of background and body (or of its coarse parts).
        fine_segm: (N, C, M, M) float32, logits of background and the 24 body parts.
        u: (N, C, M, M) float32, the first coordinate on the surface of each part, about 0…1, not clamped.
        v: (N, C, M, M) float32, the second coordinate, likewise.
    """

    coarse_segm: Tensor
    fine_segm: Tensor
    u: Tensor
    v: Tensor

    def __len__(self) -> int:
        return len(self.coarse_segm)

    def __getitem__(self: _Output, item: Any) -> _Output:
        """Select instances: by a single number, which gives one, or by slice, list, mask or indices."""
        if not isinstance(item, slice) and np.ndim(item) == 0:
            return self._map(lambda tensor: tensor[int(item)][None])
        return self._map(lambda tensor: tensor[item])

    @classmethod
    def cat(cls: type[_Output], outputs: Sequence[_Output]) -> _Output:
        """Join the instances of several outputs, which must have the same maps."""
        names = [name for name, value in vars(outputs[0]).items() if value is not None]
        return cls(**{name: torch.cat([getattr(output, name) for output in outputs]) for name in names})


@dataclass
class _Confidences(_TensorFields):
    """What the two classes of results with confidences add to those without."""

    sigma_1: Tensor | None = None
    sigma_2: Tensor | None = None
    kappa_u: Tensor | None = None
    kappa_v: Tensor | None = None
    fine_segm_confidence: Tensor | None = None
    coarse_segm_confidence: Tensor | None = None


@dataclass
class DensePoseChartPredictorOutputWithConfidences(_Confidences, DensePoseChartPredictorOutput):
    """The maps together with how sure the model is of them; a confidence that the model does not have is ``None``.

    Attributes:
        sigma_1: always ``None``.
        sigma_2: (N, C, M, M) float32, unscaled: its softplus is the variance of u and v.
        kappa_u: (N, C, M, M) float32, unscaled.
        kappa_v: (N, C, M, M) float32, unscaled.
        fine_segm_confidence: (N, 1, M, M) float32, positive; ``fine_segm`` is already multiplied by it.
        coarse_segm_confidence: (N, 1, M, M) float32, positive; ``coarse_segm`` is already multiplied by it.
    """


@dataclass
class DensePoseChartResult(_TensorFields):
    """One instance in the pixels of its box.

    Attributes:
        labels: (H, W) int64, 0 for background, else the body part 1…24.
        uv: (2, H, W) float32, the coordinates on that part, about 0…1, not clamped; 0 on background.
    """

    labels: Tensor
    uv: Tensor


@dataclass
class DensePoseChartResultWithConfidences(_Confidences, DensePoseChartResult):
    """The labels and coordinates with the confidences that the model has, (H, W) float32; the others are ``None``.

    ``sigma_2``, ``kappa_u`` and ``kappa_v`` are those of the pixel's part, and 0 on background, where
    ``fine_segm_confidence`` and ``coarse_segm_confidence`` have values too; ``sigma_1`` is always ``None``.
    """


@dataclass
class DensePoseChartResultQuantized(_TensorFields):
    """One instance in the pixels of its box, with a byte for each number.

    Attributes:
        labels_uv_uint8: (3, H, W) uint8: label, then u and v from 0 to 255.
    """

    labels_uv_uint8: Tensor


def quantize_densepose_chart_result(result: DensePoseChartResult) -> DensePoseChartResultQuantized:
    """Reduce the label, u and v of each pixel to a byte each; u and v are clamped to 0…1."""
    uv = (result.uv * 255).clamp(0, 255).byte()
    return DensePoseChartResultQuantized(torch.cat([result.labels[None].byte(), uv]))


# torch.load(..., weights_only=True), which runs no code from a file, then reads what `apply_net dump` writes.
torch.serialization.add_safe_globals([DensePoseChartResultWithConfidences])
