"""ResNet (He et al. 2015) and ResNeXt (Xie et al. 2017), with the switches of Detectron2's configs.

A stage's blocks keep their resolution but for the first, which may halve it. Convolutions have no bias: a norm follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode
from ...errors import ConfigError, switch, whole_number
from ...layers import CNNBlockBase, Conv2d, DeformConv, ModulatedDeformConv, Norm, ShapeSpec, get_norm
from ..build import BACKBONE_REGISTRY
from .base import Stage, StagedBackbone

__all__ = ["BasicBlock", "BasicStem", "BottleneckBlock", "ResNet", "build_resnet_backbone"]

_BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def conv_norm(in_channels: int, out_channels: int, kernel: int, norm: Norm, relu: bool = True, **kwargs: Any) -> Conv2d:
    """Make a bias-free convolution with its norm and, unless it ends a branch, ReLU; ``kind`` is its class."""
    kind, activation = kwargs.pop("kind", Conv2d), F.relu_ if relu else None
    norm_layer = get_norm(norm, out_channels)
    return kind(in_channels, out_channels, kernel, bias=False, norm=norm_layer, activation=activation, **kwargs)


class _ResidualBlock(CNNBlockBase):
    """A block's channels and stride, and its shortcut: a 1×1 convolution where the number of channels changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Norm) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = conv_norm(in_channels, out_channels, 1, norm, relu=False, stride=stride)

    def _add_shortcut(self, out: Tensor, x: Tensor) -> Tensor:
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BasicBlock(_ResidualBlock):
    """Two 3×3 convolutions (ResNet-18 and -34)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Norm = "BN") -> None:
        super().__init__(in_channels, out_channels, stride, norm)
        self.conv1 = conv_norm(in_channels, out_channels, 3, norm, stride=stride, padding=1)
        self.conv2 = conv_norm(out_channels, out_channels, 3, norm, relu=False, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        return self._add_shortcut(self.conv2(self.conv1(x)), x)


class BottleneckBlock(_ResidualBlock):
    """1×1, 3×3 and 1×1 convolutions (ResNet-50 and deeper); the middle one may be grouped, dilated or deformable.

    Args:
        in_channels: C.
        out_channels: C'.
        bottleneck_channels: channels of the 3×3 convolution.
        stride: of the block.
        num_groups: groups of the 3×3 convolution.
        norm: as `get_norm` takes it.
        stride_in_1x1: put the stride on the first 1×1 convolution (as in the MSRA weights) instead of the 3×3 one.
        dilation: of the 3×3 convolution.
        deform: "" for a plain 3×3 convolution, "v1" or "v2" for a deformable one.
        deform_num_groups: groups of channels that share their offsets.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        deform: str = "",
        deform_num_groups: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, norm)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        middle: dict[str, Any] = {"stride": stride_3x3, "padding": dilation, "dilation": dilation}
        self.conv1 = conv_norm(in_channels, bottleneck_channels, 1, norm, stride=stride_1x1)
        self.conv2_offset = None
        if deform:
            per_tap, kind = (3, ModulatedDeformConv) if deform == "v2" else (2, DeformConv)
            self.conv2_offset = Conv2d(bottleneck_channels, per_tap * 9 * deform_num_groups, 3, **middle)
            middle |= {"kind": kind, "deformable_groups": deform_num_groups}
        self.conv2 = conv_norm(bottleneck_channels, bottleneck_channels, 3, norm, groups=num_groups, **middle)
        self.conv3 = conv_norm(bottleneck_channels, out_channels, 1, norm, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        out = self.conv1(x)
        out = self.conv2(out) if self.conv2_offset is None else self.conv2(out, self.conv2_offset(out))
        return self._add_shortcut(self.conv3(out), x)


class BasicStem(CNNBlockBase):
    """7×7 convolution and max-pooling: stride 4."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Norm = "BN") -> None:
        super().__init__(in_channels, out_channels, stride=4)
        self.conv1 = conv_norm(in_channels, out_channels, 7, norm, stride=2, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to (N, C', H / 4, W / 4)."""
        return F.max_pool2d(self.conv1(x), kernel_size=3, stride=2, padding=1)


class ResNet(StagedBackbone):
    """A stem and up to four stages, ``res2`` to ``res5``.

    Args:
        stem: has ``out_channels`` and ``stride``.
        stages: each a sequence of blocks that have ``out_channels`` and ``stride``.
        num_classes: must be ``None``: there is no classifier.
        out_features: which of ``stem``, ``res2``, … are returned; by default the last stage.
        freeze_at: accepted for Detectron2's signature; at inference every layer is frozen.

    Raises:
        ConfigError: when a wanted feature does not exist, or there is a ``num_classes``.
    """

    def __init__(
        self,
        stem: Any,
        stages: Sequence[Any],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        if num_classes is not None:
            raise ConfigError(f"ResNet got num_classes {num_classes}: it is a backbone here, without a classifier")
        if out_features is not None:  # no stage beyond the last one wanted
            wanted = [i for i in range(len(stages)) if f"res{i + 2}" in out_features]
            stages = stages[: max(wanted, default=-1) + 1] if wanted or "stem" in out_features else stages
        channels, stride = stem.out_channels, stem.stride
        named = {"stem": Stage(stem, channels, stride)}
        for i, blocks in enumerate(stages, 2):
            for block in blocks:
                channels, stride = block.out_channels, stride * block.stride
            module = blocks if isinstance(blocks, nn.Sequential) else nn.Sequential(*blocks)
            named[f"res{i}"] = Stage(module, channels, stride)
        super().__init__(named, [*named][-1:] if out_features is None else out_features, "MODEL.RESNETS.OUT_FEATURES")
        self.stage_names = [*named][1:]

    @staticmethod
    def make_stage(
        block_class: type[nn.Module], num_blocks: int, *, in_channels: int, out_channels: int, **kwargs: Any
    ) -> list[nn.Module]:
        """Make the blocks of one stage, as custom backbones do.

        Args:
            block_class: called with ``in_channels=``, ``out_channels=`` and the rest.
            num_blocks: how many.
            in_channels: of the first; the others have ``out_channels``.
            out_channels: of all.
            **kwargs: for each block; ``NAME_per_block`` is a list with a ``NAME`` for each. ``first_stride`` is the
                ``stride`` of the first, and 1 that of the others.

        Raises:
            ConfigError: a list has another length.
        """
        if "first_stride" in kwargs:
            kwargs["stride_per_block"] = [kwargs.pop("first_stride")] + [1] * (num_blocks - 1)
        blocks = []
        for i in range(num_blocks):
            own: dict[str, Any] = {}
            for key, value in kwargs.items():
                if not key.endswith("_per_block"):
                    own[key] = value
                elif len(value) == num_blocks:
                    own[key.removesuffix("_per_block")] = value[i]
                else:
                    raise ConfigError(f"make_stage got {len(value)} values as {key} for {num_blocks} blocks")
            blocks.append(block_class(in_channels=in_channels, out_channels=out_channels, **own))
            in_channels = out_channels
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[nn.Module] | None = None, **kwargs: Any
    ) -> list[list[nn.Module]]:
        """Make the four stages of a ResNet of that depth, with blocks of ``block_class`` made with ``kwargs``.

        Raises:
            ConfigError: for a depth that is not 18, 34, 50, 101 or 152.
        """
        own = kwargs if block_class is None else kwargs | {"block_class": block_class}
        if depth < 50:
            return _make_stages(depth, 64, 64, lambda stage: own)
        return _make_stages(depth, 64, 256, lambda stage: {"bottleneck_channels": 16 * 2**stage} | own)

    @property
    def stages(self) -> list[nn.Module]:
        """The stages, finest first, without the stem."""
        return [getattr(self, name) for name in self.stage_names]

    def freeze(self, freeze_at: int = 0) -> ResNet:
        """Return itself: at inference every layer is frozen."""
        return self


def _make_stages(
    depth: int, in_channels: int, out_channels: int, arguments: Callable[[int], dict[str, Any]], last: int = 5
) -> list[list[nn.Module]]:
    """Make the stages 2 to ``last`` of a ResNet, each with twice the channels of the one before.

    Args:
        depth: of the whole ResNet.
        in_channels: of the stem's map.
        out_channels: of the map of stage 2.
        arguments: gives `ResNet.make_stage` its arguments for the stage of a number, in place of those by default.
        last: 1 to 5; with 1 there is none.

    Raises:
        ConfigError: for a depth that is not 18, 34, 50, 101 or 152.
    """
    if depth not in _BLOCKS_PER_STAGE:
        raise ConfigError(f"MODEL.RESNETS.DEPTH is {depth!r}: expected one of {list(_BLOCKS_PER_STAGE)}")
    block_class = BasicBlock if depth < 50 else BottleneckBlock
    stages = []
    for stage, num_blocks in zip(range(2, last + 1), _BLOCKS_PER_STAGE[depth]):
        own = {"block_class": block_class, "first_stride": 1 if stage == 2 else 2} | arguments(stage)
        own |= {"num_blocks": num_blocks, "in_channels": in_channels, "out_channels": out_channels}
        stages.append(ResNet.make_stage(**own))
        in_channels, out_channels = out_channels, 2 * out_channels
    return stages


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet of ``MODEL.RESNETS``, with no stage beyond the last one wanted.

    Raises:
        ConfigError: for values that no ResNet has, or switches that basic blocks do not have.
    """
    resnets = cfg.MODEL.RESNETS
    if resnets.RES5_DILATION not in (1, 2):
        raise ConfigError(f"MODEL.RESNETS.RES5_DILATION is {resnets.RES5_DILATION!r}: expected 1 or 2")
    return resnet_of_config(resnets, input_shape, BasicStem, {5: resnets.RES5_DILATION})


def resnet_of_config(
    resnets: CfgNode,
    input_shape: ShapeSpec,
    stem_class: Callable[[int, int, Norm], nn.Module],
    dilations: Mapping[int, int],
    last_grid: Sequence[int] = (),
) -> ResNet:
    """Build the ResNet of ``MODEL.RESNETS`` with a stem, and dilations by the number of the stage.

    A stage with a dilation above 1 keeps its resolution. ``last_grid`` has a factor of the dilation for each block of
    stage 5.

    Raises:
        ConfigError: for values that no ResNet has, or switches that basic blocks do not have.
    """
    deform = resnets.DEFORM_ON_PER_STAGE
    if not isinstance(deform, (list, tuple)) or len(deform) != 4:
        raise ConfigError(f"MODEL.RESNETS.DEFORM_ON_PER_STAGE is {deform!r}: expected four switches")

    def arguments(stage: int) -> dict[str, Any]:
        dilation = dilations.get(stage, 1)
        own = {"norm": resnets.NORM} | ({"first_stride": 1} if dilation > 1 else {})
        if resnets.DEPTH >= 50:
            own |= bottleneck_arguments(resnets, stage, dilation, deform[stage - 2])
            if stage == 5 and last_grid:
                del own["dilation"]
                own["dilation_per_block"] = [dilation * factor for factor in last_grid]
            return own
        values = {"NUM_GROUPS": resnets.NUM_GROUPS, "RES5_DILATION": dilation, "DEFORM_ON_PER_STAGE": deform[stage - 2]}
        for key, value in values.items():
            needed = False if key == "DEFORM_ON_PER_STAGE" else 1
            if value != needed:
                raise ConfigError(
                    f"MODEL.RESNETS.{key} is {value!r}, but the basic blocks of DEPTH {resnets.DEPTH} need {needed}"
                )
        return own

    stage_of = {"stem": 1, "res2": 2, "res3": 3, "res4": 4, "res5": 5}
    last = max((stage_of.get(str(name), 5) for name in resnets.OUT_FEATURES or ()), default=5)
    in_channels = whole_number("MODEL.RESNETS.STEM_OUT_CHANNELS", resnets.STEM_OUT_CHANNELS)
    out_channels = whole_number("MODEL.RESNETS.RES2_OUT_CHANNELS", resnets.RES2_OUT_CHANNELS)
    stem = stem_class(input_shape.channels or 3, in_channels, resnets.NORM)
    stages = _make_stages(resnets.DEPTH, in_channels, out_channels, arguments, last)
    return ResNet(stem, stages, out_features=resnets.OUT_FEATURES or ())


def bottleneck_arguments(resnets: CfgNode, stage: int, dilation: int = 1, deform: bool = False) -> dict[str, Any]:
    """Translate ``MODEL.RESNETS`` into the arguments that only `BottleneckBlock` has, for ``stage`` 2 to 5."""
    num_groups = whole_number("MODEL.RESNETS.NUM_GROUPS", resnets.NUM_GROUPS)
    width = whole_number("MODEL.RESNETS.WIDTH_PER_GROUP", resnets.WIDTH_PER_GROUP)
    version = "v2" if switch("MODEL.RESNETS.DEFORM_MODULATED", resnets.DEFORM_MODULATED) else "v1"
    return {
        "bottleneck_channels": num_groups * width * 2 ** (stage - 2),
        "num_groups": num_groups,
        "stride_in_1x1": switch("MODEL.RESNETS.STRIDE_IN_1X1", resnets.STRIDE_IN_1X1),
        "dilation": dilation,
        "deform": version if deform else "",
        "deform_num_groups": whole_number("MODEL.RESNETS.DEFORM_NUM_GROUPS", resnets.DEFORM_NUM_GROUPS),
    }
