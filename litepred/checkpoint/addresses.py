"""Spell out the short addresses that Detectron2's configs use for weights."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

from ..errors import CheckpointError
from ..files import read_rows

__all__ = ["resolve_url"]

_DETECTRON1 = "https://dl.fbaipublicfiles.com/detectron/"
_PREFIXES = {"detectron2": "https://dl.fbaipublicfiles.com/detectron2/", "http": "http://", "https": "https://"}

_CATALOG = dict(read_rows(Path(__file__).parent / "catalog.txt"))  # by name, the end of the address


def resolve_url(url: str) -> str:
    """Turn an address as configs give it into one of http or https.

    Args:
        url: ``https://…``, ``http://…``, ``detectron2://…`` (Detectron2's released files),
            ``catalog://ImageNetPretrained/…`` or ``catalog://Caffe2Detectron/COCO/…``.

    Raises:
        CheckpointError: when the address starts in another way, or the catalog has no such entry.
    """
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "catalog":
        if rest not in _CATALOG:
            raise CheckpointError(f"{url} is not known: expected catalog:// and one of {', '.join(_CATALOG)}")
        return _DETECTRON1 + _CATALOG[rest]
    if scheme.lower() not in _PREFIXES or not rest:
        raise CheckpointError(
            f"{url!r} is no address to download from: expected https://, http://, detectron2:// or catalog://. "
            "A file on this machine is given by its plain path"
        )
    return quote(_PREFIXES[scheme.lower()] + rest, safe=string.punctuation)
