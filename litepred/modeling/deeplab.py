"""The heads of DeepLab v3 (Chen et al. 2017) and v3+ (Chen et al. 2018).

N images, C channels, K classes, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CfgNode, configurable
from ..config.sections import add_deeplab_config, completed
from ..errors import ConfigError, switch, whole_number
from ..layers import ASPP, Conv2d, DepthwiseSeparableConv2d, Norm, ShapeSpec, get_norm
from .build import SEM_SEG_HEADS_REGISTRY, named_shapes
from .semantic import StridedHead

__all__ = ["DeepLabV3Head", "DeepLabV3PlusHead"]


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3Head(StridedHead):
    """Spatial pyramid pooling over one map, and a predictor.

    Args:
        cfg: has ``MODEL.SEM_SEG_HEAD`` and ``INPUT.CROP``.
        input_shape: channels and stride of the maps, by name.

    Raises:
        ConfigError: when another number of maps than one is named, or values do not go together.
    """

    def __init__(self, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> None:
        own, channels = _shared_arguments(cfg, input_shape), cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM
        super().__init__(own["common_stride"])
        self.in_features = list(own["input_shape"])
        if len(self.in_features) != 1:
            raise ConfigError(f"MODEL.SEM_SEG_HEAD.IN_FEATURES is {self.in_features}: DeepLabV3Head takes one map")
        wanted = completed(cfg, add_deeplab_config).MODEL.SEM_SEG_HEAD.ASPP_CHANNELS
        if channels != wanted:
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.CONVS_DIM is {channels!r}: expected {wanted!r}, as ASPP_CHANNELS says, since the "
                "predictor of DeepLabV3Head reads these"
            )
        self.aspp = ASPP(
            input_shape[self.in_features[0]].channels or 0,
            channels,
            own["aspp_dilations"],
            norm=own["norm"],
            activation=F.relu_,
            pool_kernel_size=_pooled(own["train_size"], self.common_stride),
            use_depthwise_separable_conv=own["use_depthwise_separable_conv"],
        )
        self.predictor = Conv2d(channels, own["num_classes"], 1)

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """Map the features to logits (N, K, h, w) at the map's stride."""
        return self.predictor(self.aspp(features[self.in_features[0]]))


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3PlusHead(StridedHead):
    """Spatial pyramid pooling over the coarsest map, to which finer ones are added step by step, and a predictor.

    Args:
        input_shape: channels and stride of the maps, by name.
        project_channels: to which each map but the coarsest is brought, from fine to coarse.
        aspp_dilations: of the three 3×3 convolutions of the pooling.
        decoder_channels: of the map after each step, from fine to coarse; the last ones are the pooling's.
        common_stride: of the finest map, in pixels.
        norm: as `get_norm` takes it.
        train_size: height and width in pixels of the crops of training: of an image, parts as large are pooled as a
            whole; ``None`` for all of it.
        num_classes: K; ``None`` for no predictor.
        use_depthwise_separable_conv: whether convolutions are depthwise separable.
        aspp_dropout: for training, without effect, and so are the others.

    Raises:
        ConfigError: when the numbers of maps and of channels differ, or a number is out of its range.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        project_channels: Sequence[int],
        aspp_dilations: Sequence[int],
        decoder_channels: Sequence[int],
        common_stride: int,
        norm: Norm,
        train_size: Sequence[int] | None = None,
        num_classes: int | None = None,
        use_depthwise_separable_conv: bool = False,
        aspp_dropout: float = 0.0,
        loss_type: str = "",
        loss_weight: float = 1.0,
        ignore_value: int = -1,
    ) -> None:
        super().__init__(common_stride)
        by_stride = sorted(input_shape.items(), key=lambda item: item[1].stride or 0)
        self.in_features = [name for name, _ in by_stride]
        self.decoder_only, self.use_depthwise_separable_conv = num_classes is None, use_depthwise_separable_conv
        if not len(self.in_features) == len(decoder_channels) == len(project_channels) + 1:
            raise ConfigError(
                f"DeepLabV3PlusHead got {list(project_channels)} as MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS and "
                f"{list(decoder_channels)} as channels of its steps for the maps {self.in_features}: expected a number "
                "of channels for each map but the coarsest, and one for each step"
            )

        def conv(in_channels: int, out_channels: int, kernel: int) -> Conv2d:
            options: dict[str, Any] = {"norm": get_norm(norm, out_channels), "activation": F.relu_, "bias": not norm}
            return Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, **options)

        self.decoder = nn.ModuleDict()
        *finer, (name, shape) = by_stride
        for (fine, of_fine), projected, channels, below in zip(
            finer, project_channels, decoder_channels, decoder_channels[1:]
        ):
            fuse: nn.Module
            if use_depthwise_separable_conv:
                options = {f"{kind}{i}": v for i in (1, 2) for kind, v in (("norm", norm), ("activation", F.relu_))}
                fuse = DepthwiseSeparableConv2d(projected + below, channels, 5, 2, **options)  # type: ignore[arg-type]
            else:
                fuse = nn.Sequential(conv(projected + below, channels, 3), conv(channels, channels, 3))
            step = {"project_conv": conv(of_fine.channels or 0, projected, 1), "fuse_conv": fuse}
            self.decoder[fine] = nn.ModuleDict(step)
        aspp = ASPP(
            shape.channels or 0,
            decoder_channels[-1],
            aspp_dilations,
            norm=norm,
            activation=F.relu_,
            pool_kernel_size=_pooled(train_size, shape.stride or 1),
            use_depthwise_separable_conv=use_depthwise_separable_conv,
        )
        self.decoder[name] = nn.ModuleDict({"project_conv": aspp})
        if num_classes is not None:
            self.predictor = Conv2d(decoder_channels[0], num_classes, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.SEM_SEG_HEAD`` into arguments."""
        head = completed(cfg, add_deeplab_config).MODEL.SEM_SEG_HEAD
        return {
            "project_channels": head.PROJECT_CHANNELS,
            "decoder_channels": [head.CONVS_DIM] * (len(head.IN_FEATURES) - 1) + [head.ASPP_CHANNELS],
            "aspp_dropout": head.ASPP_DROPOUT,
            "loss_type": head.LOSS_TYPE,
            "loss_weight": head.LOSS_WEIGHT,
            "ignore_value": head.IGNORE_VALUE,
            **_shared_arguments(cfg, input_shape),
        }

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """Map the features to logits (N, K, h, w) at the common stride, or without a predictor to its features."""
        *finer, coarsest = self.in_features
        y = self._part(coarsest, "project_conv")(features[coarsest])
        for name in reversed(finer):
            x = self._part(name, "project_conv")(features[name])
            y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
            y = self._part(name, "fuse_conv")(torch.cat([x, y], dim=1))
        return y if self.decoder_only else self.predictor(y)

    def _part(self, step: str, name: str) -> nn.Module:
        return self.decoder.get_submodule(f"{step}.{name}")


