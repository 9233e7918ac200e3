"""The face of the package: an image in, Detectron2's standard dict out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import model_zoo
from .checkpoint import DetectionCheckpointer
from .config import CfgNode, get_cfg
from .data import Metadata, MetadataCatalog, ResizeShortestEdge, as_array
from .default_model import default_config
from .errors import ConfigError, ImageError
from .modeling import build_model, resolve_device

__all__ = ["DefaultPredictor", "Predictor"]


class Predictor:
    """Run a trained model on images.

    Args:
        cfg: a config, which is copied, not changed; or the path of a YAML file; or the name of a model of the zoo,
            whose released checkpoint is downloaded. Without one, the document-page model of the package itself.
        weights: path of a checkpoint, instead of the config's ``MODEL.WEIGHTS``.
        device: such as "cpu" or "cuda:1", instead of the config's ``MODEL.DEVICE``. Where that device does not exist
            the model runs on the CPU, with a warning.
        class_names: names of the classes in order, instead of what is known of the data set.

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
        weights: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.cfg = _load_config(cfg, weights, device)
        self.input_format: str = self.cfg.INPUT.FORMAT
        if self.input_format not in ("BGR", "RGB"):
            raise ConfigError(f"INPUT.FORMAT is {self.input_format!r}: expected 'BGR' or 'RGB'")
        self.metadata = _metadata(self.cfg, class_names)
        self.aug = ResizeShortestEdge(self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.MAX_SIZE_TEST)
        self.model = build_model(self.cfg)
        if self.cfg.MODEL.WEIGHTS:
            DetectionCheckpointer(self.model).load(self.cfg.MODEL.WEIGHTS)
        else:
            warnings.warn(
                "MODEL.WEIGHTS is empty: the model keeps its random weights and its answers mean nothing. "
                "Pass weights='model_final.pth', or set MODEL.WEIGHTS.",
                stacklevel=2,
            )

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
        while inputs := [self._model_input(image) for image in islice(images, batch_size)]:
            groups: dict[tuple[int, int], list[int]] = {}
            for i, one in enumerate(inputs):
                groups.setdefault(self._padded_size(one["image"]), []).append(i)
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

    def _padded_size(self, image: torch.Tensor) -> tuple[int, int]:
        height, width = image.shape[1:]
        unit = max(1, getattr(getattr(self.model, "backbone", None), "size_divisibility", 0))
        return -(-height // unit) * unit, -(-width // unit) * unit


DefaultPredictor = Predictor


def _load_config(cfg: Any, weights: Any, device: Any) -> CfgNode:
    """Copy or read the config and put the overrides in; a frozen one stays frozen."""
    if cfg is None:
        cfg = default_config()
    elif isinstance(cfg, (str, os.PathLike)):
        cfg = _named_config(os.fspath(cfg), trained=weights is None)
    elif isinstance(cfg, CfgNode):
        cfg = cfg.clone()
    else:
        raise ConfigError(
            f"{type(cfg).__name__} is not a config: expected a CfgNode from get_cfg(), or a YAML file's path"
        )
    frozen = cfg.is_frozen()
    cfg.defrost()
    if weights is not None:
        cfg.MODEL.WEIGHTS = os.fspath(weights)
    cfg.MODEL.DEVICE = str(resolve_device(cfg.MODEL.DEVICE if device is None else device))
    if frozen:
        cfg.freeze()
    return cfg


def _named_config(name: str, trained: bool) -> CfgNode:
    """Read a YAML file, or take a model of the zoo, where there is no such file."""
    if not os.path.exists(name):
        try:
            return model_zoo.get_config(name, trained)
        except ConfigError as error:
            raise ConfigError(
                f"there is no file {name!r} in {os.getcwd()!r}, and as a model's name: {error}"
            ) from error
    cfg = get_cfg()
    cfg.merge_from_file(name)
    return cfg


def _metadata(cfg: CfgNode, class_names: Sequence[str] | None) -> Metadata:
    """What the catalog knows of the config's data set, or the names that the user gives."""
    name = cfg.DATASETS.TEST[0] if len(cfg.DATASETS.TEST) else "N/A"
    if class_names is None:
        return MetadataCatalog.get(name) if len(cfg.DATASETS.TEST) else Metadata()
    architecture, model = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL
    kind, section = "thing_classes", model.ROI_HEADS
    if architecture == "SemanticSegmentor":
        kind, section = "stuff_classes", model.SEM_SEG_HEAD
    elif architecture == "RetinaNet":
        section = model.RETINANET
    if len(class_names) != section.NUM_CLASSES:
        raise ConfigError(
            f"class_names has {len(class_names)} names, but the config's model has {section.NUM_CLASSES} classes: "
            "expected a name for each, in the order that the model was trained with"
        )
    return Metadata(name=name, **{kind: list(class_names)})
