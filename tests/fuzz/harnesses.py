"""The doors by which files come into litepred, as functions that a fuzzer can call, with files to start from.

A door either takes a file or raises the error that is meant for it. Nothing else may come of it: no other exception, no
crash, no program, no connection, no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import h11
import torch
from checkpoint import test_fuzz, test_hostile
from config import test_safe_yaml
from drop_in.lazy import test_language
from onnx import TensorProto, helper
from PIL import Image
from process_worker import images, tiny_predictor
from served import png

from litepred.checkpoint import read_checkpoint
from litepred.checkpoint.bundle import CLASS_NAMES, CONFIG, read_class_names
from litepred.config import CfgNode, get_cfg
from litepred.config.safe_yaml import parse_yaml, read_yaml_with_base
from litepred.data.images import read_image
from litepred.drop_in.lazy import LazyConfig
from litepred.errors import CheckpointError, ConfigError, ImageError
from litepred.export.metadata import read_header
from litepred.serve import Limits, create_app

__all__ = ["HARNESSES", "Harness", "attempt"]

# What Python tells of when a program, a connection or a change of the disk begins.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "pty.spawn")
FORBIDDEN += ("socket.connect", "socket.getaddrinfo", "os.remove", "os.rename", "os.mkdir", "os.chmod", "shutil.rmtree")
FORBIDDEN += ("pickle.find_class", "urllib.Request", "webbrowser.open")


class Harness(NamedTuple):
    enter: Callable[[Path], Any]
    errors: type[Exception] | tuple[type[Exception], ...]
    seeds: Callable[[], Iterator[bytes]]
    ending: str = ""
    belongs: Callable[[bytes], bool] = bool  # whether a file is this door's own


def _tensors(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    assert checkpoint.model
    for value in checkpoint.model.values():
        value.to(torch.complex128 if value.is_complex() else torch.float64).sum().item()  # every byte is there


def _checkpoints(group: str, *kinds: str) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        yield from (test_fuzz.FILES[kind] for kind in kinds)
        yield from (data for _, data in test_hostile.GROUPS[group]())

    return seeds


def _pickles() -> Iterator[bytes]:
    yield from _checkpoints("pickle", *(kind for kind in test_fuzz.FILES if "pickle" in kind or kind == "Caffe2"))()
    yield from (pickle.dumps({"model": test_fuzz.ARRAYS, "x": {1, "a", 2.5, None}}, protocol) for protocol in range(6))


def _yaml(path: Path) -> None:
    cfg = get_cfg()
    content = read_yaml_with_base(path)
    assert isinstance(content, dict)
    cfg.merge_from_other_cfg(CfgNode(content))


def _yamls() -> Iterator[bytes]:
    for text in (
        "MODEL: {MASK_ON: true, PIXEL_MEAN: (1.0, 2.0, 3.0)}\nINPUT:\n  FORMAT: RGB",
        "_BASE_: other.yaml\nMODEL: {WEIGHTS: x}\nVERSION: 1",
        *test_safe_yaml.HOSTILE,
    ):
        yield text.encode()
    for bomb in (test_safe_yaml.LAUGHS, test_safe_yaml.MERGES, test_safe_yaml.CHAIN, test_safe_yaml.DEEP):
        yield bomb.encode()
    yield b"MODEL: {ANCHOR_GENERATOR: {SIZES: !!python/object/apply:eval ['[[x, x * 2] for x in [32, 64]]']}}"
    yield b"!!python/object/new:yacs.config.CfgNode {dictitems: {VERSION: 2}, state: {_frozen: false}}"


def _lazy_configs() -> Iterator[bytes]:
    yield test_language.HEAD.encode() + b"model = L(torch.nn.Conv2d)(in_channels=3, out_channels=4, k='${..k}')"
    yield b"from .a import b\nx = dict(a=[1, *range(3)], **dict(c=f'{1.5:.1f}'))\nx['a'] += [2]\ndel x['c']"
    yield b"def f(n, *, m=2):\n    for i in range(n):\n        if i > m:\n            return i\nx = dict(y=f(9))"
    yield from (text.encode("utf-8", "surrogatepass") for text in test_language.HOSTILE.values())


def _images() -> Iterator[bytes]:
    colour = Image.radial_gradient("L").resize((24, 17)).convert("RGB")
    for mode in ("RGB", "L", "1", "P", "RGBA", "CMYK", "I;16", "I", "F", "LA", "YCbCr"):
        with contextlib.suppress(ValueError):
            image = colour.convert(mode)
            for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "EPS", "TGA", "ICO"):
                with contextlib.suppress(OSError, ValueError, KeyError), io.BytesIO() as file:
                    image.save(file, kind)
                    yield file.getvalue()
    for options in ({"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}, {"compression": "jpeg"}):
        with io.BytesIO() as file:
            colour.save(file, "TIFF", save_all=True, append_images=[colour], **options)
            yield file.getvalue()


def _header(path: Path) -> None:
    checkpoint = read_header(str(path))
    get_cfg().merge_from_other_cfg(CfgNode(parse_yaml(checkpoint.header[CONFIG], str(path))))
    read_class_names(checkpoint)


def _onnx_files() -> Iterator[bytes]:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [value], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    ], [weight])  # fmt: skip
    model = helper.make_model(graph)
    yield model.SerializeToString()
    texts = {CONFIG: "VERSION: 2\nMODEL: {WEIGHTS: ''}\n", CLASS_NAMES: '["a", "b"]', "litepred.version": "0.1.0"}
    helper.set_model_props(model, texts)
    yield model.SerializeToString()
    graph.node[0].domain = "elsewhere"
    graph.initializer[0].data_location = TensorProto.EXTERNAL
    graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    yield helper.make_model(graph).SerializeToString()


class RefusedError(Exception):
    """A request was answered by a sentence that says what is wrong with it."""


@functools.cache
def _service() -> Any:
    return create_app(tiny_predictor(mask_format="roi"), Limits(max_bytes=10_000, max_pixels=10_000, timeout=20))


def _request(path: Path) -> None:
    """Let the service answer the bytes that a client sent, as h11 takes them apart for uvicorn."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(path.read_bytes())
    connection.receive_data(b"")
    head, body = None, []
    try:
        while not isinstance(event := connection.next_event(), (h11.EndOfMessage, h11.ConnectionClosed)):
            if event is h11.NEED_DATA:
                break
            if isinstance(event, h11.Request):
                head = event
            else:
                body.append(bytes(event.data))
    except h11.RemoteProtocolError as error:
        raise RefusedError from error  # by uvicorn
    if head is None:
        raise RefusedError
    answer = asyncio.run(_answered(head, [*body, b""]))
    status = answer[0]["status"]
    content = b"".join(message.get("body", b"") for message in answer[1:])
    if status >= 400:
        assert status < 500, (status, content)
        assert json.loads(content)["error"], content
        raise RefusedError


