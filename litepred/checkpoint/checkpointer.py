"""Load weights into a model and save them to a file, as Detectron2's ``DetectionCheckpointer`` does."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ..errors import CheckpointError
from ..files import is_address, make_folder, whole_file
from .bundle import Checkpoint
from .download import download
from .loading import LoadReport, load_into, refuse_optimized
from .naming import (
    CAFFE2,
    CHOICE,
    HEURISTICS,
    before_backbone,
    by_suffix,
    find_state,
    from_caffe2,
    from_torchvision,
    split_query,
    unwrapped,
)
from .readers import find_file, read_checkpoint
from .writers import SUFFIXES, write_checkpoint

__all__ = ["DetectionCheckpointer", "named_for", "resolve_path"]

_LAST = "last_checkpoint"
_logger = logging.getLogger(__name__)


def resolve_path(path: str | PathLike[str]) -> Path:
    """Turn what a config calls its weights into a local path, which need not exist.

    An address (``detectron2://...``, ``catalog://...``, ``https://...``) is downloaded unless it is in the cache.

    Raises:
        CheckpointError: when an address cannot be downloaded.
    """
    text = os.fspath(path)
    return download(split_query(text)[0]) if is_address(text) else Path(text)


def named_for(model: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return a checkpoint's weights by their names in a model: torchvision's and short ones are changed.

    So are those that a module of the model changes itself, in a ``_load_from_state_dict`` of its own. The names of some
    models, such as DETR with ``detr.``, begin with what looks like a wrapper's prefix: they get it back.
    """
    known = model.state_dict()
    own = next(iter(before_backbone(known)), "")
    weights = from_torchvision(checkpoint.model).items()
    state = {name if name in known or own + name not in known else own + name: value for name, value in weights}
    if checkpoint.matching_heuristics:
        state = by_suffix(state, known)
    versions = {f"{own}{name}".rstrip("."): version for name, version in checkpoint.versions.items()}
    return _renamed_by_modules(model, state, {**checkpoint.versions, **versions})


def _renamed_by_modules(model: nn.Module, state: dict[str, Tensor], versions: dict[str, int]) -> dict[str, Tensor]:
    for name, module in model.named_modules():
        defined_in = type(module)._load_from_state_dict.__module__
        if defined_in.partition(".")[0] in ("torch", "torchvision"):
            continue
        state, prefix = dict(state), f"{name}." if name else ""
        version = versions.get(name)
        # It gets a copy without weights, so that it changes names and copies nothing yet.
        without_weights = copy.copy(module)
        without_weights.__dict__.update(_parameters={}, _buffers={})
        facts = {} if version is None else {"version": version}
        without_weights._load_from_state_dict(state, prefix, facts, False, [], [], [])
    return state


class DetectionCheckpointer:
    """Load and save a model's weights.

    Args:
        model: the model; the one inside, if it is wrapped for several devices.
        save_dir: folder to save into. Where it is empty, nothing is saved.
        save_to_disk: ``False`` makes ``save`` do nothing.
        **checkpointables: none. Detectron2 takes a trainer's objects here; one of them is a CheckpointError.

    Attributes:
        last_report: how the last checkpoint that was loaded and the model differ.
        path_manager: what says which local file a path or address is, by ``get_local_path``; ``None`` for litepred.
    """

    path_manager: Any = None
    _loading: tuple[Checkpoint, bool]  # what `_load_model` loads, and whether it is to fit
    _choice = ""  # the query that chooses one of several models in the file that is loaded

    def __init__(
        self,
        model: nn.Module,
        save_dir: str | PathLike[str] = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: object,
    ) -> None:
        _refuse_checkpointables(checkpointables)
        if not isinstance(model, nn.Module):
            raise CheckpointError(
                f"{type(model).__name__} is not a model: expected a module, as build_model(cfg) makes it"
            )
        self.model: nn.Module = model.module if isinstance(model, (DataParallel, DistributedDataParallel)) else model
        self.save_dir = os.fspath(save_dir)
        self.save_to_disk = save_to_disk is not False
        self.last_report = LoadReport()

    def load(
        self, path: str | PathLike[str], checkpointables: Iterable[str] | None = None, *, strict: bool = True
    ) -> dict[str, Any]:
        """Load a checkpoint into the model, and return what else it holds, such as ``iteration`` or ``__author__``.

        Args:
            path: of a file, or its address (see `read_checkpoint`). Where it is empty, nothing is loaded.
            checkpointables: none. Detectron2 takes the names of a trainer's objects here.
            strict: refuse a checkpoint that does not fit, and leave the model as it is.

        Raises:
            CheckpointError: the file cannot be read safely or does not fit; also a ``FileNotFoundError`` where there
                is no such file; or ``checkpointables`` has names in it.
        """
        _refuse_checkpointables(checkpointables)
        if not os.fspath(path):
            _logger.info("No weights given: the model keeps its initial values")
            return {}
        if self.path_manager is not None:
            bare, mark, query = os.fspath(path).partition("?")
            path = f"{self.path_manager.get_local_path(bare)}{mark}{query}"
        own = before_backbone(self.model.state_dict())
        if type(self)._load_file is DetectionCheckpointer._load_file:
            checkpoint = read_checkpoint(path, own=own)
        else:
            file, heuristics, chosen = find_file(path)
            self._choice = f"?{CHOICE}{chosen}" if chosen else ""
            data = self._load_file(str(file))
            is_entry = not self._choice or chosen in data  # else the names have to begin with it
            found = unwrapped(find_state(data, chosen), chosen, own, is_entry)
            tensors = _as_tensors(found.model)
            if found.author == CAFFE2 and found.matching_heuristics and not any("." in name for name in tensors):
                tensors = from_caffe2(tensors)  # unless this class's `_load_file` has done so
            heuristics = heuristics or found.matching_heuristics
            checkpoint = replace(found, model=tensors, name=str(file), matching_heuristics=heuristics)
        if type(self)._load_model is DetectionCheckpointer._load_model:
            self._load(checkpoint, strict)
        else:
            self._loading = checkpoint, strict
            known = {"model": dict(checkpoint.model), HEURISTICS: checkpoint.matching_heuristics}
            try:
                self._load_model({**checkpoint.extra, **known})
            finally:
                del self._loading
        return dict(checkpoint.extra)

    def _load(self, checkpoint: Checkpoint, strict: bool) -> None:
        state = named_for(self.model, checkpoint)
        self.last_report = load_into(self.model, state, strict=strict, source=checkpoint.name)

    def _load_model(self, checkpoint: dict[str, Any]) -> LoadReport:
        """Load the weights ``model``, whose names are short where ``matching_heuristics`` is true.

        It returns how they fit. `load` calls it where a subclass overrides it, which may change what this one gets.
        """
        loading, strict = self._loading
        tensors = _as_tensors(checkpoint["model"])
        heuristics = bool(checkpoint.get(HEURISTICS))
        self._load(replace(loading, model=tensors, matching_heuristics=heuristics), strict)
        return self.last_report

    def _load_file(self, filename: str) -> dict[str, Any]:
        """Read a local file: its weights are ``model``, and names are short where ``matching_heuristics`` is true.

        A subclass may override it, and change what this one returns or read the file itself.
        """
        choice, self._choice = self._choice, ""
        checkpoint = read_checkpoint(filename + choice, own=before_backbone(self.model.state_dict()))
        return {**checkpoint.extra, "model": checkpoint.model, HEURISTICS: checkpoint.matching_heuristics}

    def resume_or_load(self, path: str | PathLike[str], *, resume: bool = True) -> dict[str, Any]:
        """Load the last checkpoint of ``save_dir`` if ``resume`` and there is one, else the model from ``path``."""
        if resume and self.has_checkpoint():
            return self.load(self.get_checkpoint_file())
        return self.load(path)

    def has_checkpoint(self) -> bool:
        """Tell whether ``save_dir`` names a last checkpoint."""
        return bool(self.save_dir) and (Path(self.save_dir) / _LAST).is_file()

    def get_checkpoint_file(self) -> str:
        """Return the path of the last checkpoint in ``save_dir``, or an empty text if none is named there."""
        if not self.has_checkpoint():
            return ""
        return os.path.join(self.save_dir, (Path(self.save_dir) / _LAST).read_text(encoding="utf-8").strip())

    def get_all_checkpoint_files(self) -> list[str]:
        """List the paths of all checkpoints in ``save_dir``, sorted."""
        folder = Path(self.save_dir)
        if not self.save_dir or not folder.is_dir():
            return []
        return sorted(os.path.join(self.save_dir, file.name) for file in folder.iterdir() if file.suffix in SUFFIXES)

    def save(self, name: str, **extra: Any) -> None:
        """Write the model to ``save_dir``, whole or not at all, and note it as the last checkpoint.

        Args:
            name: file name without a folder, whose ending chooses the format as in `write_checkpoint`; where it has
                none of those endings, ``.pth`` is added.
            **extra: further top-level entries, such as ``iteration=999``.

        Raises:
            CheckpointError: the name has a folder in it, the format cannot hold a value, or `Predictor` has
                optimized the model.
            WriteError: ``save_dir`` cannot be made, or the file cannot be written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        refuse_optimized(self.model)
        if Path(name).suffix not in SUFFIXES:
            name += ".pth"
        if Path(name).name != name:
            raise CheckpointError(
                f"{name!r} has a folder in it, but checkpoints go to save_dir: give a plain file name"
            )
        state = {key: value.detach().cpu() for key, value in self.model.state_dict().items()}
        target = make_folder(self.save_dir) / name
        _logger.info("Saving weights to %s", target)
        write_checkpoint(target, state, extra)
        with whole_file(target.with_name(_LAST), durable=True) as file:
            file.write(name.encode())


def _refuse_checkpointables(names: Iterable[str] | None) -> None:
    if given := list(names or ()):
        raise CheckpointError(
            f"checkpointables are {', '.join(map(repr, given))}: expected none, since only the model is loaded and "
            "saved. Leave them out"
        )


def _as_tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return tensors as they are, and arrays as tensors on the CPU."""
    return {
        name: value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")
        for name, value in values.items()
    }
