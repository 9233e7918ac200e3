"""Explain, in config keys, why the names and shapes of a checkpoint's weights differ from a model's."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..files import read_rows

__all__ = [
    "ShapesByName",
    "backbone_differs",
    "explain_misfit",
    "group_keys",
    "infer_class_counts",
    "is_backbone",
    "number_hints",
    "parts_only_in",
    "read_numbers",
]

ShapesByName = Mapping[str, tuple[int, ...]]

_GROUPS_SHOWN = 40
_BLOCKS_OF_RES4 = {2: 18, 6: 50, 23: 101, 36: 152}
_BACKBONE_KEY = re.compile(
    r"(backbone\.|bottom_up\.|(roi_heads\.)?res[2-5]\.|stem\.|s[1-4]\.b\d|linear\.|fc\d*\.|"
    # of transformers
    r"(cls|mask)_token|pos_embed|patch_embed\.|blocks\.|layers\.\d|norm\d?\.|head\.(weight|bias|projection\.)|decoder_)"
)
_TRANSFORMER_KEY = re.compile(r"(?:backbone\.)?(?:bottom_up\.|net\.)?(?=(?:patch_embed|blocks|layers)\.)")
_CLASS_COUNTS = ("NUM_CLASSES", "NUM_KEYPOINTS")


class Part(NamedTuple):
    """An optional part of a model: a pattern of its keys, the setting that adds it, and the one that removes it."""

    keys: re.Pattern[str]
    on: str
    off: str


# A key that belongs to several parts counts for the first.
_PARTS = [Part(re.compile(keys), on, off) for keys, on, off in read_rows(Path(__file__).parent / "model_parts.txt")]


def group_keys(keys: Iterable[str]) -> list[str]:
    """Put names with a common prefix into one line, ``a.fc1.{bias, weight}``; after 40 lines, one counts the rest."""
    groups: dict[str, list[str]] = {}
    for key in sorted(keys):
        prefix, dot, leaf = key.rpartition(".")
        groups.setdefault(prefix + dot, []).append(leaf)
    lines = [
        prefix + (leaves[0] if len(leaves) == 1 else "{" + ", ".join(leaves) + "}") for prefix, leaves in groups.items()
    ]
    if len(lines) > _GROUPS_SHOWN:
        hidden = sum(len(leaves) for leaves in list(groups.values())[_GROUPS_SHOWN:])
        lines[_GROUPS_SHOWN:] = [f"... and {len(lines) - _GROUPS_SHOWN} more groups ({hidden} keys)"]
    return lines


def parts_only_in(keys: Collection[str], other: Collection[str]) -> list[Part]:
    """Return the parts of a model to which some keys belong, but none of the others."""
    found, open_keys = [], list(keys)
    for part in _PARTS:
        belonging = {key for key in open_keys if part.keys.match(key)}
        if belonging and not any(part.keys.match(key) for key in other):
            found.append(part)
            open_keys = [key for key in open_keys if key not in belonging]
    return found


def _rows(shapes: ShapesByName, pattern: str, axis: int = 0) -> int:
    """Return the size along an axis of the first weight whose name matches a pattern, 0 if there is none."""
    found = next((shapes[key] for key in shapes if re.fullmatch(pattern, key)), ())
    return found[axis] if len(found) > axis else 0


def _depth(shapes: Iterable[str]) -> int:
    """Return the depth of a ResNet by the blocks of its fourth stage, 0 where there is none that is known."""
    pattern = r"(?:backbone\.)?(?:bottom_up\.)?res4\.(\d{1,3})\.(.*)"
    keys = [match for key in shapes if (match := re.match(pattern, key))]
    depth = _BLOCKS_OF_RES4.get(1 + max((int(match[1]) for match in keys), default=-1), 0)
    basic_blocks = not any(match[2].startswith("conv3.") for match in keys)
    return 34 if depth == 50 and basic_blocks else depth


def _transformer(shapes: ShapesByName) -> dict[str, Any]:
    """Read the size of a transformer by config key: of its keys those that can be told, and none of other backbones."""
    body = {key[match.end() :]: shape for key, shape in shapes.items() if (match := _TRANSFORMER_KEY.match(key))}

    def size(key: str, axis: int = 0) -> int:
        return (*body.get(key, ()), 0, 0)[axis]

    def count(start: str) -> int:
        return len({key.removeprefix(start).split(".")[0] for key in body if key.startswith(start)})

    channels, depth = size("patch_embed.proj.weight"), count("blocks.")
    places = [size(f"blocks.{i}.attn.rel_pos_h") for i in range(depth)]  # one less than two sides of a window
    of_a_head = size("blocks.0.attn.rel_pos_h", 1)
    heads = channels // of_a_head if of_a_head else None
    found: dict[str, Any] = {"EMBED_DIM": channels, "DEPTH": depth, "NUM_HEADS": heads}
    if "layers.0.blocks.0.attn.qkv.weight" in body:
        section, stages = "SWIN", range(count("layers."))
        tables = [f"layers.{i}.blocks.0.attn.relative_position_bias_table" for i in stages]
        found = {
            "EMBED_DIM": channels,
            "DEPTHS": [count(f"layers.{i}.blocks.") for i in stages],
            "NUM_HEADS": [size(table, 1) for table in tables],
            "WINDOW_SIZE": (math.isqrt(size(tables[0])) + 1) // 2,
        }
    elif "blocks.0.attn.pool_q.weight" in body:
        starts = [i for i in range(depth) if f"blocks.{i}.proj.weight" in body]  # of all stages but the first
        section, found["LAST_BLOCK_INDEXES"] = "MVIT", [i - 1 for i in [*starts, depth]]
    elif "blocks.0.attn.qkv.weight" in body:
        section = "VIT"
        if len({*places}) == 2:
            found["WINDOW_SIZE"] = (min(places) + 1) // 2
            found["WINDOW_BLOCK_INDEXES"] = [i for i, place in enumerate(places) if place == min(places)]
    else:
        return {}
    return {f"MODEL.{section}.{key}": value for key, value in found.items() if value}


def read_numbers(shapes: ShapesByName) -> dict[str, Any]:
    """Read from shapes, by config key, the numbers of classes and keypoints and the size of the backbone.

    Files of Detectron1 have names without ``roi_heads.`` and the like in front.
    """
    boxes = _rows(shapes, r"((roi_heads\.)?box_predictor\.)?(0\.)?cls_score\.weight")
    keypoints = _rows(shapes, r"(roi_heads\.)?keypoint_head\.score_lowres\.weight", axis=1)
    anchors = _rows(shapes, r"head\.bbox_pred\.weight") // 4
    semantic = _rows(shapes, r"sem_seg_head\.(coarse_sem_seg_head\.)?predictor\.weight")
    of_points = 0
    if _rows(shapes, r"roi_heads\.mask_head\.(point_head\.predictor|parameter_head\.prediction)\.weight"):
        of_points = boxes - 1
    elif _rows(shapes, r"sem_seg_head\.point_head\.predictor\.weight"):
        of_points = semantic
    numbers = {
        "MODEL.ROI_HEADS.NUM_CLASSES": boxes - 1,  # one row is the background's
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": semantic,
        "MODEL.POINT_HEAD.NUM_CLASSES": of_points,
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": keypoints,
        "MODEL.RETINANET.NUM_CLASSES": _rows(shapes, r"head\.cls_score\.weight") // anchors if anchors else 0,
        "MODEL.RESNETS.DEPTH": _depth(shapes),
    }
    return {key: number for key, number in numbers.items() if number > 0} | _transformer(shapes)


def infer_class_counts(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read from a state dict, by config key, how many classes and keypoints each of its heads tells apart.

    The names are Detectron2's, or as `from_caffe2` leaves them.
    """
    numbers = read_numbers({key: tuple(value.shape) for key, value in state.items()})
    return {key: number for key, number in numbers.items() if key.endswith(_CLASS_COUNTS)}


