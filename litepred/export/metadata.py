"""What an exported file says of its model, in the metadata of ONNX: texts by key, read like any config."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from .. import __version__
from ..checkpoint import Checkpoint
from ..checkpoint.bundle import CONFIG, bundle_texts
from ..config import CfgNode
from ..config.node import without_others
from ..errors import CheckpointError, ConfigError, package
from ..files import check_writable

__all__ = ["EXPORTED_BY", "RESIZING", "check_target", "header_texts", "onnx_module", "read_header", "read_onnx"]

RESIZING = "litepred.resizing"  # a JSON dict, for programs that have no litepred
EXPORTED_BY = "litepred.version"
_DOMAINS = {"", "ai.onnx", "com.microsoft"}  # of ONNX itself, and of ONNX Runtime's own operators
_PROGRAMS = {"EPContext"}  # ONNX Runtime's operator that loads compiled code, perhaps of a file; of no domain
_MOST_TEXT = 10_000_000  # bytes of metadata
_MOST_BYTES = 2**31  # what protobuf holds, and so a file without external data


def check_target(path: str | os.PathLike[str]) -> None:
    """Check, before any work is done, that a file could be written, and opened again by its name.

    Raises:
        ConfigError: its name does not end in .onnx.
        WriteError: it could not be written.
    """
    if not os.fspath(path).endswith(".onnx"):
        raise ConfigError(f"the file is {os.fspath(path)!r}: expected a name that ends in .onnx")
    check_writable(path)


def header_texts(cfg: CfgNode, class_names: Sequence[str] | None) -> dict[str, str]:
    """Return the metadata of a model's file: config, class names, how images are resized, and litepred's version."""
    cfg, _ = without_others(cfg)  # which the file could not be opened with
    cfg.defrost()
    cfg.MODEL.WEIGHTS = ""
    resizing = {"short_edge": cfg.INPUT.MIN_SIZE_TEST, "long_edge_at_most": cfg.INPUT.MAX_SIZE_TEST}
    return {
        **bundle_texts(cfg.dump(), class_names),
        RESIZING: json.dumps({**resizing, "channels": cfg.INPUT.FORMAT, "values": "0 to 255"}),
        EXPORTED_BY: __version__,
    }


def onnx_module() -> Any:
    """Return the package ``onnx``.

    Raises:
        ConfigError: it is not installed.
    """
    return package("onnx", "reading and writing ONNX files", "'litepred[onnx]'", ConfigError)


def read_onnx(path: str | os.PathLike[str]) -> Any:
    """Read an ONNX file that stands alone: no other file is named, and no operators but ONNX's and ONNX Runtime's.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        ConfigError: the package ``onnx`` is missing.
        CheckpointError: the file cannot be read, is damaged, or is not such a file.
    """
    onnx = onnx_module()
    name = os.fspath(path)
    if not os.path.isfile(name):
        kind = "is a folder or a device" if os.path.exists(name) else "does not exist"
        raise CheckpointError(f"{name} {kind}: expected an ONNX file that litepred export made")
    try:
        if os.path.getsize(name) > _MOST_BYTES:
            raise CheckpointError(f"{name} has more than 2 GB, which no ONNX file of one piece has: export it anew")
        model = onnx.load(name, format="protobuf", load_external_data=False)
        if not model.graph.output or not model.opset_import:
            raise CheckpointError(
                f"{name} holds no ONNX model: expected a graph with outputs, as litepred export makes it"
            )
        _check_alone(model, name, onnx)
    except CheckpointError:
        raise
    except Exception as error:  # of protobuf's, whose kinds differ between its versions; texts are decoded when read
        raise CheckpointError(
            f"{name} cannot be read as an ONNX model ({error!s:.200}): expected a whole file of litepred export, copy "
            "it again or export it anew"
        ) from error
    return model


def _check_alone(model: Any, name: str, onnx: Any) -> None:
    """Refuse a model that needs other files, or operators that are not ONNX's."""
    own = {(function.domain, function.name) for function in model.functions}
    for part in _parts(model, onnx.TensorProto):
        if isinstance(part, onnx.TensorProto):
            if part.data_location == onnx.TensorProto.EXTERNAL or part.external_data:
                raise CheckpointError(
                    f"{name} keeps the tensor {part.name!r} in another file, which a model from elsewhere could make "
                    "read any file: expected a file of one piece, as litepred export makes it"
                )
        elif isinstance(part, onnx.NodeProto):
            is_known = part.domain in _DOMAINS or (part.domain, part.op_type) in own
            if part.op_type in _PROGRAMS or not is_known:
                raise CheckpointError(
                    f"{name} needs the operator {part.op_type!r} of {part.domain!r}, which would be code of its own: "
                    "expected ONNX's operators alone, as litepred export writes them"
                )


def _parts(message: Any, leaf: type) -> Iterator[Any]:
    """Yield a protobuf message and all that are in it, wherever they are, but none inside of a ``leaf``."""
    yield message
    if isinstance(message, leaf):
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Sequence) or hasattr(value, "add") else [value]:
                yield from _parts(part, leaf)


def read_header(path: str) -> Checkpoint:
    """Read what an exported file says of its model: a checkpoint with the texts as its header, and without weights.

    Raises:
        ConfigError: the package ``onnx`` is missing.
        CheckpointError: the file is damaged, or no model that litepred exported.
    """
    entries = read_onnx(path).metadata_props
    if sum(entry.ByteSize() for entry in entries) > _MOST_TEXT:
        raise CheckpointError(
            f"{path} has more than {_MOST_TEXT:,} bytes of texts about its model: expected a file that litepred "
            "export made"
        )
    try:
        header = {entry.key: entry.value for entry in entries}
        damaged = [text for pair in header.items() for text in pair if not isinstance(text, str)]
    except UnicodeDecodeError as error:  # of some versions of protobuf; others give bytes
        damaged = [error.object]
    if damaged:
        raise CheckpointError(
            f"{path} has metadata that are no text, such as {damaged[0][:40]!r}: expected a whole file of litepred "
            "export, copy it again or export it anew"
        )
    missing = {CONFIG, EXPORTED_BY} - header.keys()  # the last is the end of a whole file
    if missing:
        raise CheckpointError(
            f"{path} has no {' and no '.join(sorted(missing))} in its metadata, so that its outputs have no meaning: "
            "expected a file that litepred export made, whole"
        )
    return Checkpoint({}, name=str(path), header=header)
