"""What custom models are made of and litepred's own do not need, or have with other parameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import RoIAlign
from torchvision.ops import batched_nms as _batched_nms

from .. import model_zoo
from ..checkpoint import DetectionCheckpointer
from ..checkpoint.naming import by_suffix, from_caffe2
from ..layers import InferenceModule, roi_align_rotated
from ..modeling.backbone.resnet import BottleneckBlock
from ..modeling.backbone.transformer import from_windows, relative_positions, to_windows
from ..modeling.rpn import find_top_rpn_proposals as _find_top_rpn_proposals
from ..structures import Instances
from .names import ABSENT, NotInLitepredError
from .tracing import traced_sizes


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics come from all processes while training; ``stats_mode`` says how."""

    def __init__(self, *args: Any, stats_mode: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class ROIAlign(RoIAlign):
    """torchvision's RoIAlign, whose coordinates are shifted by half a cell unless ``aligned`` is false."""

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned)

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool regions (R, 5), image's index and x1 y1 x2 y2, which are brought to the type of ``input``."""
        return super().forward(input, rois.to(input.dtype))


class ROIAlignRotated(InferenceModule):
    """Pool rotated regions; see `roi_align_rotated`."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size, self.spatial_scale, self.sampling_ratio = output_size, spatial_scale, sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool out of ``input`` (N, C, H, W), in float32 where it is of half precision: (R, C, S, S)."""
        height, width = [self.output_size] * 2 if isinstance(self.output_size, int) else self.output_size
        x, rois = (v.float() if input.dtype == torch.float16 else v for v in (input, rois))
        return roi_align_rotated(x, rois, (height, width), self.spatial_scale, self.sampling_ratio).to(input.dtype)


