"""The face of the package: an image in, Detectron2's standard dict out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import model_zoo
from .checkpoint import DetectionCheckpointer, load_into, read_checkpoint, resolve_path
from .checkpoint.bundle import CONFIG, read_class_names, read_metadata
from .checkpoint.hints import infer_class_counts
from .checkpoint.torchvision_names import config_of_torchvision, from_torchvision, is_torchvision
from .config import CfgNode, get_cfg
from .data import Metadata, MetadataCatalog, ResizeShortestEdge, as_array
from .default_model import default_config
from .errors import ConfigError, ImageError
from .modeling import build_model, resolve_device, without_random_init

__all__ = ["DefaultPredictor", "Predictor"]


class Predictor:
    """Run a trained model on images.

    Args:
        cfg: a config, which is copied, not changed; or the path of a YAML file; or that of a safetensors file with
            config and class names in it, as ``litepred convert`` makes, whose weights are loaded too; or the name of a
            model of the zoo, whose released checkpoint is downloaded. Without one, the document-page model of the
            package itself.
        weights: path of a checkpoint, or a state dict in Detectron2's names, instead of ``MODEL.WEIGHTS``.
        device: such as "cpu" or "cuda:1", instead of the config's ``MODEL.DEVICE``. Where that device does not exist
            the model runs on the CPU, with a warning.
        class_names: names of the classes in order, instead of what is known of the data set.
        infer_num_classes: set the numbers of classes and keypoints in the config to those of the checkpoint.

    Attributes:
        cfg: the config in use.
        model: the model, ``model(list[dict]) -> list[dict]``.
        metadata: class names and colours of the data set ``cfg.DATASETS.TEST[0]``, as far as they are known.
        aug: the resizing, a `ResizeShortestEdge`.
        input_format: order of the channels in the model's input, "BGR" or "RGB".

    Raises:
        ConfigError: when the config cannot be read, or does not describe a model.
        CheckpointError: when the checkpoint cannot be read safely, or does not fit the model.
    """

    def __init__(
        self,
        cfg: CfgNode | str | os.PathLike[str] | None = None,
        *,
        weights: str | os.PathLike[str] | Mapping[str, torch.Tensor] | None = None,
        device: str | torch.device | None = None,
        class_names: Sequence[str] | None = None,
        infer_num_classes: bool = False,
    ) -> None:
        self.cfg = _load_config(cfg, weights, device, infer_num_classes)
        self.input_format: str = self.cfg.INPUT.FORMAT
        if self.input_format not in ("BGR", "RGB"):
            raise ConfigError(f"INPUT.FORMAT is {self.input_format!r}: expected 'BGR' or 'RGB'")
        self.metadata = _metadata(self.cfg, _embedded_class_names(cfg) if class_names is None else class_names)
        has_weights = isinstance(weights, Mapping) or bool(self.cfg.MODEL.WEIGHTS)
        with without_random_init() if has_weights else nullcontext():
            self.model = build_model(self.cfg)
        short_edge = 0 if getattr(self.model, "resizes_itself", False) else self.cfg.INPUT.MIN_SIZE_TEST
        self.aug = ResizeShortestEdge(short_edge, self.cfg.INPUT.MAX_SIZE_TEST)
        if isinstance(weights, Mapping):
            load_into(self.model, weights, source="the state dict")
        elif self.cfg.MODEL.WEIGHTS:
            DetectionCheckpointer(self.model).load(self.cfg.MODEL.WEIGHTS)
        else:
            warnings.warn(
                "MODEL.WEIGHTS is empty: the model keeps its random weights and its answers mean nothing. "
                "Pass weights='model_final.pth', or set MODEL.WEIGHTS.",
                stacklevel=2,
            )

    @classmethod
    def from_torchvision(
        cls,
        weights: str | os.PathLike[str] | Mapping[str, torch.Tensor],
        *,
        device: str | torch.device | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Predictor:
        """Run a detector of ``torchvision.models.detection`` with torchvision's own answers.

        Args:
            weights: state dict, or the path of one, of ``fasterrcnn_resnet50_fpn``, ``maskrcnn_resnet50_fpn``,
                ``keypointrcnn_resnet50_fpn``, or a ``_v2`` of the first two, fine-tuned or not. Detectors whose frozen
                norms are to keep an epsilon (those fine-tuned from an ImageNet backbone alone) are run by the config:
                set ``MODEL.RESNETS.NORM`` of ``model_zoo.get_config("torchvision/…")`` to ``FrozenBN``.
            device: such as "cpu" or "cuda:1"; without one, CUDA where there is any, else the CPU.
            class_names: names of the classes in order, background left out.

        Raises:
            CheckpointError: when the file cannot be read, or is of another model.
        """
        state = weights if isinstance(weights, Mapping) else read_checkpoint(resolve_path(weights)).model
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        cfg = torchvision_config(state)
        return cls(cfg, weights=from_torchvision(state), device=device, class_names=class_names)

    def __call__(self, image: Any) -> dict[str, Any]:
        """Predict on one image.

        Args:
            image: a uint8 array (H, W, 3) in BGR order, as ``cv2.imread`` returns it; or (H, W) or (H, W, 1) gray, or
                (H, W, 4) BGRA, whose alpha is dropped; or a path or a Pillow image, whose colour order is known and
                whose EXIF rotation is applied.

        Returns:
            What the model makes of it, in the image's own height and width, on the model's device: ``instances``,
            ``sem_seg``, ``panoptic_seg``, ``proposals``.

        Raises:
            ImageError: when it is not such an image.
        """
        return self._run([self._model_input(image)])[0]

    def batch(self, images: Iterable[Any], batch_size: int = 4) -> Iterator[dict[str, Any]]:
        """Predict on many images, with the answers that they get one by one.

        Padding changes a model's numbers, so only images of the same padded size run together. Images are taken, and
        answers kept, ``batch_size`` at a time.

        Args:
            images: whatever `__call__` takes, as a list, a generator …
            batch_size: the most images to hold at once.

        Yields:
            A dict per image, in order.

        Raises:
            ImageError: when one is not such an image, at its turn; or when ``images`` is a single one.
        """
        if isinstance(images, (str, os.PathLike, Image.Image)) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise ImageError(
                f"batch() got a single {type(images).__name__}: expected a list of images, or call predictor(image)"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: expected 1 or more")
        return self._batches(iter(images), batch_size)

    def _batches(self, images: Iterator[Any], batch_size: int) -> Iterator[dict[str, Any]]:
        padded_size = getattr(self.model, "padded_size", lambda image: tuple(image.shape[1:]))
        while inputs := [self._model_input(image) for image in islice(images, batch_size)]:
            groups: dict[tuple[int, int], list[int]] = {}
            for i, one in enumerate(inputs):
                groups.setdefault(padded_size(one["image"]), []).append(i)
            answers: dict[int, dict[str, Any]] = {}
            for members in groups.values():
                answers.update(zip(members, self._run([inputs[i] for i in members])))
            for i in range(len(inputs)):
                yield answers.pop(i)

    @torch.no_grad()
    def _run(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.model(inputs)

    def _model_input(self, image: Any) -> dict[str, Any]:
        array = as_array(image, channels=len(self.cfg.MODEL.PIXEL_MEAN), format=self.input_format)
        resized = self.aug.get_transform(array).apply_image(array)
        tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))  # (C, H, W)
        return {"image": tensor, "height": array.shape[0], "width": array.shape[1]}


DefaultPredictor = Predictor


def _load_config(cfg: Any, weights: Any, device: Any, infer_num_classes: bool) -> CfgNode:
    """Copy or read the config and put the overrides in; a frozen one stays frozen."""
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


def _metadata(cfg: CfgNode, class_names: Sequence[str] | None) -> Metadata:
    """What the catalog knows of the config's data set, unless the names given are others."""
    known = MetadataCatalog.get(cfg.DATASETS.TEST[0]) if len(cfg.DATASETS.TEST) else Metadata()
    if class_names is None:
        return known
    kind, number = class_kind(cfg)
    if len(class_names) != number:
        raise ConfigError(
            f"class_names has {len(class_names)} names, but the config's model has {number} classes: "
            "expected a name for each, in the order that the model was trained with"
        )
    return known if known.get(kind) == list(class_names) else Metadata(name=known.name, **{kind: list(class_names)})