def _pooled(train_size: Sequence[int] | None, stride: int) -> tuple[int, int] | None:
    """Return the cells of a crop, height and width."""
    if train_size is None:
        return None
    height, width = (whole_number("INPUT.CROP.SIZE", side) for side in train_size)
    if height % stride or width % stride:
        raise ConfigError(f"INPUT.CROP.SIZE is {tuple(train_size)}: expected multiples of the map's stride, {stride}")
    return height // stride, width // stride


def _shared_arguments(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
    """Translate what both heads take of a config."""
    head, crop = completed(cfg, add_deeplab_config).MODEL.SEM_SEG_HEAD, cfg.INPUT.CROP
    if crop.ENABLED and crop.TYPE != "absolute":
        raise ConfigError(f"INPUT.CROP.TYPE is {crop.TYPE!r}: expected 'absolute' for DeepLab, or CROP.ENABLED False")
    named_shapes(input_shape, head.IN_FEATURES, "MODEL.SEM_SEG_HEAD.IN_FEATURES")
    separable = "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV"
    return {
        "input_shape": {name: input_shape[name] for name in head.IN_FEATURES},
        "num_classes": whole_number("MODEL.SEM_SEG_HEAD.NUM_CLASSES", head.NUM_CLASSES),
        "aspp_dilations": head.ASPP_DILATIONS,
        "common_stride": head.COMMON_STRIDE,
        "norm": head.NORM,
        "train_size": crop.SIZE if crop.ENABLED else None,
        "use_depthwise_separable_conv": switch(separable, head.USE_DEPTHWISE_SEPARABLE_CONV),
    }
