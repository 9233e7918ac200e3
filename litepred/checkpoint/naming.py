"""Find the weights in other projects' files, and give them the names and the order of classes that Detectron2 has.

A short name (``res2.0.conv1.weight``) belongs to the model's name that ends with it
(``backbone.bottom_up.res2.0.conv1.weight``). Files with short names say so: ``matching_heuristics`` is true in them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import CheckpointError
from ..files import read_rows
from .bundle import Checkpoint

__all__ = [
    "CAFFE2",
    "CHOICE",
    "HEURISTICS",
    "before_backbone",
    "by_suffix",
    "config_of_torchvision",
    "find_state",
    "from_caffe2",
    "from_torchvision",
    "is_torchvision",
    "split_query",
    "unwrapped",
    "unwrapping",
]

CAFFE2 = "Caffe2"
HEURISTICS = "matching_heuristics"
_ENTRIES = ("model", "state_dict", "model_state", "blobs")  # the first of these that a file has holds its weights
_AVERAGE = re.compile(r"(\w+_)?ema(_\w+)?")
CHOICE = "prefix="
_WITHIN = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_BEFORE_BACKBONE = re.compile(r"((?:[^.]+\.)*?)backbone\.")
_logger = logging.getLogger(__name__)

# Patterns in Caffe2's names and what replaces them, one after another; underscores have become dots before.
_CAFFE2 = dict(read_rows(Path(__file__).parent / "caffe2_names.txt"))
# Patterns at the start of torchvision's names, of which the first that matches counts, and what replaces them. In that,
# {+2} is the first group of the match plus two, {half} its half plus one.
_TORCHVISION = dict(read_rows(Path(__file__).parent / "torchvision_names.txt"))
# How many rows of a weight belong to the background, for which Detectron2 has none.
_BACKGROUND_ROWS = {"bbox_pred.": 4, "mask_head.predictor.": 1}


def split_query(path: str) -> tuple[str, bool, str]:
    """Return a path or address without what litepred reads of its query, and what that says.

    It says whether ``matching_heuristics=True`` is there, and which name stands after ``prefix=``.
    """
    bare, _, query = path.partition("?")
    asked = f"{HEURISTICS}=True"
    parts = query.split("&")
    rest = "&".join(part for part in parts if part != asked and not part.startswith(CHOICE))
    chosen = next((part.removeprefix(CHOICE) for part in parts if part.startswith(CHOICE)), "")
    return f"{bare}?{rest}" if rest else bare, asked in parts, chosen


def before_backbone(names: Iterable[str]) -> list[str]:
    """Return what is before ``backbone.`` in names, such as an empty text or ``model.``, the shortest first."""
    return sorted({match[1] for name in names if (match := _BEFORE_BACKBONE.match(name))}, key=lambda s: (len(s), s))


def unwrapped(found: Checkpoint, chosen: str = "", own: Collection[str] = (), is_entry: bool = False) -> Checkpoint:
    """Return a checkpoint with the names of its weights, and of its versions, as `unwrapping` changes them."""
    shorter = unwrapping(found.model, chosen, own, is_entry)
    model = {name: value for key, value in found.model.items() if (name := shorter(key)) is not None}
    versions = {(shorter(f"{name}.") or "").removesuffix("."): value for name, value in found.versions.items()}
    return replace(found, model=model, versions=versions)


def unwrapping(
    names: Collection[str], chosen: str = "", own: Collection[str] = (), is_entry: bool = False
) -> Callable[[str], str | None]:
    """Return the function that takes off names what was put before them when a model was compiled or wrapped.

    That is ``_orig_mod.`` and what FSDP and activation checkpoints leave, anywhere; ``module.`` before all names; and
    whatever is before ``backbone.``, such as ``model.``, where it is the same in all names that have this. The log says
    it. Where a file has several models, as a teacher and a student, ``chosen`` says which is meant, with or without a
    ``module.`` before it; the function returns ``None`` for names of the others. What the names of the model itself
    have before ``backbone.`` is ``own``: where the file has nothing else there, as for a model that has a teacher and a
    student in it, that stays. With ``is_entry``, ``chosen`` has chosen an entry of the file already, and the names need
    not begin with it.

    Raises:
        CheckpointError: there are several models and none was chosen, there is none of that name, or two names become
            the same.
    """
    if within := next((match[0] for name in names if (match := _WITHIN.search(name))), ""):
        _logger.warning(
            "Its names have %r in them, as torch.compile or a wrapper leaves it, which is taken off", within
        )
    plain = [_WITHIN.sub("", name) for name in names]
    lead = ""
    while plain and all(name.startswith(f"{lead}module.") for name in plain):
        lead += "module."
    found = before_backbone(plain)
    known = " and ".join(repr(one.removesuffix(".")) for one in found)
    start = ""
    if chosen:
        asked = f"{chosen.removesuffix('.')}."
        fitting = (one for one in (asked, lead + asked) if any(name.startswith(one) for name in plain))
        start = next(fitting, "")
        if not start and not is_entry:
            some = known or repr(plain[0] if plain else "")
            raise CheckpointError(f"it has no names that begin with {asked!r}: they begin with {some}")
        found = [one for one in found if one.startswith(start)]
    is_own = not start and {one.removeprefix(lead) for one in found} <= {*own}
    prefix = lead if is_own else found[0] if found else start
    if any(not one.startswith(prefix) for one in found):
        first = found[0].removesuffix(".")
        raise CheckpointError(
            f"it has several models, {known}: choose one with ?{CHOICE}{first} after the path; of a state dict, pass "
            "the names of one alone"
        )
    if prefix != lead or start:
        _logger.warning("Its names begin with %r, which is taken off", prefix)

    def shorter(name: str) -> str | None:
        name = _WITHIN.sub("", name)
        return name.removeprefix(prefix if name.startswith(prefix) else start) if name.startswith(start) else None

    taken: dict[str, str] = {}
    for name in names:
        short = shorter(name)
        if short is not None and taken.setdefault(short, name) != name:
            raise CheckpointError(
                f"two of its names, {taken[short]} and {name}, are both {short} without what wrappers have put before "
                "it: save one model alone"
            )
    return shorter


def find_state(data: Any, chosen: str = "") -> Checkpoint:
    """Find the weights among a file's entries, and return them as they are, with the other entries.

    Detectron2 and most others keep them in ``model`` or ``state_dict``, pycls in ``model_state``, Detectron1 in
    ``blobs``, and bare state dicts are nothing but weights. Else an entry of any name is taken if it is ``chosen``, or
    is the only one that is a state dict. A running average (``ema_state``, ``model_ema`` ...) is taken only where there
    is nothing else, as Detectron2 runs the plain weights. The log says which were taken. Where an entry has
    state dicts in it instead of weights, their names begin with the names of these; of one that was ``chosen``, only
    those that a file with these entries would be read from.

    Files of Detectron1 and pycls are known by their entries and names; others say who made them and whether their
    names are short, in ``__author__`` and ``matching_heuristics``.

    Raises:
        CheckpointError: there is no state dict.
    """
    if not isinstance(data, Mapping):
        raise CheckpointError(f"it holds an object of type {type(data).__name__}, but expected a dict of named tensors")
    states = [key for key, value in data.items() if _only_arrays(value)]
    averages = [key for key in states if _AVERAGE.fullmatch(str(key))]
    named = [name for name in _ENTRIES if isinstance(data.get(name), Mapping)]
    entries = [chosen] if chosen in states else named or [key for key in states if key not in averages] or averages
    deep = [key for key, value in data.items() if _holds_states(value)]
    if chosen in deep:
        entries = [chosen]
    elif not entries:
        entries = deep
    if len(entries) > 1 and not named:
        shown = " and ".join(map(repr, map(str, entries)))
        raise CheckpointError(f"it has several models, {shown}: choose one with ?{CHOICE}{entries[0]} after the path")
    if not entries and not _only_arrays(data):
        shown = ", ".join(f"{key!r} ({type(value).__name__})" for key, value in list(data.items())[:8])
        raise CheckpointError(
            f"no weights found in it: its entries are {shown or 'none'}, but expected a dict under 'model' or "
            "'state_dict', or tensors only"
        )
    entry = entries[0] if entries else None
    state: Any = data[entry] if entries else data
    extra = {key: value for key, value in data.items() if key != entry} if entries else {}
    if entry in averages and entry != chosen:
        _logger.warning("Its only weights are a running average, %r, which is taken", entry)
    elif averages and entry != chosen:
        _logger.warning("It has weights twice: %r is taken, as Detectron2 does, not the average %r", entry, averages[0])
    elif entries and not named and entry != chosen:
        _logger.warning("Its weights are taken from %r", entry)
    if _holds_states(state):  # each under the name of its own entry, as if a module had that
        within = {key: part for key, part in state.items() if _only_arrays(part)}
        if entry == chosen:  # of which the weights are found as those of a file are
            plain = [key for key in within if not _AVERAGE.fullmatch(str(key))]
            kept = [name for name in _ENTRIES if name in within][:1] or plain or within
            within = {key: within[key] for key in kept}
        extra |= {key: part for key, part in state.items() if key not in within}
        state = {f"{key}.{name}": value for key, part in within.items() for name, value in part.items()}
    names = [str(key) for key in state]
    has_caffe2_names = any(name.endswith("_w") for name in names) and not any("." in name for name in names)
    if entry == "blobs" or (not entries and has_caffe2_names):
        state = {key: value for key, value in state.items() if not str(key).endswith("_momentum")}
        return Checkpoint(state, extra=extra, author=CAFFE2, matching_heuristics=True)
    if entry == "model_state":
        state = {key: value for key, value in state.items() if not str(key).endswith("num_batches_tracked")}
        return Checkpoint(state, extra=extra, author="pycls", matching_heuristics=True)
    author, heuristics = str(extra.get("__author__") or ""), extra.get(HEURISTICS) is True
    versions = getattr(state, "versions", {})
    return Checkpoint(state, extra=extra, author=author, matching_heuristics=heuristics, versions=versions)


def _holds_states(value: Any) -> bool:
    """Tell whether a dict is none of weights, but has some in it."""
    return isinstance(value, Mapping) and any(map(_only_arrays, value.values()))


def _only_arrays(value: Any) -> bool:
    arrays = (Tensor, np.ndarray)
    return isinstance(value, Mapping) and len(value) > 0 and all(isinstance(one, arrays) for one in value.values())


def from_caffe2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a Caffe2 or Detectron1 model by short names, which `by_suffix` completes.

    The background's row of the class scores moves from the first place to the last. Box deltas and masks lose the
    background's rows, unless they have no others. RetinaNet's heads keep names that no model has.

    Raises:
        CheckpointError: two names become the same.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.replace("_", ".")
        for pattern, replacement in _CAFFE2.items():
            name = re.sub(pattern, replacement, name)
        if name in renamed:
            raise CheckpointError(f"two of its Caffe2 names mean {name}: one of them is {key}")
        renamed[name] = _background_last(name, value)
    return renamed


def _background_last(name: str, value: Tensor) -> Tensor:
    """Give a weight, whose first rows belong to the background, the rows that Detectron2's has."""
    name = name.removeprefix("roi_heads.").removeprefix("box_predictor.")
    if name.startswith("cls_score."):
        return value.roll(-1, dims=0)
    rows = next((rows for start, rows in _BACKGROUND_ROWS.items() if name.startswith(start)), 0)
    return value[rows:] if rows and len(value) > rows else value


