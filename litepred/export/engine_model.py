"""A model that runs on another engine than torch, in the place of `Predictor.model`: same inputs, same answers."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..config.node import without_others
from ..errors import CheckpointError, ConfigError, ImageError, LitepredError, WriteError, is_out_of_memory, wording
from ..files import cache_folder, check_writable, make_folder, naming
from ..layers import InferenceModule
from ..modeling import GeneralizedRCNN
from ..modeling.build import build_skeleton
from ..modeling.dense_detector import DenseDetector
from ..modeling.panoptic import PanopticFPN
from ..modeling.rcnn import Inputs, MetaArch, ProposalNetwork
from ..modeling.semantic import SemanticSegmentor
from ..predictor import Predictor, parts_of_others
from ..resolve import ResolvedModel
from .engines import Engine, Input, check_engine, make_engine, runs_on
from .graph import unflatten
from .metadata import onnx_module, read_header

__all__ = ["EngineModel", "build_engine_model"]

_ANEW = "expected a file that litepred export made of that model, export it anew"
_INSTANCES = {"boxes", "scores", "classes"}
_OUTPUTS = {  # that a file must return to be of such a model, and of those that derive from it
    GeneralizedRCNN: _INSTANCES,
    DenseDetector: _INSTANCES,
    PanopticFPN: {"sem_seg"},
    SemanticSegmentor: {"sem_seg"},
    ProposalNetwork: {"proposals", "objectness_logits"},
}


class EngineModel(InferenceModule):
    """Run an exported graph on each image, and bring its answers to the image's size as the model itself would.

    Args:
        skeleton: the model without weights, which checks inputs and post-processes.
        engine: the loaded file.

    Attributes:
        precision: the precision that the engine computes in.
    """

    def __init__(self, skeleton: MetaArch, engine: Engine) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.engine = engine
        self.precision = engine.precision
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
        """Run the graph on one image after the other; see `litepred.modeling.MetaArch.forward`.

        Raises:
            ImageError: as `arrays` does.
            LitepredError: when the engine cannot run the file on an image, or its answers are not the model's.
        """
        answers = []
        for inputs, image in zip(batched_inputs, self.skeleton.checked_images(batched_inputs)):
            arrays = self.arrays(inputs, image)
            size_hw = (arrays["image"].shape[1], arrays["image"].shape[2])
            try:
                found = {name: torch.from_numpy(value) for name, value in self.engine.run(arrays).items()}
                answers += self.skeleton.postprocess(unflatten(found, size_hw), [inputs], [size_hw])
            except Exception as error:  # of the engine's own kinds, or of whatever finds an answer in another form
                if isinstance(error, (LitepredError, Warning)) or is_out_of_memory(error):
                    raise
                reason = f"{' '.join(str(error).split()):.300}"
                if is_out_of_memory(RuntimeError(error)):  # which ONNX Runtime tells in an exception of its own
                    raise MemoryError(reason) from error
                raise LitepredError(
                    f"the exported model fails on an image of {size_hw[0]} × {size_hw[1]} pixels ({reason}): expected "
                    "a file that litepred export made of the model of its config, export it anew"
                ) from error
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
                f"the exported model got an image of {image.dtype}, and takes uint8 alone: pass the image as uint8, or "
                "run the model with torch"
            )
        size_hw, taken = image.shape[1:], self.engine.inputs["image"].shape[1:]
        if any(side not in (None, given) for side, given in zip(taken, size_hw)):
            height, width = ("any" if side is None else side for side in taken)
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
    apart, so that it is exported once. One that has parts of others, whose code no name could tell apart, becomes one
    that this process alone uses.

    Raises:
        ConfigError: the engine or a package is missing, or the model cannot be exported.
        CheckpointError: the file is damaged, no file of litepred's, or not of the model that its config describes.
    """
    check_engine(engine, precision)
    cfg, frozen = resolved.cfg, resolved.cfg.is_frozen()
    load = partial(make_engine, engine, device=runs_on(engine, cfg.MODEL.DEVICE), threads=threads, precision=precision)
    skeleton = _skeleton(cfg)
    if resolved.is_exported:
        loaded = load(cfg.MODEL.WEIGHTS)
        _check_fit(skeleton, loaded, cfg.MODEL.WEIGHTS)
    else:
        loaded = _exported(resolved, skeleton, load)
    cfg.defrost()
    cfg.MODEL.DEVICE = loaded.device
    if frozen:
        cfg.freeze()
    return EngineModel(skeleton, loaded)


