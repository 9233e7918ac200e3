"""What an exported file says of its model, in the metadata of ONNX: texts by key, read like any config."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from .. import __version__
from ..checkpoint import Checkpoint
from ..checkpoint.bundle import CONFIG, bundle_texts
from ..config import CfgNode
from ..errors import CheckpointError, ConfigError

__all__ = ["EXPORTED_BY", "RESIZING", "header_texts", "onnx_module", "read_header", "read_onnx"]

RESIZING = "litepred.resizing"  # a JSON dict, for programs that have no litepred
EXPORTED_BY = "litepred.version"
_DOMAINS = {"", "ai.onnx", "com.microsoft"}  # of ONNX itself, and of ONNX Runtime's own operators
_MOST_BYTES = 2**31  # what protobuf holds, and so a file without external data


def header_texts(cfg: CfgNode, class_names: Sequence[str] | None) -> dict[str, str]:
    """Return the metadata of a model's file: config, class names, how images are resized, and litepred's version."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = ""
    resizing = {"short_edge": cfg.INPUT.MIN_SIZE_TEST, "long_edge_at_most": cfg.INPUT.MAX_SIZE_TEST}
    return {
        **bundle_texts(cfg.dump(), class_names),
        RESIZING: json.dumps({**resizing, "channels": cfg.INPUT.FORMAT, "values": "0 to 255"}),
        EXPORTED_BY: __version__,
    }


def onnx_module():  # type: ignore[no-untyped-def]
    """Return the package ``onnx``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(
            f"reading and writing ONNX files needs the package {error.name}: pip install 'litepred[onnx]'"
        ) from error
    return onnx


def read_onnx(path: str | os.PathLike[str]):  # type: ignore[no-untyped-def]
    """Read an ONNX file that stands alone: it may name no other file, and no operators but ONNX's own.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or is not such a file.
    """
    onnx = onnx_module()
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise CheckpointError(f"{path} has more than 2 GB, which no ONNX file of one piece has: export it anew")
        model = onnx.load(path, load_external_data=False)
    except CheckpointError:
        raise
    except Exception as error:  # of protobuf's, whose kinds differ between its versions
        raise CheckpointError(f"{path} cannot be read as an ONNX model ({error}): export it anew") from error
    if not model.graph.output or not model.opset_import:
        raise CheckpointError(f"{path} holds no ONNX model: expected a graph with outputs, as litepred export makes it")
    for graph in _graphs(model.graph):
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                raise CheckpointError(
                    f"{path} keeps the tensor {tensor.name!r} in another file, which a model from elsewhere could make "
                    "read any file: expected a file of one piece, as litepred export makes it"
                )
    nodes = [node for graph in (*_graphs(model.graph), *model.functions) for node in graph.node]
    foreign = {node.domain for node in nodes} - {function.domain for function in model.functions} - _DOMAINS
    if foreign:
        raise CheckpointError(
            f"{path} needs operators of {', '.join(sorted(foreign))}, which would be code of their own: expected "
            "ONNX's operators alone"
        )
    return model


def _graphs(graph):  # type: ignore[no-untyped-def]
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _tensors(graph):  # type: ignore[no-untyped-def]
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors


def read_header(path: str) -> Checkpoint:
    """Read what an exported file says of its model: a checkpoint with the texts as its header, and without weights.

    Raises:
        CheckpointError: the file is damaged, or no model that litepred exported.
    """
    header: Mapping[str, str] = {entry.key: entry.value for entry in read_onnx(path).metadata_props}
    if CONFIG not in header:
        raise CheckpointError(
            f"{path} says nothing of its config, so that its outputs have no meaning: expected a file that litepred "
            "export made"
        )
    return Checkpoint({}, name=str(path), header=dict(header))
