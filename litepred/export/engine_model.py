"""A model that runs on another engine than torch, in the place of `Predictor.model`: same inputs, same answers."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..errors import ConfigError, ImageError, WriteError, wording
from ..files import cache_folder, make_folder, naming
from ..layers import InferenceModule
from ..modeling import GeneralizedRCNN
from ..modeling.build import build_skeleton
from ..modeling.rcnn import Inputs, MetaArch
from ..predictor import Predictor
from ..resolve import ResolvedModel
from .engines import Engine, check_engine, make_engine, runs_on
from .graph import unflatten
from .metadata import onnx_module

__all__ = ["EngineModel", "build_engine_model"]


class EngineModel(InferenceModule):
    """Run an exported graph on each image, and bring its answers to the image's size as the model itself would.

    Args:
        skeleton: the model without weights, which checks inputs and post-processes.
        engine: the loaded file.
    """

    def __init__(self, skeleton: MetaArch, engine: Engine) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.engine = engine
        self.resizes_itself = skeleton.resizes_itself
        if not hasattr(skeleton, "set_mask_format"):
            self.set_mask_format = None  # type: ignore[assignment]
        elif getattr(skeleton, "mask_format", "") is None:
            skeleton.mask_format = "bitmask"  # type: ignore[assignment]

    def set_mask_format(self, mask_format: str) -> None:
        """Let ``pred_masks`` come in another format; see `litepred.modeling.GeneralizedRCNN.set_mask_format`."""
        self.skeleton.set_mask_format(mask_format)  # type: ignore[operator]

    def padded_size(self, image: Tensor) -> tuple[int, int]:
        """Return the (height, width) that the network sees of an image (C, H, W)."""
        return self.skeleton.padded_size(image)

    @torch.no_grad()
    def forward(self, batched_inputs: Inputs) -> list[dict[str, Any]]:
        """Run the graph on one image after the other; see `litepred.modeling.MetaArch.forward`."""
        answers = []
        for inputs, image in zip(batched_inputs, self.skeleton.checked_images(batched_inputs)):
            arrays = self.arrays(inputs, image)
            size_hw = (arrays["image"].shape[1], arrays["image"].shape[2])
            found = {name: torch.from_numpy(value) for name, value in self.engine.run(arrays).items()}
            answers += self.skeleton.postprocess(unflatten(found, size_hw), [inputs], [size_hw])
        return answers

    def arrays(self, inputs: Mapping[str, Any], image: Tensor) -> dict[str, np.ndarray]:
        """Return what the graph takes for one input of the model, whose image (C, H, W) has been checked.

        Raises:
            ImageError: when the image is not of uint8 where the graph takes nothing else, or not of its fixed size.
        """
        if self.resizes_itself:
            image = self.skeleton.resize(image.cpu().float())
        elif image.dtype != torch.uint8:
            raise ImageError(
                f"the exported model got an image of {image.dtype}: expected uint8, as predictor.prepare gives it"
            )
        size_hw = tuple(image.shape[1:])
        if any(side not in (None, given) for side, given in zip(self.engine.image_size, size_hw)):
            height, width = ("any" if side is None else side for side in self.engine.image_size)
            raise ImageError(
                f"the image has {size_hw[0]} × {size_hw[1]} pixels (height × width) after resizing, but the model was "
                f"exported for {height} × {width} alone: export it without a fixed size, or bring the image to that one"
            )
        arrays = {"image": image.cpu().numpy()}
        if isinstance(self.skeleton, GeneralizedRCNN):
            given = self.skeleton.given_proposals([inputs], [(image.shape[1], image.shape[2])])
            if given is not None:
                arrays["proposals"] = given[0].proposal_boxes.tensor.numpy()
        return arrays


def build_engine_model(resolved: ResolvedModel, engine: str, precision: str, threads: int | None) -> EngineModel:
    """Build what `Predictor` runs for ``engine="onnxruntime"`` or ``"openvino"``.

    A model that is no exported file yet becomes one in the cache, under a name that tells config, weights and versions
    apart, so that it is exported once.

    Raises:
        ConfigError: the engine or a package is missing, or the model cannot be exported.
        CheckpointError: the file is damaged, or no file of litepred's.
    """
    check_engine(engine, precision)
    cfg = resolved.cfg
    cfg.MODEL.DEVICE = runs_on(engine, cfg.MODEL.DEVICE)
    path = cfg.MODEL.WEIGHTS if resolved.is_exported else _cached_export(resolved)
    skeleton = _skeleton(cfg)
    return EngineModel(skeleton, make_engine(engine, path, cfg.MODEL.DEVICE, threads, precision))


def _skeleton(cfg: Any) -> MetaArch:
    """Build a config's model without memory for its weights; mean and deviation are there."""
    model: Any = build_skeleton(cfg)
    if not isinstance(model, MetaArch):
        raise ConfigError(f"{type(model).__name__} has no postprocess(): expected a model of litepred's")
    for name, values in (("pixel_mean", cfg.MODEL.PIXEL_MEAN), ("pixel_std", cfg.MODEL.PIXEL_STD)):
        setattr(model, name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))
    return model


def _cached_export(resolved: ResolvedModel) -> str:
    """Export a torch model into the cache, unless it is there already; returns the path."""
    from .onnx_file import export_onnx

    if resolved.checkpoint is None:
        option = wording("weights='model_final.pth'", "--weights model_final.pth")
        raise ConfigError(f"MODEL.WEIGHTS is empty: an engine needs trained weights, pass {option}")
    onnx = onnx_module()
    digest = hashlib.blake2b(digest_size=16)
    cfg = resolved.cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "cpu"
    digest.update(f"{__version__} {torch.__version__} {onnx.__version__}\n{cfg.dump()}".encode())
    for name, tensor in sorted(resolved.checkpoint.model.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(values.view(torch.uint8).numpy()))  # type: ignore[arg-type]
    folder = cache_folder() / "exported"
    path = folder / f"{digest.hexdigest()}.onnx"
    if not path.exists():
        cfg.MODEL.WEIGHTS = resolved.cfg.MODEL.WEIGHTS
        try:
            with naming(path), tempfile.TemporaryFile(dir=make_folder(folder)):
                pass  # told before the work, which takes half a minute
            export_onnx(Predictor(cfg, weights=None if cfg.MODEL.WEIGHTS else resolved.checkpoint.model), path)
        except WriteError as error:
            if not path.is_file():  # as on Windows, where another process has put it there and reads it
                raise WriteError(
                    f"the exported model cannot be kept in the cache ({error}): set LITEPRED_CACHE to a folder that "
                    "can be written"
                ) from error
    return str(path)
