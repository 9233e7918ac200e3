"""Semantic segmentation: a class for every pixel.

N images, C channels, K classes, H × W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode, configurable
from ..errors import ConfigError, whole_number
from ..layers import Conv2d, InferenceModule, Norm, ShapeSpec, get_norm
from ..structures import ImageList, Instances
from .build import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, build_sem_seg_head
from .postprocess import sem_seg_postprocess
from .rcnn import Inputs, MetaArch, RawOutputs, Sizes, output_size

__all__ = ["SemSegFPNHead", "SemanticSegmentor", "StridedHead"]

_CLASSES_AT_ONCE = 8


class StridedHead(InferenceModule):
    """A semantic head is its `layers`: features to logits at a common stride. Subclass it for a head of your own.

    Args:
        common_stride: in pixels, of the logits.

    Raises:
        ConfigError: when that is not a whole number above 0.
    """

    def __init__(self, common_stride: int) -> None:
        super().__init__()
        self.common_stride = whole_number("MODEL.SEM_SEG_HEAD.COMMON_STRIDE", common_stride)

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """Map features to logits (N, K, h, w) at the common stride."""
        raise NotImplementedError

    def forward(self, features: Mapping[str, Tensor], targets: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Map features to logits (N, K, H, W) at the padded input's size, and an empty dict in place of losses."""
        return self.enlarge(self.layers(features)), {}

    def enlarge(self, logits: Tensor) -> Tensor:
        """Bring logits at the common stride to the padded input's size."""
        return F.interpolate(logits, scale_factor=self.common_stride, mode="bilinear", align_corners=False)


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNHead(StridedHead):
    """Bring every level of a pyramid to one stride, add them, predict (Panoptic FPN, Kirillov et al. 2019).

    Args:
        input_shape: channels and stride of the maps to use, by name.
        num_classes: K.
        conv_dims: channels of the 3×3 convolutions.
        common_stride: in pixels, at which the levels are added.
        norm: as `get_norm` takes it.

    Attributes:
        in_features: the names of the maps, from fine to coarse.
        strides: their strides in pixels.

    Raises:
        ConfigError: when there is no map, or one of a smaller stride than the common one, or a number is out of its
            range.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        common_stride: int,
        norm: Norm = None,
    ) -> None:
        super().__init__(common_stride)
        if not input_shape:
            raise ConfigError("MODEL.SEM_SEG_HEAD.IN_FEATURES names no feature map that the backbone has")
        by_stride = sorted(input_shape.items(), key=lambda item: item[1].stride or 0)
        strides = [shape.stride or 1 for _, shape in by_stride]
        if common_stride & (common_stride - 1) or common_stride > strides[0]:
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.COMMON_STRIDE is {common_stride}, but the maps have the strides {strides}: "
                "expected a power of two, and none of them below it"
            )
        whole_number("MODEL.SEM_SEG_HEAD.CONVS_DIM", conv_dims)
        self.in_features = [name for name, _ in by_stride]
        self.strides = strides
        for (name, shape), stride in zip(by_stride, strides):
            channels = shape.channels
            doublings = int(math.log2(stride / common_stride))
            layers: list[nn.Module] = []
            for _ in range(max(1, doublings)):
                norm_layer = get_norm(norm, conv_dims)
                layers.append(
                    Conv2d(channels, conv_dims, 3, padding=1, bias=not norm, norm=norm_layer, activation=F.relu_)
                )
                if doublings:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
                channels = conv_dims
            self.add_module(name, nn.Sequential(*layers))
        num_classes = whole_number("MODEL.SEM_SEG_HEAD.NUM_CLASSES", num_classes)
        self.predictor = nn.Conv2d(conv_dims, num_classes, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.SEM_SEG_HEAD`` into arguments."""
        head = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": {name: shape for name, shape in input_shape.items() if name in (head.IN_FEATURES or ())},
            "num_classes": head.NUM_CLASSES,
            "conv_dims": head.CONVS_DIM,
            "common_stride": head.COMMON_STRIDE,
            "norm": head.NORM,
        }

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """Map the pyramid to logits at the common stride."""
        finest, *coarser = self.in_features
        total = getattr(self, finest)(features[finest])
        for name in coarser:
            total = total + getattr(self, name)(features[name])
        return self.predictor(total)