async def _answered(head: h11.Request, body: list[bytes]) -> list[Any]:
    target, _, query = bytes(head.target).partition(b"?")
    address = {"path": unquote(target.decode("ascii")), "raw_path": target, "query_string": query}
    scope = {"type": "http", "http_version": "1.1", "scheme": "http", "method": head.method.decode("ascii"), **address}
    scope |= {"headers": list(head.headers), "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    parts, answer = iter(body), []

    async def receive() -> Any:
        part = next(parts, None)
        if part is None:
            await asyncio.Event().wait()  # the client stays, and hears the answer
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    async def send(message: Any) -> None:
        answer.append(message)

    await _service()(scope, receive, send)
    return answer


def _requests() -> Iterator[bytes]:
    photo = png(images()[0][:8, :8])
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    for target, kind, body in (
        ("/predict", "image/png", photo),
        ("/predict?format=coco&threshold=0&image_id=7", "image/png", photo),
        ("/predict?format=png&threshold=0.5", "image/png", photo),
        ("/predict?mask_format=rle&classes=0,1&threshold=0", "image/png", photo),
        ("/predict?threshold=nan&classes=%00&image_id=1e9", "image/png", photo),
        ("/predict", "multipart/form-data; boundary=b", form),
        ("/predict", "multipart/form-data; boundary=b", form.replace(b"; filename", b"; other")),
        ("/predict", "multipart/form-data", b"--"),
        ("/predict", "image/png", b""),
    ):
        head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        yield head.encode() + body
    chunked = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield chunked + f"{len(photo):x}\r\n".encode() + photo + b"\r\n0\r\n\r\n"
    yield chunked + b"ffffffffffffffff\r\n"
    for line in (b"GET / HTTP/1.1", b"GET /ready HTTP/1.0", b"GET /openapi.json HTTP/1.1", b"DELETE /metrics HTTP/1.1"):
        yield line + b"\r\nHost: a\r\n\r\n"
    yield b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"


HARNESSES = {
    "pickle": Harness(_tensors, CheckpointError, _pickles, belongs=lambda data: data[:2] != b"PK"),
    "zip": Harness(
        _tensors, CheckpointError, _checkpoints("torch", "torch", "torch, compressed"),
        belongs=lambda data: data[:2] == b"PK",
    ),
    "legacy": Harness(
        _tensors, CheckpointError, _checkpoints("legacy", "torch-legacy"),
        belongs=lambda data: data.startswith(test_fuzz.FILES["torch-legacy"][:12]),
    ),
    "safetensors": Harness(
        _tensors, CheckpointError, _checkpoints("safetensors", "safetensors"), belongs=lambda data: data[8:9] == b"{"
    ),
    "yaml": Harness(_yaml, ConfigError, _yamls, ".yaml"),
    "lazy": Harness(LazyConfig.load, ConfigError, _lazy_configs, ".py"),
    "image": Harness(read_image, ImageError, _images),
    "onnx": Harness(_header, (CheckpointError, ConfigError), _onnx_files, ".onnx"),
    "http": Harness(_request, RefusedError, _requests),
}  # fmt: skip

_events: list[tuple[str, tuple[Any, ...]]] = []
_listening = False


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if writes or event in FORBIDDEN:
            _events.append((event, arguments))


def attempt(name: str, data: bytes, folder: Path) -> bool:
    """Bring a file to a door; return whether it was let in.

    Raises:
        Exception: what the door raised and is not the error meant for it.
        RuntimeError: the door did what no file may make it do.
    """
    global _listening
    harness = HARNESSES[name]
    if not harness.belongs(data):
        return False
    path = folder / f"file{harness.ending}"
    path.unlink(missing_ok=True)  # tensors may still lie in the last one
    path.write_bytes(data)
    _listening = True
    try:
        harness.enter(path)
        return True
    except harness.errors:
        return False
    finally:
        _listening = False
        if _events:
            told = str(_events)
            _events.clear()
            raise RuntimeError(f"the file made litepred do this: {told}")


sys.addaudithook(_listen)
