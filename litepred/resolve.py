"""Look up the config, weights and class names that a user names, so that a predictor can be built from them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from . import extensions, model_zoo
from .checkpoint import Checkpoint, read_checkpoint
from .checkpoint.bundle import CONFIG, read_class_names
from .checkpoint.hints import infer_class_counts
from .checkpoint.loading import check_state_dict
from .checkpoint.naming import config_of_torchvision, from_torchvision, unwrapping
from .checkpoint.readers import is_safetensors
from .config import CfgNode, get_cfg
from .data import Metadata, MetadataCatalog
from .data.metadata import as_names
from .default_model import default_config
from .errors import ConfigError, wording
from .files import as_stored
from .modeling import resolve_device

__all__ = [
    "ConfigLike",
    "ResolvedModel",
    "WeightsLike",
    "class_kind",
    "class_metadata",
    "embedded_config",
    "known_names",
    "named_config",
    "plain_state",
    "resolve_model",
    "set_class_counts",
    "torchvision_config",
]

ConfigLike: TypeAlias = "CfgNode | str | os.PathLike[str]"
_WEIGHTS = (".pth", ".pt", ".pkl", ".ckpt")
WeightsLike: TypeAlias = "str | os.PathLike[str] | Mapping[str, Tensor]"


@dataclass(frozen=True)
class ResolvedModel:
    """All that a predictor is built from, each file of it read once.

    Attributes:
        cfg: a config that belongs to the predictor alone, with the device that the model runs on.
        checkpoint: the weights and what came with them; ``None`` where the model keeps its random weights.
        metadata: names and colours of the classes.
        is_exported: whether the config came with a file, now ``cfg.MODEL.WEIGHTS``, that an engine of
            `litepred.extensions` runs, so that there are no weights to load.
    """

    cfg: CfgNode
    checkpoint: Checkpoint | None
    metadata: Metadata
    is_exported: bool = False


def resolve_model(
    cfg: ConfigLike | None,
    weights: WeightsLike | None,
    device: str | torch.device | None,
    class_names: Sequence[str] | None,
    infer_num_classes: bool,
) -> ResolvedModel:
    """Look up what the arguments of `Predictor` of the same names lead to.

    A frozen config stays frozen. Class names come from the user; else from the file of the weights, or from
    that of the config; else from the address on the hub; else from what is known of the config's data set.

    Raises:
        ConfigError: there is no such config, it cannot be read, or its model has another number of classes than there
            are names; or ``weights`` is neither a path nor a state dict.
        CheckpointError: the checkpoint cannot be read, or the state dict holds something else than weights.
    """
    if weights is not None and isinstance(cfg, (str, os.PathLike)) and extensions.model_file_reader(os.fspath(cfg)):
        raise ConfigError(
            f"weights came with {os.fspath(cfg)!r}, an exported file, which holds its own: leave weights out, or pass "
            "the config that the file was made from"
        )
    place = _place(cfg)
    if place is not None:
        cfg, weights = place.config, place.weights if weights is None else weights
    cfg, bundle = _read_config(cfg, trained=weights is None)
    checkpoint = None
    frozen = cfg.is_frozen()
    cfg.defrost()
    if isinstance(weights, Mapping):
        checkpoint = Checkpoint(plain_state(weights), name="the state dict")
        cfg.MODEL.WEIGHTS = ""
    elif isinstance(weights, (str, os.PathLike)):
        cfg.MODEL.WEIGHTS = os.fspath(weights)
    elif weights is not None:
        raise ConfigError(
            f"weights is a {type(weights).__name__}: expected the path of a checkpoint, or a state dict, as "
            "model.state_dict() gives it"
        )
    cfg.MODEL.DEVICE = str(resolve_device(cfg.MODEL.DEVICE if device is None else device))
    if cfg.MODEL.WEIGHTS:
        checkpoint = bundle if bundle and weights is None else read_checkpoint(cfg.MODEL.WEIGHTS)
    if infer_num_classes and checkpoint:
        set_class_counts(cfg, checkpoint)
    if frozen:
        cfg.freeze()
    if class_names is None:
        class_names = _names_that_came_along(cfg, checkpoint, bundle)
    if class_names is None and place and len(place.class_names or ()) == class_kind(cfg)[1]:
        class_names = place.class_names
    is_exported = checkpoint is not None and extensions.model_file_reader(checkpoint.name) is not None
    return ResolvedModel(cfg, checkpoint, class_metadata(cfg, class_names), is_exported)


def plain_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without what `unwrapping` takes off its names.

    Raises:
        CheckpointError: it holds something else than weights, or several models.
    """
    check_state_dict(weights, "the state dict")
    shorter = unwrapping(weights)
    return {shorter(name) or "": value for name, value in weights.items()}


def set_class_counts(cfg: CfgNode, checkpoint: Checkpoint) -> None:
    """Set the numbers of classes and keypoints in a config to those of a checkpoint."""
    before = cfg.clone()
    for key, number in infer_class_counts(from_torchvision(checkpoint.model)).items():
        cfg.merge_from_list([key, number])
    if cfg != before:  # its classes are not those of the data set
        cfg.DATASETS.TEST = ()


def _names_that_came_along(
    cfg: CfgNode, checkpoint: Checkpoint | None, bundle: Checkpoint | None
) -> Sequence[str] | None:
    """Return the class names in the file of the weights if they fit the config, else those in the config's file."""
    names = read_class_names(checkpoint) if checkpoint else None
    if names is None or (checkpoint is not bundle and len(names) != class_kind(cfg)[1]):
        return read_class_names(bundle) if bundle else None  # that the weights do not fit is told when they are loaded
    return names