def is_backbone(keys: Collection[str]) -> bool:
    """Tell whether names are those of a backbone alone, such as ImageNet weights."""
    return bool(keys) and all(_BACKBONE_KEY.match(key) for key in keys)


def number_hints(checkpoint: ShapesByName, model: ShapesByName) -> dict[str, str]:
    """Say, by config key, which numbers differ."""
    wanted = read_numbers(checkpoint)
    return {
        key: f"{key} is {have} but the checkpoint has {wanted[key]}: set it to {wanted[key]}"
        for key, have in read_numbers(model).items()
        if wanted.get(key, have) != have
    }


def backbone_differs(checkpoint: ShapesByName, model: ShapesByName) -> bool:
    """Tell whether the backbones are of one kind and of two sizes.

    Missing keys alone do not tell that: a checkpoint with more blocks than the model has all keys of the model.
    """
    return any(not key.endswith(_CLASS_COUNTS) for key in number_hints(checkpoint, model))


def explain_misfit(checkpoint: ShapesByName, model: ShapesByName, missing: Collection[str]) -> list[str]:
    """Return what likely happened, in a sentence each, the most telling first; nothing where nothing is recognised.

    The shapes are those in the file and in the model; ``missing`` names what the file lacks.
    """
    heads_missing = any(not _BACKBONE_KEY.match(key) for key in missing)
    if heads_missing and is_backbone(checkpoint):
        return [
            "this checkpoint is a backbone alone, such as ImageNet weights that training starts from, without heads: "
            "set MODEL.WEIGHTS to the checkpoint of a trained model"
        ]
    if any(key.startswith("retnet.") for key in checkpoint):
        return [
            "this checkpoint is a RetinaNet of Detectron1, for whose heads Detectron2 has no names: only its backbone "
            "can be loaded"
        ]
    ends = {name[dot.end() :] for name in missing for dot in re.finditer(r"\.(?=.*\.)", name)} & checkpoint.keys()
    if ends:
        return [
            f"{len(ends)} of the checkpoint's names are the ends of the model's, such as {min(ends)}: load it with "
            "?matching_heuristics=True after its path"
        ]
    if not checkpoint.keys() & model.keys():
        ours, theirs = (", ".join(list(keys)[:3]) or "(none)" for keys in (model, checkpoint))
        return [
            f"this checkpoint is for another architecture: its keys look like {theirs}; this model's look like {ours}"
        ]
    has = [part.on for part in parts_only_in(checkpoint.keys() - model.keys(), model)]
    # Keys of another architecture explain what is missing; settings for the missing parts would only lead astray.
    other_architecture = any("META_ARCHITECTURE" in setting for setting in has)
    lacks = [] if other_architecture else [part.off for part in parts_only_in(missing, checkpoint)]
    return [
        *number_hints(checkpoint, model).values(),
        *(f"the checkpoint has keys that fit {setting}" for setting in has),
        *(f"the checkpoint lacks keys, which fits {setting}" for setting in lacks),
    ]
