"""Configs written before format version 2: their keys are given today's names."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import ConfigError

__all__ = ["CURRENT_VERSION", "RENAMED", "has_key", "upgrade"]

CURRENT_VERSION = 2

RENAMED = {
    "MODEL.RPN_HEAD.NAME": "MODEL.RPN.HEAD_NAME",
    "MODEL.WEIGHT": "MODEL.WEIGHTS",
    "MODEL.PANOPTIC_FPN.SEMANTIC_LOSS_SCALE": "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
    "MODEL.PANOPTIC_FPN.RPN_LOSS_SCALE": "MODEL.RPN.LOSS_WEIGHT",
    "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_SCALE": "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT",
    "MODEL.PANOPTIC_FPN.COMBINE_ON": "MODEL.PANOPTIC_FPN.COMBINE.ENABLED",
    "MODEL.PANOPTIC_FPN.COMBINE_OVERLAP_THRESHOLD": "MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH",
    "MODEL.PANOPTIC_FPN.COMBINE_STUFF_AREA_LIMIT": "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT",
    "MODEL.PANOPTIC_FPN.COMBINE_INSTANCES_CONFIDENCE_THRESHOLD": (
        "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH"
    ),
    "MODEL.ROI_HEADS.SCORE_THRESH": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
    "MODEL.RETINANET.INFERENCE_SCORE_THRESHOLD": "MODEL.RETINANET.SCORE_THRESH_TEST",
    "MODEL.RETINANET.INFERENCE_TOPK_CANDIDATES": "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
    "MODEL.RETINANET.INFERENCE_NMS_THRESHOLD": "MODEL.RETINANET.NMS_THRESH_TEST",
    "TEST.DETECTIONS_PER_IMG": "TEST.DETECTIONS_PER_IMAGE",
    "TEST.AUG_ON": "TEST.AUG.ENABLED",
    "TEST.AUG_MIN_SIZES": "TEST.AUG.MIN_SIZES",
    "TEST.AUG_MAX_SIZE": "TEST.AUG.MAX_SIZE",
    "TEST.AUG_FLIP": "TEST.AUG.FLIP",
}
"""Today's name of each key by its old one."""


def upgrade(loaded: dict[str, Any], source: str, meta_architecture: str) -> None:
    """Rename, in place, the keys of a config of an older version.

    Args:
        loaded: the content of a file, which may be a few keys only. Without ``VERSION`` it counts as version 1 if it
            has ``MODEL.WEIGHT`` or ``TEST.AUG_ON``, else as version 2. Keys that already carry today's name stay.
        source: what error messages call the file.
        meta_architecture: the model of the config that the file is merged into. It counts where the file names none,
            since version 1 kept the anchors of RetinaNet apart from those of the RPN.

    Raises:
        ConfigError: There is no such ``VERSION``, or a key is there under its old and its new name.
    """
    old_style = has_key(loaded, "MODEL.WEIGHT") or has_key(loaded, "TEST.AUG_ON")
    version = loaded.get("VERSION", 1 if old_style else CURRENT_VERSION)
    if type(version) is not int or not 0 <= version <= CURRENT_VERSION:
        raise ConfigError(f"{source}: config VERSION {version!r} is unknown; litepred reads 0 to {CURRENT_VERSION}")
    if version == CURRENT_VERSION:
        return
    logging.getLogger(__name__).warning("%s: upgrading a config of version %d", source, version)
    for old, new in RENAMED.items():
        _rename(loaded, old, new, source)
    if isinstance(loaded.get("MODEL"), dict):
        meta_architecture = loaded["MODEL"].get("META_ARCHITECTURE", meta_architecture)
    used, unused = ("RETINANET", "RPN") if meta_architecture == "RetinaNet" else ("RPN", "RETINANET")
    for name in ("SIZES", "ASPECT_RATIOS"):
        _rename(loaded, f"MODEL.{used}.ANCHOR_{name}", f"MODEL.ANCHOR_GENERATOR.{name}", source)
        _pop(loaded, f"MODEL.{unused}.ANCHOR_{name}".split("."))
    _pop(loaded, ["MODEL", "RETINANET", "ANCHOR_STRIDES"])
    loaded["VERSION"] = CURRENT_VERSION


def has_key(tree: Any, key: str) -> bool:
    """Tell whether a nested mapping has a dotted key."""
    for name in key.split("."):
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def _pop(tree: dict[str, Any], names: list[str]) -> Any:
    """Remove a key, and the sections that this leaves empty; return its value, ``None`` where the key is absent."""
    if len(names) == 1:
        return tree.pop(names[0], None)
    section = tree.get(names[0])
    if not isinstance(section, dict) or not section:
        return None
    value = _pop(section, names[1:])
    if not section:
        del tree[names[0]]
    return value


def _rename(tree: dict[str, Any], old: str, new: str, source: str) -> None:
    if not has_key(tree, old):
        return
    if has_key(tree, new):
        raise ConfigError(f"{source}: {old} is the old name of {new}; the file sets both, keep one")
    section = tree
    value = _pop(tree, old.split("."))
    *sections, leaf = new.split(".")
    for name in sections:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{source}: {name} is a section of the config, got {section!r}")
    section[leaf] = value
