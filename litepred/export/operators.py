"""How ONNX computes the operators that torch's exporter does not know: litepred's own, and torchvision's RoIAlign.

The annotations of these functions are read by onnxscript.
"""

from typing import Any

import onnxscript
import torch
import torchvision
from onnxscript.onnx_types import FLOAT

from ..layers import nms
from ..structures import keypoints

__all__ = ["translations"]

op: Any = onnxscript.opset18

_MOST_GROUPS = 128  # up to so many, each group has a row of scores of its own
_ABSENT = -3.4e38  # the score of a box in a row that is not its group's; ONNX keeps what is above the next number
_LEAST_SCORE = -3.3e38


def translations() -> dict[Any, Any]:
    """Return the table for ``torch.onnx.export(custom_translation_table=…)``."""
    assert nms and keypoints and torchvision  # importing them has defined the operators
    return {
        torch.ops.litepred.batched_nms.default: _batched_nms,
        torch.ops.litepred.heatmaps_to_keypoints.default: _heatmaps_to_keypoints,
        torch.ops.torchvision.roi_align.default: _roi_align,
    }


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


def _batched_nms(boxes: Any, scores: Any, groups: Any, iou_threshold: float, num_groups: int) -> Any:
    """Suppress within groups: as many groups as NonMaxSuppression has classes, or boxes moved apart by group.

    The second way, which torchvision takes too, rounds the moved boxes; but where there are many groups, a row of
    scores for each would take too much memory.
    """
    if num_groups <= _MOST_GROUPS:
        numbers = op.Constant(
            value=onnxscript.ir.tensor([[i] for i in range(num_groups)], onnxscript.ir.DataType.INT64)
        )
        rows = op.Where(op.Equal(numbers, op.Unsqueeze(groups, _ints(0))), scores, op.Constant(value_float=_ABSENT))
        moved = boxes
    else:
        rows = op.Unsqueeze(scores, _ints(0))
        reach = op.Add(op.ReduceMax(boxes, keepdims=0), op.Constant(value_float=1.0))
        shift = op.Mul(op.CastLike(groups, boxes), reach)
        moved = op.Add(boxes, op.Unsqueeze(shift, _ints(1)))
    selected = op.NonMaxSuppression(
        op.Unsqueeze(moved, _ints(0)),
        op.Unsqueeze(rows, _ints(0)),
        op.Constant(value_int=2**31 - 1),
        op.Constant(value_float=iou_threshold),
        op.Constant(value_float=_LEAST_SCORE),
    )  # (kept, 3): image, group, box
    kept = op.Reshape(op.Slice(selected, _ints(2), _ints(3), _ints(1)), _ints(-1))
    kept, _ = op.TopK(kept, op.Shape(kept), axis=0, largest=0)  # of equal scores, the first comes first, as in torch
    kept_scores = op.Gather(scores, kept)
    _, order = op.TopK(kept_scores, op.Shape(kept_scores), axis=0)
    return op.Gather(kept, order)


def _roi_align(
    x: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int, aligned: bool
) -> Any:
    """Pool regions; the ratio is written even where it is 0, since OpenVINO reads a missing one as 1."""
    return op.RoiAlign(
        x,
        op.Slice(rois, _ints(1), _ints(5), _ints(1)),
        op.Cast(op.Reshape(op.Slice(rois, _ints(0), _ints(1), _ints(1)), _ints(-1)), to=7),
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        spatial_scale=spatial_scale,
        output_height=pooled_height,
        output_width=pooled_width,
        sampling_ratio=max(0, sampling_ratio),
    )


@onnxscript.script(default_opset=op)
def _heatmaps_to_keypoints(maps: FLOAT, rois: FLOAT) -> FLOAT:
    """Enlarge the heatmaps of one box after the other, as `heatmaps_to_keypoints` does."""
    first, last, four = op.Constant(value_ints=[0]), op.Constant(value_ints=[1]), op.Constant(value_ints=[4])
    one = op.Constant(value_float=1.0)
    count = op.Squeeze(op.Shape(maps, start=0, end=1), first)
    points = op.Shape(maps, start=1, end=2)
    found = op.Cast(op.Expand(one, op.Concat(first, points, four, axis=0)), to=1)
    for i in range(count):
        index = op.Unsqueeze(i, first)
        heat = op.Gather(maps, index, axis=0)
        box = op.Squeeze(op.Gather(rois, index, axis=0), first)
        start = op.Slice(box, first, op.Constant(value_ints=[2]), first)
        side = op.Max(op.Sub(op.Slice(box, op.Constant(value_ints=[2]), four, first), start), one)
        pixels = op.Ceil(side)
        width = op.Cast(op.Slice(pixels, first, last, first), to=7)
        height = op.Cast(op.Slice(pixels, last, op.Constant(value_ints=[2]), first), to=7)
        large = op.Resize(
            heat,
            None,
            None,
            op.Concat(last, points, height, width, axis=0),
            mode="cubic",
            cubic_coeff_a=-0.75,
            coordinate_transformation_mode="half_pixel",
        )
        flat = op.Reshape(large, op.Concat(points, op.Constant(value_ints=[-1]), axis=0))
        best = op.ArgMax(flat, axis=1, keepdims=1)
        peak = op.ReduceMax(flat, last, keepdims=1)
        low = op.Reshape(heat, op.Concat(points, op.Constant(value_ints=[-1]), axis=0))
        score = op.Div(one, op.ReduceSum(op.Exp(op.Sub(low, peak)), last, keepdims=1))
        row = op.Div(best, width)
        cell = op.Cast(op.Concat(op.Sub(best, op.Mul(row, width)), row, axis=1), to=1)
        place = op.Add(op.Mul(op.Add(cell, op.Constant(value_float=0.5)), op.Div(side, pixels)), start)
        new = op.Unsqueeze(op.Concat(place, peak, score, axis=1), first)
        found = op.Concat(found, new, axis=0)
    return found
