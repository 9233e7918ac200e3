"""From what a user names, a config, a file or a model, to the config and the metadata that a predictor runs with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from . import model_zoo
from .checkpoint import read_checkpoint, resolve_path
from .checkpoint.bundle import CONFIG, read_class_names, read_metadata
from .checkpoint.hints import infer_class_counts
from .checkpoint.loading import check_state_dict
from .checkpoint.torchvision_names import config_of_torchvision, from_torchvision, is_torchvision
from .config import CfgNode, get_cfg
from .data import Metadata, MetadataCatalog
from .default_model import default_config
from .errors import ConfigError
from .modeling import resolve_device

__all__ = ["class_kind", "load_config", "load_metadata", "named_config", "torchvision_config"]


def load_config(cfg: Any, weights: Any, device: Any, infer_num_classes: bool) -> CfgNode:
    """Copy or read a config and put the overrides in; a frozen one stays frozen.

    Args: those of `Predictor`.

    Raises:
        ConfigError: it cannot be read, or is none; or the weights are neither a path nor a state dict.
        CheckpointError: the state dict is none, or the checkpoint that the classes are counted in cannot be read.
    """
    if cfg is None:
        cfg = default_config()
    elif isinstance(cfg, (str, os.PathLike)):
        cfg = named_config(os.fspath(cfg), trained=weights is None)
    elif isinstance(cfg, CfgNode):
        cfg = cfg.clone()
    else:
        raise ConfigError(
            f"{type(cfg).__name__} is not a config: expected a CfgNode from get_cfg(), or a YAML file's path"
        )
    if isinstance(weights, Mapping):
        check_state_dict(weights, "the state dict")
    elif weights is not None and not isinstance(weights, (str, os.PathLike)):
        raise ConfigError(
            f"weights is a {type(weights).__name__}: expected the path of a checkpoint, or a state dict, as "
            "model.state_dict() gives it"
        )
    frozen = cfg.is_frozen()
    cfg.defrost()
    if weights is not None:
        cfg.MODEL.WEIGHTS = "" if isinstance(weights, Mapping) else os.fspath(weights)
    cfg.MODEL.DEVICE = str(resolve_device(cfg.MODEL.DEVICE if device is None else device))
    if infer_num_classes and (cfg.MODEL.WEIGHTS or isinstance(weights, Mapping)):
        state = weights if isinstance(weights, Mapping) else read_checkpoint(resolve_path(cfg.MODEL.WEIGHTS)).model
        _set_class_counts(cfg, from_torchvision(state) if is_torchvision(state) else state)
    if frozen:
        cfg.freeze()
    return cfg


def _set_class_counts(cfg: CfgNode, state: Mapping[str, torch.Tensor]) -> None:
    """Take the numbers of classes from a state dict; where one changes, the data set's names are no longer its own."""
    before = cfg.clone()
    for key, number in infer_class_counts(state).items():
        cfg.merge_from_list([key, number])
    if cfg != before:
        cfg.DATASETS.TEST = ()


def named_config(name: str, trained: bool = False) -> CfgNode:
    """Read a YAML file, or the config in a safetensors file; where there is no such file, take a model of the zoo.

    Args:
        name: path, or name of a model of the zoo.
        trained: set ``MODEL.WEIGHTS`` to the safetensors file, or to the zoo's checkpoint.

    Raises:
        ConfigError: there is neither, or it holds no config.
        CheckpointError: the safetensors file is damaged.
    """
    if not os.path.exists(name):
        try:
            return model_zoo.get_config(name, trained)
        except ConfigError as error:
            raise ConfigError(
                f"there is no file {name!r} in {os.getcwd()!r}, and as a model's name: {error}"
            ) from error
    cfg, embedded = get_cfg(), read_metadata(name)
    if embedded is None:
        cfg.merge_from_file(name)
    elif CONFIG not in embedded:
        raise ConfigError(
            f"{name} holds weights without a config: pass both, Predictor('config.yaml', weights={name!r}), or put "
            f"both into one file with litepred convert {name} OUT.safetensors --config config.yaml"
        )
    else:
        try:
            cfg.merge_from_other_cfg(CfgNode.load_cfg(embedded[CONFIG]))
        except ConfigError as error:
            raise ConfigError(f"the config embedded in {name}: {error}") from error
        cfg.MODEL.WEIGHTS = name if trained else ""
    return cfg


def torchvision_config(state: Mapping[str, torch.Tensor]) -> CfgNode:
    """Return the zoo's config for a state dict of torchvision's, with its number of classes.

    Raises:
        CheckpointError: it is of none of the models that litepred has.
    """
    check_state_dict(state, "the state dict")
    name, options = config_of_torchvision(state)
    cfg = model_zoo.get_config(name)
    released = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    cfg.merge_from_list(options)
    if released != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        cfg.DATASETS.TEST = ()  # fine-tuned: not COCO's classes
    return cfg


def class_kind(cfg: CfgNode) -> tuple[str, int]:
    """Tell what a config's model finds first of all, ``"thing_classes"`` or ``"stuff_classes"``, and how many."""
    model = cfg.MODEL
    if model.META_ARCHITECTURE == "SemanticSegmentor":
        return "stuff_classes", model.SEM_SEG_HEAD.NUM_CLASSES
    section = model.RETINANET if model.META_ARCHITECTURE == "RetinaNet" else model.ROI_HEADS
    return "thing_classes", section.NUM_CLASSES


def _embedded_class_names(cfg: Any) -> list[str] | None:
    embedded = read_metadata(cfg) if isinstance(cfg, (str, os.PathLike)) else None
    return read_class_names(embedded, os.fspath(cfg)) if embedded else None


def load_metadata(source: Any, cfg: CfgNode, class_names: Sequence[str] | None) -> Metadata:
    """Return what the catalog knows of a config's data set, unless there are other class names.

    Args:
        source: what the user named; class names embedded in a safetensors file count.
        cfg: the config that it led to.
        class_names: the user's own.

    Raises:
        ConfigError: there are not as many names as classes, or they are no names.
    """
    if class_names is None:
        class_names = _embedded_class_names(source)
    known = MetadataCatalog.get(cfg.DATASETS.TEST[0]) if cfg.DATASETS.TEST else Metadata()
    if class_names is None:
        return known
    if isinstance(class_names, (str, Mapping)) or not isinstance(class_names, Iterable):
        raise ConfigError(f"class_names is {class_names!r:.100}: expected a list of names, one for each class in order")
    class_names = list(class_names)
    if not all(isinstance(name, str) for name in class_names):
        raise ConfigError(f"class_names is {class_names!r:.100}: expected a text for each class")
    kind, number = class_kind(cfg)
    if len(class_names) != number:
        raise ConfigError(
            f"class_names has {len(class_names)} names, but the config's model has {number} classes: "
            "expected a name for each, in the order that the model was trained with"
        )
    return known if known.get(kind) == class_names else Metadata(name=known.name, **{kind: class_names})
