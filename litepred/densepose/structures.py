"""What DensePose predicts, per instance: first as maps over its box at a fixed size, then in the image's pixels.

N instances, K coarse channels (2 or 15, background first), C = 25 fine channels (background first), M × M map cells,
H × W pixels of a box.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "DensePoseChartPredictorOutput",
    "DensePoseChartPredictorOutputWithConfidences",
    "DensePoseChartResult",
    "DensePoseChartResultCompressed",
    "DensePoseChartResultQuantized",
    "DensePoseChartResultWithConfidences",
    "DensePoseEmbeddingPredictorOutput",
    "compress_quantized_densepose_chart_result",
    "decompress_compressed_densepose_chart_result",
    "quantize_densepose_chart_result",
]

_Self = TypeVar("_Self", bound="_TensorFields")


@dataclass
class _TensorFields:
    """A dataclass of tensors, any of which may be ``None``."""

    def _map(self: _Self, function: Callable[[Tensor], Tensor]) -> _Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(**{name: None if value is None else function(value) for name, value in values.items()})

    def to(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Return a copy whose tensors went through their ``to(*args, **kwargs)``."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))


_Output = TypeVar("_Output", bound="DensePoseChartPredictorOutput")


@dataclass
class DensePoseChartPredictorOutput(_TensorFields):
    """The maps of N instances, as the field ``pred_densepose`` of `Instances` has them; cells cover the box evenly.

    Attributes:
        coarse_segm: (N, K, M, M) float32, logits of background and body (or of its coarse parts).
        fine_segm: (N, C, M, M) float32, logits of background and the 24 body parts.
        u: (N, C, M, M) float32, the first coordinate on the surface of each part, about 0…1, not clamped.
        v: the second, likewise.
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
        names = [field.name for field in fields(cls) if getattr(outputs[0], field.name) is not None]
        return cls(**{name: torch.cat([getattr(output, name) for output in outputs]) for name in names})


@dataclass
class DensePoseChartPredictorOutputWithConfidences(DensePoseChartPredictorOutput):
    """The maps together with how sure the model is of them; ``None`` where it does not tell.

    Attributes:
        sigma_1: ``None`` always.
        sigma_2: (N, C, M, M) float32, raw: the softplus of it is the variance of u and v.
        kappa_u: (N, C, M, M) float32, raw.
        kappa_v: (N, C, M, M) float32, raw.
        fine_segm_confidence: (N, 1, M, M) float32, positive; ``fine_segm`` is already multiplied by it.
        coarse_segm_confidence: the same for ``coarse_segm``.
    """

    sigma_1: Tensor | None = None
    sigma_2: Tensor | None = None
    kappa_u: Tensor | None = None
    kappa_v: Tensor | None = None
    fine_segm_confidence: Tensor | None = None
    coarse_segm_confidence: Tensor | None = None


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
class DensePoseChartResultWithConfidences(_TensorFields):
    """One instance in the pixels of its box, with confidences where the model has them.

    Attributes:
        labels: (H, W) int64, 0 for background, else the body part 1…24.
        uv: (2, H, W) float32, the coordinates on that part, about 0…1, not clamped; 0 on background.
        sigma_1: ``None`` always.
        sigma_2: (H, W) float32, of the pixel's part, 0 on background.
        kappa_u: as sigma_2.
        kappa_v: as sigma_2.
        fine_segm_confidence: (H, W) float32, on background too.
        coarse_segm_confidence: as fine_segm_confidence.
    """

    labels: Tensor
    uv: Tensor
    sigma_1: Tensor | None = None
    sigma_2: Tensor | None = None
    kappa_u: Tensor | None = None
    kappa_v: Tensor | None = None
    fine_segm_confidence: Tensor | None = None
    coarse_segm_confidence: Tensor | None = None


@dataclass
class DensePoseChartResultQuantized(_TensorFields):
    """``labels_uv_uint8``, (3, H, W) uint8: label, u and v, the latter two as 0…255."""

    labels_uv_uint8: Tensor


@dataclass
class DensePoseChartResultCompressed:
    """``labels_uv_str``: a quantised result as base64 text of an RGB PNG; ``shape_chw`` is its shape (3, H, W)."""

    shape_chw: tuple[int, int, int]
    labels_uv_str: str


class DensePoseEmbeddingPredictorOutput:
    """What a CSE model would predict, for ``isinstance``: litepred has no such models."""


def quantize_densepose_chart_result(result: Any) -> DensePoseChartResultQuantized:
    """Reduce ``labels`` and ``uv`` of a result to a byte each; u and v are clamped to 0…1."""
    uv = (result.uv * 255).clamp(0, 255).byte()
    return DensePoseChartResultQuantized(torch.cat([result.labels[None].byte(), uv]))


def compress_quantized_densepose_chart_result(result: DensePoseChartResultQuantized) -> DensePoseChartResultCompressed:
    """Write a quantised result as text."""
    from PIL import Image

    array, file = result.labels_uv_uint8.cpu().numpy(), io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0))).save(file, format="png", optimize=True)
    return DensePoseChartResultCompressed(array.shape, base64.encodebytes(file.getvalue()).decode())


def decompress_compressed_densepose_chart_result(
    result: DensePoseChartResultCompressed,
) -> DensePoseChartResultQuantized:
    """Read what `compress_quantized_densepose_chart_result` wrote."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.decodebytes(result.labels_uv_str.encode())), formats=["PNG"]) as image:
        array = np.array(image).transpose(2, 0, 1)
    return DensePoseChartResultQuantized(torch.from_numpy(array.reshape(result.shape_chw).copy()))


# so that torch.load(..., weights_only=True), which runs no code of a file's, reads what `apply_net dump` writes
torch.serialization.add_safe_globals([DensePoseChartResultWithConfidences])
