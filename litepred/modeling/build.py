"""Components by name: the registries, and the functions that build what a config names.

A registered component is a class or a function, litepred's own or a user's, that is called as
``component(cfg, input_shape)``, or ``component(cfg)`` if it is a meta-architecture.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..config.schema import DEFAULTS
from ..errors import ConfigError
from ..layers import ShapeSpec
from .registry import Registry

if TYPE_CHECKING:
    from ..config import CfgNode

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
    if not names or any(name not in shapes for name in names):
        raise ConfigError(f"{config_key} is {list(names)}: expected one or more of {list(shapes)}")
    return [shapes[name] for name in names]


# The whole numbers that the parts of a model are built with, and the least of each.
_LEAST: dict[str, dict[str, int]] = {
    "RESNETS": {"STEM_OUT_CHANNELS": 1, "RES2_OUT_CHANNELS": 1, "NUM_GROUPS": 1, "WIDTH_PER_GROUP": 1},
    "FPN": {"OUT_CHANNELS": 1},
    "ANCHOR_GENERATOR": {},
    "RPN": {"PRE_NMS_TOPK_TEST": 0},
    "ROI_HEADS": {"NUM_CLASSES": 1},
    "ROI_BOX_HEAD": {"POOLER_RESOLUTION": 1, "NUM_CONV": 0, "NUM_FC": 0, "CONV_DIM": 1, "FC_DIM": 1},
    "ROI_MASK_HEAD": {"POOLER_RESOLUTION": 1, "NUM_CONV": 0, "CONV_DIM": 1},
    "ROI_KEYPOINT_HEAD": {"POOLER_RESOLUTION": 1, "NUM_KEYPOINTS": 1},
    "RETINANET": {"NUM_CLASSES": 1, "NUM_CONVS": 0, "TOPK_CANDIDATES_TEST": 0},
    "SEM_SEG_HEAD": {"NUM_CLASSES": 1, "CONVS_DIM": 1, "COMMON_STRIDE": 1},
}
_BACKBONE = ("RESNETS", "FPN")
_RCNN = (*_BACKBONE, "ANCHOR_GENERATOR", "RPN", "ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD", "ROI_KEYPOINT_HEAD")
_SECTIONS = {
    "GeneralizedRCNN": _RCNN,
    "TorchvisionRCNN": _RCNN,
    "PanopticFPN": (*_RCNN, "SEM_SEG_HEAD"),
    "ProposalNetwork": (*_BACKBONE, "ANCHOR_GENERATOR", "RPN"),
    "RetinaNet": (*_BACKBONE, "ANCHOR_GENERATOR", "RETINANET"),
    "SemanticSegmentor": (*_BACKBONE, "SEM_SEG_HEAD"),
}


def _check_numbers(cfg: CfgNode) -> None:
    """Refuse numbers that no model can be built or run with; sections that the model does not read may have any.

    Raises:
        ConfigError: there is one, or ``None`` (a key of YAML without a value) or NaN in the place of one.
    """
    model = cfg.MODEL
    read = {section: dict(model[section]) for section in _SECTIONS.get(model.META_ARCHITECTURE, ())}
    unread = {"ROI_MASK_HEAD": not model.MASK_ON, "ROI_KEYPOINT_HEAD": not model.KEYPOINT_ON}
    for section, values in read.items():
        if unread.get(section):
            continue
        for key, value in values.items():
            least = _LEAST[section].get(key)
            if least is not None and not (isinstance(value, int) and value >= least):
                raise ConfigError(f"MODEL.{section}.{key} is {value!r}: expected a whole number, {least} or more")
            needed = key in DEFAULTS["MODEL"][section] and key != "NORM" and not key.startswith("POST")
            if (value is None and needed) or value != value:
                raise ConfigError(f"MODEL.{section}.{key} is {value!r}: expected a value, as get_cfg() has one")
    for section, key in ((model, "PIXEL_MEAN"), (model, "PIXEL_STD"), (cfg.TEST, "DETECTIONS_PER_IMAGE")):
        if section[key] is None:
            raise ConfigError(f"{key} is None: expected a value, as get_cfg() has one")


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model that ``cfg.MODEL.META_ARCHITECTURE`` names, with random weights.

    Returns:
        The model on ``cfg.MODEL.DEVICE`` (see `resolve_device`), in evaluation mode, its parameters without gradients.

    Raises:
        ConfigError: when the config names a component that is not registered, or values that do not go together.
    """
    device = resolve_device(cfg.MODEL.DEVICE)
    _check_numbers(cfg)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    return model.to(device).eval().requires_grad_(False)


class without_random_init(TorchFunctionMode):
    """A context in which layers are built without drawing random weights, for models that are loaded right after."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" and func.__name__.endswith(("uniform_", "normal_")):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Any:
    """Build the backbone that ``cfg.MODEL.BACKBONE.NAME`` names; the input has one channel per ``PIXEL_MEAN`` entry."""
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    return BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape).eval()


def build_proposal_generator(cfg: CfgNode, input_shape: Shapes) -> Any:
    """Build what ``cfg.MODEL.PROPOSAL_GENERATOR.NAME`` names; ``None`` for ``PrecomputedProposals``."""
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    return None if name == "PrecomputedProposals" else PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape).eval()


def build_roi_heads(cfg: CfgNode, input_shape: Shapes) -> Any:
    """Build what ``cfg.MODEL.ROI_HEADS.NAME`` names."""
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape).eval()


def _builder(registry: Registry, name_of: Callable[[Any], str], doc: str) -> Callable[[CfgNode, Any], Any]:
    def build(cfg: CfgNode, input_shape: Any) -> Any:
        return registry.get(name_of(cfg.MODEL))(cfg, input_shape)

    build.__doc__ = doc
    return build


build_rpn_head = _builder(RPN_HEAD_REGISTRY, lambda m: m.RPN.HEAD_NAME, "Build the head of the RPN.")
build_anchor_generator = _builder(
    ANCHOR_GENERATOR_REGISTRY, lambda m: m.ANCHOR_GENERATOR.NAME, "Build the anchor generator for a list of features."
)
build_box_head = _builder(
    ROI_BOX_HEAD_REGISTRY, lambda m: m.ROI_BOX_HEAD.NAME, "Build the head before the box predictor."
)
build_mask_head = _builder(ROI_MASK_HEAD_REGISTRY, lambda m: m.ROI_MASK_HEAD.NAME, "Build the mask head.")
build_keypoint_head = _builder(
    ROI_KEYPOINT_HEAD_REGISTRY, lambda m: m.ROI_KEYPOINT_HEAD.NAME, "Build the keypoint head."
)
build_sem_seg_head = _builder(SEM_SEG_HEADS_REGISTRY, lambda m: m.SEM_SEG_HEAD.NAME, "Build the semantic head.")


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
