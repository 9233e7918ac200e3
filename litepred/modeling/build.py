"""Components by name: the registries, and the functions that build what a config names.

A registered component is a class or a function, litepred's own or a user's, that is called as
``component(cfg, input_shape)``, or ``component(cfg)`` if it is a meta-architecture.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .. import extensions
from ..config import CfgNode
from ..errors import ConfigError, wording
from ..layers import ShapeSpec
from .registry import Registry

if TYPE_CHECKING:
    from .backbone import Backbone

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BACKBONE_REGISTRY",
    "META_ARCH_REGISTRY",
    "POINT_HEAD_REGISTRY",
    "PROPOSAL_GENERATOR_REGISTRY",
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "RPN_HEAD_REGISTRY",
    "SEM_SEG_HEADS_REGISTRY",
    "build_anchor_generator",
    "build_backbone",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_model",
    "build_point_head",
    "build_proposal_generator",
    "build_roi_heads",
    "build_rpn_head",
    "build_sem_seg_head",
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
POINT_HEAD_REGISTRY = Registry("POINT_HEAD_REGISTRY", "MODEL.POINT_HEAD.NAME")

# Parts of Detectron2's projects. They register themselves when a config names one of them, so that a program which
# brings the project's own code can register its own under these names.
extensions.announce(
    components={
        "build_resnet_deeplab_backbone": "litepred.modeling.backbone.deeplab",
        **dict.fromkeys(("DeepLabV3Head", "DeepLabV3PlusHead"), "litepred.modeling.deeplab"),
        **dict.fromkeys(("ImplicitPointHead", "StandardPointHead"), "litepred.modeling.point_head"),
        **dict.fromkeys(
            ("ImplicitPointRendMaskHead", "PointRendMaskHead", "PointRendROIHeads"),
            "litepred.modeling.roi_heads.pointrend",
        ),
        "PointRendSemSegHead": "litepred.modeling.pointrend_semantic",
    }
)

Shapes = Mapping[str, ShapeSpec]


def named_shapes(shapes: Shapes, names: Sequence[str], config_key: str) -> list[ShapeSpec]:
    """Return the shapes of the feature maps that a config's ``IN_FEATURES`` names.

    Raises:
        ConfigError: when there is no such map, or none is named.
    """
    if not isinstance(names, (list, tuple)) or not names or any(name not in list(shapes) for name in names):
        raise ConfigError(f"{config_key} is {names!r}: expected one or more of {list(shapes)}")
    return [shapes[name] for name in names]


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model that ``cfg.MODEL.META_ARCHITECTURE`` names, with random weights.

    Returns:
        The model on ``cfg.MODEL.DEVICE`` (see `resolve_device`), in evaluation mode, its parameters without gradients.

    Raises:
        ConfigError: when the config names a component that is not registered, or values that do not go together.
    """
    if not isinstance(cfg, Mapping):
        raise ConfigError(f"{type(cfg).__name__} is not a config: expected a CfgNode, as get_cfg() makes it")
    device = resolve_device(cfg.MODEL.DEVICE)
    with _float32_by_default(), _cpu_by_default(device):
        return META_ARCH_REGISTRY.build(cfg).to(device).requires_grad_(False)


_defaults_lock = threading.Lock()
_defaults: list[torch.dtype] = []  # torch's default type as each model that is being built now has found it


@contextmanager
def _float32_by_default() -> Iterator[None]:
    """Let torch's layers have float32 weights, whatever another library has set as the type of all new tensors.

    The type is the process's: of several threads that build, the first changes it and the last changes it back.
    """
    with _defaults_lock:
        _defaults.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _defaults_lock:
            before = _defaults.pop()
            if not _defaults:
                torch.set_default_dtype(before)


def _cpu_by_default(device: torch.device) -> AbstractContextManager[Any]:
    """Let new tensors be on the CPU, whatever another library has set, unless the model is for the meta device."""
    is_settled = device.type == "meta" or torch.empty(0).device.type == "cpu"
    return nullcontext() if is_settled else torch.device("cpu")


def build_skeleton(cfg: CfgNode) -> nn.Module:
    """Build a config's model on the meta device: its names and shapes, without memory for its weights.

    Raises:
        ConfigError: as `build_model` does.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


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
    return BACKBONE_REGISTRY.build(cfg, input_shape)


def build_proposal_generator(cfg: CfgNode, input_shape: Shapes) -> nn.Module | None:
    """Build what ``cfg.MODEL.PROPOSAL_GENERATOR.NAME`` names; ``None`` for ``PrecomputedProposals``."""
    is_precomputed = cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"
    return None if is_precomputed else PROPOSAL_GENERATOR_REGISTRY.build(cfg, input_shape)


# Each takes a config and the shape of what its component reads. That is a `ShapeSpec` for each named map for ROI heads
# and semantic heads, a list of them for the RPN's head and for anchors, and one of a pooled box or of a point for the
# other heads.
build_roi_heads = ROI_HEADS_REGISTRY.build
build_sem_seg_head = SEM_SEG_HEADS_REGISTRY.build
build_rpn_head = RPN_HEAD_REGISTRY.build
build_anchor_generator = ANCHOR_GENERATOR_REGISTRY.build
build_box_head = ROI_BOX_HEAD_REGISTRY.build
build_mask_head = ROI_MASK_HEAD_REGISTRY.build
build_keypoint_head = ROI_KEYPOINT_HEAD_REGISTRY.build
build_point_head = POINT_HEAD_REGISTRY.build


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
        "Set MODEL.DEVICE to 'cpu', or pass " + wording("device='cpu'", "--device cpu") + ", to say so yourself.",
        stacklevel=3,
    )
    return torch.device("cpu")