class DeformBottleneckBlock(BottleneckBlock):
    """A `BottleneckBlock` whose 3×3 convolution is deformable, and modulated if ``deform_modulated``."""

    def __init__(self, in_channels: int, out_channels: int, *, deform_modulated: bool = False, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, deform="v2" if deform_modulated else "v1", **kwargs)
        self.deform_modulated = deform_modulated


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress, class by class, the boxes (N, 4) that overlap better ones, as torchvision does; but in float32."""
    return _batched_nms(boxes.float(), scores, idxs, iou_threshold)


def get_config(config_path: str, trained: bool = False) -> Any:
    """Return a config of the zoo: a lazy one for a name that ends in .py, where there is such, else a `CfgNode`.

    Args:
        config_path: one of `litepred.model_zoo.list`, or such as ``common/models/mask_rcnn_fpn.py``.
        trained: put the address of the released checkpoint into it.

    Raises:
        ConfigError: when there is no such config, or no checkpoint of it where one is asked for.
    """
    if not config_path.endswith(".py"):
        return model_zoo.get_config(config_path, trained)
    from . import lazy  # which needs omegaconf

    return lazy.get_config(config_path, trained)


def get(config_path: str, trained: bool = True, device: str | torch.device | None = None) -> nn.Module:
    """Build a model of the zoo; see `litepred.model_zoo.get`, and of a lazy config for a name that ends in .py."""
    if not config_path.endswith(".py"):
        return model_zoo.get(config_path, trained, device)
    from . import lazy  # which needs omegaconf

    cfg = lazy.get_config(config_path, trained)
    model = lazy.instantiate(cfg.model).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if trained:
        DetectionCheckpointer(model).load(cfg.train.init_checkpoint)
    return model


def convert_boxes_to_pooler_format(box_lists: Sequence[Any]) -> Tensor:
    """Return the boxes of N images as rows of RoIAlign, (R, 5): the image's index and x1 y1 x2 y2.

    Rotated boxes, which have five numbers, give (R, 6).
    """
    index = [torch.full_like(boxes.tensor[:, :1], i) for i, boxes in enumerate(box_lists)]
    return torch.cat([torch.cat([i, boxes.tensor], dim=1) for i, boxes in zip(index, box_lists)])


def create_zeros(batch_target: Tensor | None, channels: int, height: int, width: int, like_tensor: Tensor) -> Tensor:
    """Return as many maps of zeros as ``batch_target`` has rows, or none, in the type of ``like_tensor``."""
    return like_tensor.new_zeros(0 if batch_target is None else batch_target.shape[0], channels, height, width)


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut tokens (N, H, W, C) into windows (N·windows, S, S, C); returns them, and height and width with padding."""
    height, width = (-(-side // window_size) * window_size for side in x.shape[1:3])
    return to_windows(x, window_size), (height, width)


def window_unpartition(windows: Tensor, window_size: int, pad_hw: Sequence[int], hw: Sequence[int]) -> Tensor:
    """Put the windows of `window_partition` together again, without their padding: tokens (N, *hw, C)."""
    return from_windows(windows, hw)


def add_decomposed_rel_pos(
    attn: Tensor, q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, q_size: Sequence[int], k_size: Sequence[int]
) -> Tensor:
    """Add what relative positions contribute to weights of attention (B, h·w, h'·w').

    Args:
        attn: the weights.
        q: queries (B, h·w, C).
        rel_pos_h: vectors (2·S - 1, C) of distances along the height.
        rel_pos_w: the same along the width.
        q_size: (h, w).
        k_size: (h', w').
    """
    rows, columns = map(relative_positions, q_size, k_size, (rel_pos_h, rel_pos_w))
    queries = q.reshape(-1, *q_size, q.shape[-1])
    by_row = torch.einsum("bhwc,hkc->bhwk", queries, rows)[..., None]
    by_column = torch.einsum("bhwc,wkc->bhwk", queries, columns)[..., None, :]
    return (attn.view(-1, *q_size, *k_size) + by_row + by_column).view(attn.shape)


def assert_fx_safe(condition: bool, message: str) -> None:
    """Raise an AssertionError with ``message`` where a condition does not hold."""
    assert condition, message


def shapes_to_tensor(x: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Return a list of numbers as an int64 tensor."""
    return torch.as_tensor(x, device=device)


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """Return ``src`` on the device of ``dst``."""
    return src.to(dst.device)


@traced_sizes
def find_top_rpn_proposals(
    proposals: Sequence[Tensor],
    pred_objectness_logits: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool = False,
) -> list[Instances]:
    """Find the proposals among the ``pre_nms_topk`` best boxes of each level, (N, B, 4), as litepred's RPN does.

    With ``training``, Detectron2 refuses boxes that are not finite; here they are left out in any case.
    """
    best = [logits.topk(min(logits.shape[1], pre_nms_topk), dim=1) for logits in pred_objectness_logits]
    boxes = [torch.take_along_dim(level, top.indices[..., None], dim=1) for level, top in zip(proposals, best)]
    logits = [top.values for top in best]
    return _find_top_rpn_proposals(boxes, logits, image_sizes, nms_thresh, post_nms_topk, min_box_size)


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, Tensor], ckpt_state_dict: Mapping[str, Tensor], c2_conversion: bool = True
) -> dict[str, Tensor]:
    """Return a checkpoint's weights under those names of the model that end with theirs.

    With ``c2_conversion``, names of Caffe2, which have no dots, are brought to Detectron2's first.

    Raises:
        CheckpointError: a weight fits two names of the model.
    """
    if c2_conversion and not any("." in name for name in ckpt_state_dict):
        ckpt_state_dict = from_caffe2({name: torch.as_tensor(value) for name, value in ckpt_state_dict.items()})
    return by_suffix(ckpt_state_dict, model_state_dict)


class ScaleGradient(torch.autograd.Function):
    """The identity of features: what it does to their gradients is for training."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, scale: float) -> Tensor:
        """Return ``input``."""
        return input


def assert_strides_are_log2_contiguous(strides: Sequence[int]) -> None:
    """Raise an AssertionError where a stride is not twice the one before, as pyramids of other projects need."""
    for before, stride in itertools.pairwise(strides):
        assert stride == 2 * before, f"the strides {strides} are not each twice the one before"


class Matcher:
    """A matcher of predictions with ground truth, which heads are built with and which only training calls."""

    def __init__(
        self, thresholds: Sequence[float], labels: Sequence[int], allow_low_quality_matches: bool = False
    ) -> None:
        self.thresholds, self.labels, self.allow_low_quality_matches = thresholds, labels, allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Raise `NotInLitepredError`."""
        raise NotInLitepredError(f"Matcher was called: {ABSENT['training']}")
