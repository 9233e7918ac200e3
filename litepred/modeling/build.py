"""Components by name: the registries, and the functions that build what a config names.

A registered component is a class or a function, litepred's own or a user's, that is called as
``component(cfg, input_shape)``, or ``component(cfg)`` if it is a meta-architecture.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import ConfigError
from ..layers import ShapeSpec
from .registry import Registry

if TYPE_CHECKING:
    from ..config import CfgNode
    from .anchors import DefaultAnchorGenerator
    from .backbone import Backbone
    from .roi_heads import BaseKeypointRCNNHead, BaseMaskRCNNHead, FastRCNNConvFCHead, ROIHeads

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BACKBONE_REGISTRY",
    "META_ARCH_REGISTRY",
    "PROPOSAL_GENERATOR_REGISTRY",
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "RPN_HEAD_REGISTRY",
    "SEM_SEG_HEADS_REGISTRY",
    "Registry",
    "build_anchor_generator",
    "build_backbone",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_model",
    "build_proposal_generator",
    "build_roi_heads",
    "build_rpn_head",
    "build_sem_seg_head",
    "named_shapes",
    "resolve_device",
    "without_random_init",
]


META_ARCH_REGISTRY = Registry("META_ARCH_REGISTRY", "MODEL.META_ARCHITECTURE")
BACKBONE_REGISTRY = Registry("BACKBONE_REGISTRY", "MODEL.BACKBONE.NAME")
PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR_REGISTRY", "MODEL.PROPOSAL_GENERATOR.NAME")
RPN_HEAD_REGISTRY = Registry("RPN_HEAD_REGISTRY", "MODEL.RPN.HEAD_NAME")
ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR_REGISTRY", "MODEL.ANCHOR_GENERATOR.NAME")
ROI_HEADS_REGISTRY = Registry("ROI_HEADS_REGISTRY", "MODEL.ROI_HEADS.NAME")
ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD_REGISTRY", "MODEL.ROI_BOX_HEAD.NAME")
ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD_REGISTRY", "MODEL.ROI_MASK_HEAD.NAME")
ROI_KEYPOINT_HEAD_REGISTRY = Registry("ROI_KEYPOINT_HEAD_REGISTRY", "MODEL.ROI_KEYPOINT_HEAD.NAME")
SEM_SEG_HEADS_REGISTRY = Registry("SEM_SEG_HEADS_REGISTRY", "MODEL.SEM_SEG_HEAD.NAME")

Shapes = Mapping[str, ShapeSpec]


def named_shapes(shapes: Shapes, names: Sequence[str], config_key: str) -> list[ShapeSpec]:
    """Return the shapes of the feature maps that a config's ``IN_FEATURES`` names.

    Raises:
        ConfigError: when there is no such map, or none is named.
    """
    if not isinstance(names, (list, tuple)) or not names or any(name not in shapes for name in names):
        raise ConfigError(f"{config_key} is {names!r}: expected one or more of {list(shapes)}")
    return [shapes[name] for name in names]


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model that ``cfg.MODEL.META_ARCHITECTURE`` names, with random weights.

    Returns:
        The model on ``cfg.MODEL.DEVICE`` (see `resolve_device`), in evaluation mode, its parameters without gradients.

    Raises:
        ConfigError: when the config names a component that is not registered, or values that do not go together.
    """
    device = resolve_device(cfg.MODEL.DEVICE)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    return model.to(device).eval().requires_grad_(False)


class without_random_init(TorchFunctionMode):
    """A context in which layers are built without drawing random weights, for models that are loaded right after."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" and func.__name__.endswith(("uniform_", "normal_")):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """Build the backbone that ``cfg.MODEL.BACKBONE.NAME`` names; the input has one channel per ``PIXEL_MEAN`` entry."""
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN or ()))
    return BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape).eval()


def build_proposal_generator(cfg: CfgNode, input_shape: Shapes) -> nn.Module | None:
    """Build what ``cfg.MODEL.PROPOSAL_GENERATOR.NAME`` names; ``None`` for ``PrecomputedProposals``."""
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    return None if name == "PrecomputedProposals" else PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape).eval()


def build_roi_heads(cfg: CfgNode, input_shape: Shapes) -> ROIHeads:
    """Build the ROI heads that ``cfg.MODEL.ROI_HEADS.NAME`` names."""
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape).eval()


def build_rpn_head(cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> nn.Module:
    """Build the head of the RPN that ``cfg.MODEL.RPN.HEAD_NAME`` names, for a list of feature maps."""
    return RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)


def build_anchor_generator(cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> DefaultAnchorGenerator:
    """Build what ``cfg.MODEL.ANCHOR_GENERATOR.NAME`` names, for a list of feature maps."""
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> FastRCNNConvFCHead:
    """Build what ``cfg.MODEL.ROI_BOX_HEAD.NAME`` names, which lies between pooled boxes and their predictor."""
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> BaseMaskRCNNHead:
    """Build the mask head that ``cfg.MODEL.ROI_MASK_HEAD.NAME`` names, for pooled boxes."""
    return ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)


def build_keypoint_head(cfg: CfgNode, input_shape: ShapeSpec) -> BaseKeypointRCNNHead:
    """Build the keypoint head that ``cfg.MODEL.ROI_KEYPOINT_HEAD.NAME`` names, for pooled boxes."""
    return ROI_KEYPOINT_HEAD_REGISTRY.get(cfg.MODEL.ROI_KEYPOINT_HEAD.NAME)(cfg, input_shape)


def build_sem_seg_head(cfg: CfgNode, input_shape: Shapes) -> nn.Module:
    """Build the semantic head that ``cfg.MODEL.SEM_SEG_HEAD.NAME`` names, for named feature maps."""
    return SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME)(cfg, input_shape)


def resolve_device(name: str | torch.device) -> torch.device:
    """Return the device called ``name``, or the CPU, with one warning, where that device does not exist.

    Raises:
        ConfigError: when ``name`` is not a device of torch.
    """
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps", "meta"):
            torch.zeros(1, device=device).item()  # raises where this torch knows the name alone
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{name!r} is not a device: expected 'cpu', 'cuda', 'cuda:1', 'mps' …") from error
    missing = ""
    if device.type == "cuda" and not torch.cuda.is_available():
        missing = "this torch sees no CUDA device"
    elif device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        missing = f"there are {torch.cuda.device_count()} CUDA devices"
    elif device.type == "mps" and not torch.backends.mps.is_available():
        missing = "this torch has no MPS device"
    if not missing:
        return device
    warnings.warn(
        f"the device asked for is {str(device)!r}, but {missing}: running on the CPU. "
        "Set MODEL.DEVICE to 'cpu', or pass device='cpu', to say so yourself.",
        stacklevel=3,
    )
    return torch.device("cpu")