@META_ARCH_REGISTRY.register()
class SemanticSegmentor(MetaArch):
    """A backbone and a semantic head.

    Args:
        sem_seg_head: features to logits.
        **kwargs: see `MetaArch`.
    """

    dense_parts = ("backbone", "sem_seg_head")

    @configurable
    def __init__(self, *, sem_seg_head: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sem_seg_head = sem_seg_head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate a config into arguments."""
        arguments = super().from_config(cfg)
        shapes = arguments["backbone"].output_shape()
        return arguments | {"sem_seg_head": build_sem_seg_head(cfg, shapes)}

    def network(self, images: ImageList, proposals: list[Instances] | None = None) -> RawOutputs:
        """Compute the semantic logits of normalised, padded images; see `MetaArch.network`."""
        return semantic_logits(self.sem_seg_head, self.backbone(images.tensor))

    def postprocess(self, raw: RawOutputs, batched_inputs: Inputs, image_sizes: Sizes) -> list[dict[str, Any]]:
        """Return ``{"sem_seg": logits}`` per image, (K, H, W) float in the wanted size."""
        logits = enlarged_logits(self.sem_seg_head, raw, batched_inputs, image_sizes)
        return [{"sem_seg": one} for one in logits]


def semantic_logits(head: nn.Module, features: Mapping[str, Tensor]) -> RawOutputs:
    """Run a semantic head; returns its logits as ``sem_seg``, (N, K, H, W) float.

    Of a `StridedHead` they come as it predicts them, before it enlarges them; a head of another kind returns them at
    the padded size. So does one that is to be called itself, since it has hooks or a ``forward`` of its own.
    """
    if not is_strided(head):
        return {"sem_seg": head(features, None)[0]}
    if not is_called(head) or torch.compiler.is_compiling():
        return {"sem_seg": head.layers(features).float()}
    return {"sem_seg": head(features, None)[0].float(), "sem_seg_is_padded": True}


def enlarged_logits(head: nn.Module, raw: RawOutputs, batched_inputs: Inputs, image_sizes: Sizes) -> list[Tensor]:
    """Bring what `semantic_logits` returned to the size that each input wants: (K, H, W) float per image.

    They are enlarged a few classes at a time, so that only the results exist in full size.
    """
    results = []
    for one, inputs, size in zip(raw["sem_seg"].contiguous(), batched_inputs, image_sizes):
        size_hw = output_size(inputs, size)
        result = one.new_empty(len(one), *size_hw)
        # What is left joins the last ones: torch rounds otherwise where a map has three channels.
        starts = range(0, max(1, len(one) - _CLASSES_AT_ONCE + 1), _CLASSES_AT_ONCE)
        for k, end in zip(starts, [*starts[1:], len(one)]):
            some = slice(k, end)
            result[some] = sem_seg_postprocess(padded_logits(head, raw, one[None, some])[0], size, *size_hw)
        results.append(result)
    return results


def padded_logits(head: nn.Module, raw: RawOutputs, logits: Tensor) -> Tensor:
    """Bring ``logits``, (N, K, h, w), which are some of what `semantic_logits` returned, to the padded input's size."""
    return head.enlarge(logits) if is_strided(head) and not raw.get("sem_seg_is_padded") else logits


def is_strided(head: nn.Module) -> TypeGuard[StridedHead]:
    """Whether the logits of a head are its `StridedHead.layers`, enlarged."""
    return type(head).forward is StridedHead.forward


def is_called(head: nn.Module) -> bool:
    """Whether somebody has put hooks or another ``forward`` on a head, so that it has to be called itself."""
    return bool(head._forward_hooks or head._forward_pre_hooks or "forward" in head.__dict__)
