"""Configs written before format version 2: their keys are given today's names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .trees import dotted_items, nested

__all__ = ["CURRENT_VERSION", "RENAMED", "upgrade"]

CURRENT_VERSION = 2

RENAMED = dict(line.split() for line in Path(__file__).with_name("renamed.txt").read_text("utf-8").splitlines())
"""Today's name of each key by its old one."""


def upgrade(loaded: dict[str, Any], source: str, meta_architecture: str) -> dict[str, Any]:
    """Return the content of a file, or of an older version a new tree, with today's names of the keys.

    The file may have a few keys only. Without ``VERSION`` it counts as version 1 if it has ``MODEL.WEIGHT`` or
    ``TEST.AUG_ON``, else as version 2. Keys that already carry today's name stay. Messages call the file ``source``.
    ``meta_architecture`` is the model of the config that the file is merged into. It counts where the file names none,
    since version 1 kept the anchors of RetinaNet apart from those of the RPN.

    Raises:
        ConfigError: There is no such ``VERSION``, or a key is there under its old and its new name.
    """
    items = dict(dotted_items(loaded))
    version = items.get("VERSION", 1 if "MODEL.WEIGHT" in items or "TEST.AUG_ON" in items else CURRENT_VERSION)
    if type(version) is not int or not 0 <= version <= CURRENT_VERSION:
        raise ConfigError(f"{source}: config VERSION {version!r} is unknown; litepred reads 0 to {CURRENT_VERSION}")
    if version == CURRENT_VERSION:
        return loaded
    logging.getLogger(__name__).warning("%s: upgrading a config of version %d", source, version)
    is_retinanet = items.get("MODEL.META_ARCHITECTURE", meta_architecture) == "RetinaNet"
    used, unused = ("RETINANET", "RPN") if is_retinanet else ("RPN", "RETINANET")
    anchors = ("SIZES", "ASPECT_RATIOS")
    renamed = RENAMED | {f"MODEL.{used}.ANCHOR_{name}": f"MODEL.ANCHOR_GENERATOR.{name}" for name in anchors}
    unread = ["MODEL.RETINANET.ANCHOR_STRIDES", *(f"MODEL.{unused}.ANCHOR_{name}" for name in anchors)]
    upgraded = []
    for old, value in items.items():
        new = renamed.get(old, old)
        if new != old and new in items:
            raise ConfigError(f"{source}: {old} is the old name of {new}; the file sets both, keep one")
        if old not in unread and (value == {} or not isinstance(value, dict)):
            upgraded.append((new, value))
    return nested([*upgraded, ("VERSION", CURRENT_VERSION)], source)