def _check_fit(skeleton: MetaArch, engine: Engine, path: str) -> None:
    """Refuse a file that takes or returns something else than the model of its config."""
    taken = {"image": Input("float32" if skeleton.resizes_itself else "uint8", (len(skeleton.pixel_mean), None, None))}
    if getattr(skeleton, "proposal_generator", skeleton) is None:
        taken["proposals"] = Input("float32", (None, 4))
    if engine.inputs.keys() != taken.keys() or not all(engine.inputs[name].fits(one) for name, one in taken.items()):
        came, expected = (
            " and ".join(f"{name!r} of {one}" for name, one in inputs.items()) for inputs in (engine.inputs, taken)
        )
        raise CheckpointError(f"{path} takes {came or 'nothing'}, but its config's model takes {expected}: {_ANEW}")
    returned = {name for kind, names in _OUTPUTS.items() if isinstance(skeleton, kind) for name in names}
    heads = getattr(skeleton, "roi_heads", None)
    returned |= {f"{name}s" for name in ("mask", "keypoint") if getattr(heads, f"{name}_on", False)}
    if missing := returned.difference(engine.outputs):
        raise CheckpointError(
            f"{path} returns {', '.join(engine.outputs)}, but its config's model also {', '.join(sorted(missing))}: "
            + _ANEW
        )


def _skeleton(cfg: Any) -> MetaArch:
    """Build a config's model without memory for its weights; mean and deviation are there."""
    model: Any = build_skeleton(cfg)
    if not isinstance(model, MetaArch):
        raise ConfigError(f"{type(model).__name__} has no postprocess(): expected a model of litepred's")
    for name, values in (("pixel_mean", cfg.MODEL.PIXEL_MEAN), ("pixel_std", cfg.MODEL.PIXEL_STD)):
        setattr(model, name, torch.tensor(values, dtype=torch.float32, device="cpu").view(-1, 1, 1))
    return model


def _exported(resolved: ResolvedModel, skeleton: MetaArch, load: Callable[[str], Engine]) -> Engine:
    """Load the exported file of a torch model, which is made unless the cache has one that can be loaded."""
    from .onnx_file import export_onnx

    if resolved.checkpoint is None:
        option = wording("weights='model_final.pth'", "--weights model_final.pth")
        raise ConfigError(f"MODEL.WEIGHTS is empty: an engine needs trained weights, pass {option}")
    folder, path = _place(resolved, skeleton)
    if os.path.exists(path):  # unlike Path.exists(), never an error of its own
        try:
            return load(str(path))
        except CheckpointError:
            if _is_whole(path):
                raise
    cfg = resolved.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    try:
        make_folder(path.parent)
        check_writable(path)  # told before the work, which takes half a minute
        predictor = Predictor(cfg, weights=None if cfg.MODEL.WEIGHTS else resolved.checkpoint.model)
        predictor.cfg, _ = without_others(cfg)  # nobody reads the config in this file
        export_onnx(predictor, path)
    except WriteError as error:
        # On Windows another process may have put it there and be reading it.
        if not (os.path.isfile(path) and _is_whole(path)):
            raise WriteError(
                f"the exported model cannot be kept in the cache ({error}): set LITEPRED_CACHE to a folder that "
                "can be written"
            ) from error
    loaded = load(str(path))
    loaded.folder = folder
    return loaded


def _is_whole(path: Path) -> bool:
    """Whether a file in the cache can be read, and is not damaged, as by a power cut."""
    try:
        read_header(str(path))
    except CheckpointError:
        return False
    return True


def _place(resolved: ResolvedModel, skeleton: MetaArch) -> tuple[tempfile.TemporaryDirectory[str] | None, Path]:
    """Return where the exported file of a model is kept: in the cache, or in a folder that ends with the engine."""
    if others := parts_of_others(skeleton):
        warnings.warn(
            f"the model has {', '.join(others)}, which may be other code by now than when it was last exported: it is "
            "exported for this process alone; litepred export writes a file to keep",
            stacklevel=2,
        )
        with naming(Path(tempfile.gettempdir())):
            folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        return folder, Path(folder.name) / "model.onnx"
    digest = hashlib.blake2b(digest_size=16)
    cfg = resolved.cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "cpu"
    digest.update(f"{__version__} {torch.__version__} {onnx_module().__version__}\n{cfg.dump()}\n{skeleton}".encode())
    for name, tensor in sorted(resolved.checkpoint.model.items()):  # type: ignore[union-attr]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(values.view(torch.uint8).numpy()))
    return None, cache_folder() / "exported" / f"{digest.hexdigest()}.onnx"