def named_config(name: str, trained: bool = False) -> CfgNode:
    """Read a YAML file, or the config in a safetensors file; where there is no such file, take a model of the zoo.

    An address of a kind that was announced (see `litepred.extensions`) is fetched.

    With ``trained``, ``MODEL.WEIGHTS`` becomes the safetensors file, or the address of the zoo's checkpoint.

    Raises:
        ConfigError: there is neither, or it holds no config.
        CheckpointError: the safetensors file is damaged.
    """
    place = _place(name)
    if place is None:
        return _read_config(name, trained)[0]
    cfg = _read_config(place.config, trained and place.weights is None)[0]
    if trained and place.weights is not None:
        cfg.MODEL.WEIGHTS = place.weights
    return cfg


def _place(config: ConfigLike | None) -> extensions.ModelPlace | None:
    """Fetch the model at an address of an announced kind; return ``None`` for all other configs."""
    place = extensions.model_place(config) if isinstance(config, str) else None
    if place is not None and place.config is None:
        raise _weights_alone(str(config))
    return place


def _read_config(config: ConfigLike | None, trained: bool) -> tuple[CfgNode, Checkpoint | None]:
    """Read or copy a config; with it comes the safetensors file that it was in, if it was in one."""
    if config is None:
        return default_config(), None
    if isinstance(config, CfgNode):
        return config.clone(), None
    if not isinstance(config, (str, os.PathLike)):
        kind = type(config).__name__
        raise ConfigError(f"{kind} is not a config: expected a CfgNode from get_cfg(), or a YAML file's path")
    name = as_stored(os.fspath(config))
    if not os.path.exists(name):
        if not model_zoo.is_known(name):
            raise model_zoo.missing_config(name)
        return model_zoo.get_config(name, trained), None
    read = extensions.model_file_reader(name) or (read_checkpoint if is_safetensors(name) else None)
    if read is None and name.lower().endswith(_WEIGHTS):
        raise _weights_alone(name)
    if read is None:
        cfg = get_cfg()
        cfg.merge_from_file(name)
        return cfg, None
    bundle = read(name)
    embedded = embedded_config(bundle)
    if embedded is None:
        raise _weights_alone(name)
    embedded.MODEL.WEIGHTS = name if trained else ""
    return embedded, bundle


def _weights_alone(name: str) -> ConfigError:
    both = wording(
        f"pass both, Predictor('config.yaml', weights={name!r})", f"give the config in its place, and --weights {name}"
    )
    return ConfigError(
        f"{name} holds weights without a config: {both}, or put both into one file with litepred convert {name} "
        "OUT.safetensors --config config.yaml"
    )


def embedded_config(checkpoint: Checkpoint) -> CfgNode | None:
    """Return the config in a checkpoint's header, ``None`` where there is none.

    Raises:
        ConfigError: it is not a config that litepred knows.
    """
    if CONFIG not in checkpoint.header:
        return None
    cfg = get_cfg()
    try:
        cfg.merge_from_other_cfg(CfgNode.load_cfg(checkpoint.header[CONFIG]))
    except ConfigError as error:
        raise ConfigError(f"the config embedded in {checkpoint.name}: {error}") from error
    return cfg


def torchvision_config(state: Mapping[str, Tensor]) -> CfgNode:
    """Return the zoo's config for a state dict of a torchvision model, with its number of classes.

    Raises:
        CheckpointError: the state dict belongs to none of the models that litepred has.
    """
    check_state_dict(state, "the state dict")
    name, options = config_of_torchvision(state)
    cfg = model_zoo.get_config(name)
    released = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    cfg.merge_from_list(options)
    if released != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        cfg.DATASETS.TEST = ()  # fine-tuned: its classes are not COCO's
    return cfg


def class_kind(cfg: CfgNode) -> tuple[str, int]:
    """Tell which classes a config's model has, ``"thing_classes"`` or else ``"stuff_classes"``, and how many."""
    model = cfg.MODEL
    if model.META_ARCHITECTURE == "SemanticSegmentor":
        return "stuff_classes", model.SEM_SEG_HEAD.NUM_CLASSES
    section = model.RETINANET if model.META_ARCHITECTURE == "RetinaNet" else model.ROI_HEADS
    return "thing_classes", section.NUM_CLASSES


def known_names(cfg: CfgNode, metadata: Metadata) -> list[str] | None:
    """Return the class names in a data set's metadata, if there is one for each class of the config's model."""
    kind, number = class_kind(cfg)
    names = metadata.get(kind, ())
    return list(names) if len(names) == number else None


def class_metadata(cfg: CfgNode, class_names: Sequence[str] | None) -> Metadata:
    """Return what the catalog knows of a config's data set, with the class names in its place if there are others.

    Raises:
        ConfigError: there are not as many names as the config's model has classes, or they are not texts.
    """
    known = MetadataCatalog.get(cfg.DATASETS.TEST[0]) if cfg.DATASETS.TEST else Metadata()
    if class_names is None:
        return known
    class_names = list(as_names(class_names, "class_names"))
    kind, number = class_kind(cfg)
    if len(class_names) != number:
        raise ConfigError(
            f"{wording('class_names', '--class-names')} has {len(class_names)} names, but the config's model has "
            f"{number} classes: expected a name for each, in the order that the model was trained with"
        )
    return known if known.get(kind) == class_names else Metadata(name=known.name, **{kind: class_names})
