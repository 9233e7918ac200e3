"""Exported models in eight bits: ONNX Runtime's own quantisation, and what it costs on the user's images."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..choices import has_vnni
from ..data import ImageLike
from ..errors import ConfigError, LitepredError, package
from ..files import whole_file
from ..predictor import Predictor, several_images
from ..structures import Instances, pairwise_iou
from .metadata import check_target, onnx_module, read_onnx

__all__ = ["QuantizationReport", "quantize_onnx"]

_LAYERS = ("Conv", "Gemm", "MatMul")
# The last layers, whose results are scores and coordinates; see `quantize_onnx`.
_IN_FLOAT = ("predictor", "cls_score", "bbox_pred", "objectness_logits", "anchor_deltas", "lowres", "mask_head.deconv")
_X86 = ("x86_64", "amd64")
_COUNTED_FROM = 0.5  # the score of an instance that is looked for again
_SAME_FROM = 0.5  # the IoU of its two boxes


@dataclass(frozen=True)
class QuantizationReport:
    """What eight bits changed, on the images that the ranges of values were taken from.

    Attributes:
        path: of the ONNX file that was written.
        images: how many images there were.
        instances: how many instances the model in float finds with a score of 0.5 or more.
        kept: how many of them the quantised model finds too, of the same class and with an IoU of 0.5 or more.
        moved: median displacement of the corners of the kept ones, in pixels of the image.
        moved_most: 95th percentile of that displacement.
        in_float: the layers that were left in float.
        num_bytes: size of the file, in bytes.
        seconds: how long quantising and comparing took.
    """

    path: str
    images: int
    instances: int
    kept: int
    moved: float
    moved_most: float
    in_float: tuple[str, ...]
    num_bytes: int
    seconds: float

    def __str__(self) -> str:
        told = f"{self.path}: {self.num_bytes / 1e6:,.1f} MB in int8, {self.seconds:.0f} s; on {self.images} images "
        if not self.instances:
            return f"{told}nothing was compared: the model in float finds no instances (score 0.5 or more)"
        return (
            f"{told}{self.kept / self.instances:.1%} of {self.instances} instances (score 0.5 or more) are kept, their "
            f"corners moved by {self.moved:.2f} px (median) and {self.moved_most:.2f} px (95th percentile)"
        )


def quantize_onnx(
    source: str | os.PathLike[str], target: str | os.PathLike[str], images: Iterable[ImageLike]
) -> QuantizationReport:
    """Quantise a file of `export_onnx`: weights per channel, activations by the range that they have on some images.

    The convolutions and matrix products are quantised but for the last ones, which predict scores and coordinates. On
    the default model those of the RPN cost 0.6 AP50 in eight bits, those of the other heads less than 0.1.

    Args:
        source: the file in float.
        target: the file to write, whole or not at all, whose name ends in .onnx; it runs wherever ``source`` does.
        images: some ten to a hundred, of the kind that the model will see. All of them are read twice.

    Raises:
        ConfigError: there is no image, the weights are in float16, ``target`` has another ending, or ONNX Runtime is
            missing or cannot quantise the file.
        ImageError: an image cannot be read, or ``images`` is a single one.
        CheckpointError: ``source`` is no file of litepred's.
        WriteError: ``target`` cannot be written.
    """
    started = time.perf_counter()
    check_target(target)
    quantization = package("onnxruntime.quantization", "quantising", "'litepred[onnx]'", ConfigError)
    images = list(several_images(images, "images"))
    if not images:
        raise ConfigError("there are no images to calibrate on: pass some ten of the kind that the model will see")
    exact = Predictor(str(source))
    if exact.cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
        raise ConfigError("the model takes proposals with each image, so that images alone do not calibrate it")
    graph = read_onnx(source).graph
    if any(tensor.data_type == onnx_module().TensorProto.FLOAT16 for tensor in graph.initializer):
        raise ConfigError(
            f"{os.fspath(source)!r} has weights in float16, which are not quantised: export it without half=True"
        )
    layers = [node.name for node in graph.node if node.op_type in _LAYERS]
    in_float = tuple(name for name in layers if any(part in name.rpartition("/")[0] for part in _IN_FLOAT))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.inputs = (exact.prepare(image) for image in images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            inputs = next(self.inputs, None)
            return None if inputs is None else exact.model.arrays(inputs, inputs["image"])

    with tempfile.TemporaryDirectory() as folder, whole_file(target) as file:
        copied, written = Path(folder) / "source.onnx", Path(folder) / "model.onnx"
        disabled = logging.root.manager.disable
        logging.disable(max(disabled, logging.WARNING))  # it advises a preparation that the exporter has done
        try:
            shutil.copyfile(source, copied)  # beside which it writes, over whatever is there
            quantization.quantize_static(
                copied,
                written,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                op_types_to_quantize=list(_LAYERS),
                nodes_to_exclude=list(in_float),
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                # An x86 processor without VNNI adds two products of eight bits in sixteen, which overflow.
                reduce_range=platform.machine().lower() in _X86 and not has_vnni(),
            )
        except LitepredError:
            raise
        except Exception as error:  # ONNX Runtime's own kinds, which derive from nothing but Exception
            raise ConfigError(f"ONNX Runtime cannot quantise {os.fspath(source)!r}: {error!s:.300}") from error
        finally:
            logging.disable(disabled)
        instances, distances = _compare(exact, Predictor(str(written)), images)
        num_bytes = written.stat().st_size
        file.write(written.read_bytes())
    ordered = sorted(distances) or [0.0]
    return QuantizationReport(
        os.fspath(target),
        len(images),
        instances,
        len(distances),
        statistics.median(ordered),
        ordered[int(0.95 * (len(ordered) - 1))],
        in_float,
        num_bytes,
        time.perf_counter() - started,
    )


def _compare(exact: Predictor, quantized: Predictor, images: list[ImageLike]) -> tuple[int, list[float]]:
    """Return how many instances the model in float finds, and how far the corners of those found again moved."""
    number, distances = 0, []
    for image in images:
        answers = [predictor(image).get("instances") for predictor in (exact, quantized)]
        if answers[0] is None or answers[1] is None:
            continue
        expected = answers[0][answers[0].scores >= _COUNTED_FROM]
        number += len(expected)
        distances += _moved(expected, answers[1])
    return number, distances


def _moved(expected: Instances, found: Instances) -> list[float]:
    """Return how far the corners of each expected instance are from those of its likest one among those found."""
    if not len(expected) or not len(found):
        return []
    iou = pairwise_iou(expected.pred_boxes, found.pred_boxes)
    iou = iou * (expected.pred_classes[:, None] == found.pred_classes[None])
    best, index = iou.max(dim=1)
    apart = (expected.pred_boxes.tensor - found.pred_boxes.tensor[index]).abs().amax(dim=1)
    return apart[best >= _SAME_FROM].tolist()