def by_suffix(state: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace short names by the model's names that end with them, in whole parts between dots.

    Where several short names are the end of one of the model's names, the longest gets it. A weight of another shape
    gets the name too, so that the report tells of it. A name that is the end of none stays.

    Raises:
        CheckpointError: a short name is the end of two names whose weights have its shape.
    """
    takers: dict[str, list[str]] = {}
    for name in model:
        parts = name.split(".")
        suffixes = (".".join(parts[start:]) for start in range(len(parts)))
        if longest := next((suffix for suffix in suffixes if suffix in state), ""):
            takers.setdefault(longest, []).append(name)
    renamed = {}
    for key, value in state.items():
        names = takers.get(key, [key])
        fitting = [name for name in names if name in model and model[name].shape == value.shape]
        if len(fitting) > 1:
            raise CheckpointError(
                f"{key} in the checkpoint could be {' or '.join(fitting)}: give it the full name and save it again"
            )
        renamed[(fitting or names)[0]] = value
    return renamed


def is_torchvision(state: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict is that of a ResNet-FPN R-CNN of torchvision."""
    return "backbone.body.conv1.weight" in state and "roi_heads.box_predictor.cls_score.weight" in state


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a torchvision model with Detectron2's names, and with background as the last class.

    The models are ``fasterrcnn_resnet50_fpn``, ``maskrcnn_resnet50_fpn``, ``keypointrcnn_resnet50_fpn`` and their
    ``_v2``, with any number of classes. Weights of any other are returned as they are.
    """
    if not is_torchvision(state):
        return dict(state)
    single_conv = not any(key.startswith("rpn.head.conv.1.") for key in state)
    converted = {}
    for key, value in state.items():
        name = _rename(key)
        if single_conv:
            name = name.replace("rpn_head.conv.conv0.", "rpn_head.conv.")
        converted[name] = _background_last(name, value)
    return converted


def _rename(key: str) -> str:
    for pattern, replacement in _TORCHVISION.items():
        match = re.match(pattern, key)
        if match is None:
            continue
        start = match.expand(replacement)
        if "{" in start:
            number = int(match[1])
            start = re.sub(r"\{([+-]\d)\}", lambda step, n=number: str(n + int(step[1])), start)  # type: ignore[misc]
            start = start.replace("{half}", str(number // 2 + 1))
        return start + key[match.end() :]
    return key


def config_of_torchvision(state: Mapping[str, Tensor]) -> tuple[str, list[object]]:
    """Return the zoo's config for a state dict of torchvision, and the keys and values to merge into it as a list.

    A file without batch counters is taken for one of the released detectors, whose frozen norms have no epsilon.

    Raises:
        CheckpointError: when the state dict belongs to none of the models that litepred has.
    """
    if not is_torchvision(state):
        some = ", ".join(list(state)[:3]) or "nothing"
        raise CheckpointError(
            "this is no state dict of torchvision's fasterrcnn_, maskrcnn_ or keypointrcnn_resnet50_fpn (or _v2): "
            f"it has {some} …; expected backbone.body.conv1.weight and so on"
        )
    keypoints = state.get("roi_heads.keypoint_predictor.kps_score_lowres.weight")
    masks = "roi_heads.mask_predictor.mask_fcn_logits.weight" in state
    family = "keypointrcnn" if keypoints is not None else "maskrcnn" if masks else "fasterrcnn"
    second = "_v2" if "roi_heads.box_head.5.weight" in state else ""
    classes = state["roi_heads.box_predictor.cls_score.weight"].shape[0] - 1
    options: list[object] = ["MODEL.ROI_HEADS.NUM_CLASSES", classes]
    if keypoints is not None:
        options += ["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", keypoints.shape[1]]
    if not second and any(key.endswith("bn1.num_batches_tracked") for key in state):
        options += ["MODEL.RESNETS.NORM", "BN"]
    return f"torchvision/{family}_resnet50_fpn{second}", options
