"""Tell what litepred runs on here.

That is the versions of it and of what it stands on, the devices and what
they compute fast, what reads and writes images and videos, the fonts of labels,
and the folders that hold downloads. A line with an exclamation mark is worth
acting on; the status is 1 where there is one.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from .. import __version__
from ..errors import LitepredError
from .arguments import CommandParser, add
from .common import megabytes, opencv_failure, print_json, table

__all__ = ["EPILOG", "add_options", "chosen", "run"]

EPILOG = """\
examples:
  litepred doctor
  litepred doctor --json > here.json
  litepred doctor || echo something is worth acting on"""

_REQUIRED = ("torch", "torchvision", "numpy", "pillow", "opencv-python", "PyYAML", "safetensors", "tqdm")
_EXTRAS = {  # by the name of litepred's own extra
    "coco": ("pycocotools",),
    "lazy": ("omegaconf",),
    "hub": ("huggingface_hub",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "serve": ("fastapi", "uvicorn"),
    "tiff": ("tifffile", "imagecodecs"),
    "heif": ("pillow-heif",),
    "video": ("av",),
    "supervision": ("supervision",),
    "ray": ("ray",),
}
_OTHER_NAMES = {  # of packages that hold the same module
    "opencv-python": ("opencv-python-headless",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
}
_PRECISIONS = ("bfloat16", "float16")


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    add(parser, "--json", "print it as JSON, for programs to read")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    sections = {
        "versions": dict(_versions()),
        "devices": dict(_devices()),
        "codecs": dict(_codecs()),
        "fonts": dict(_fonts()),
        "choices": dict(chosen()),
        "caches": dict(_caches()),
    }
    if arguments.json:
        print_json(sections)
    else:
        for title, rows in sections.items():
            print(title)
            for line in table([(f"  {name:<14}", text) for name, text in rows.items()]):
                print(line)
    return int(any(text.startswith("! ") for rows in sections.values() for text in rows.values()))


def _versions() -> Iterator[tuple[str, str]]:
    from ..data import DECODERS, is_old

    yield "litepred", f"{__version__} in {Path(__file__).parents[1]}"
    yield "Python", f"{platform.python_version()} on {platform.platform()}"
    modules = {name: module for module, (name, _) in DECODERS.items()}
    for name in _REQUIRED:
        found = _installed(name)
        try:
            if found and name in modules and is_old(modules[name]):
                wanted = DECODERS[modules[name]][1]
                found = f"! {found}, which has known holes: take {wanted} or newer (pip install '{name}>={wanted}')"
        except ImportError as error:
            found = f"! {found}, {opencv_failure(error) or error}"
        yield name, found or "! not installed by this name"
    for extra, names in _EXTRAS.items():
        for name in names:
            yield name, _installed(name) or f"not installed: pip install 'litepred[{extra}]'"


def _installed(name: str) -> str:
    for one in (name, *_OTHER_NAMES.get(name, ())):
        try:
            return metadata.version(one)
        except metadata.PackageNotFoundError:
            pass
    return ""


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    from ..choices import has_vnni
    from ..optimize import is_fast

    def paths(device: torch.device) -> str:
        fast = [precision for precision in _PRECISIONS if is_fast(precision, device)]
        return f"fast in float32{''.join(f', {one}' for one in fast)}"

    bits = ", int8 (VNNI)" if has_vnni() else ""
    level = torch.backends.cpu.get_cpu_capability()
    told = f"{os.cpu_count()} cores, torch takes {torch.get_num_threads()}; {level}; {paths(torch.device('cpu'))}{bits}"
    yield "cpu", told
    for i in range(torch.cuda.device_count()):
        device = torch.device("cuda", i)
        facts = torch.cuda.get_device_properties(device)
        yield f"cuda:{i}", f"{facts.name}, {megabytes(facts.total_memory)}; {paths(device)}"
    if torch.backends.mps.is_available():
        yield "mps", paths(torch.device("mps"))


def _codecs() -> Iterator[tuple[str, str]]:
    from PIL import Image, features

    from ..data import IMAGE_FORMATS
    from ..data.video import writes_h264

    Image.init()
    parts = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif", "JPEG": "jpg", "TIFF": "libtiff"}
    known = [name for name in IMAGE_FORMATS if name in Image.OPEN]
    opened = [name for name in known if name not in parts or features.check(parts[name])]
    if _installed("pillow-heif") and "HEIF" not in opened:
        opened.append("HEIF")
    yield "images", ", ".join(opened)
    if missing := [name for name in IMAGE_FORMATS if name not in opened]:
        yield "not here", ", ".join(missing)
    with suppress(ImportError):  # which the versions have told
        import cv2

        backends = [cv2.videoio_registry.getBackendName(one) for one in cv2.videoio_registry.getStreamBackends()]
        yield "videos", ", ".join(backends) or "! none: this build of OpenCV reads no videos"
    part_2 = "MPEG-4 part 2, which browsers do not play: pip install 'litepred[video]' for H.264"
    yield "videos written", "H.264" if writes_h264() else part_2


def _fonts() -> Iterator[tuple[str, str]]:
    from PIL import features

    freetype = features.version("freetype2")
    yield "labels", f"Pillow's own, by FreeType {freetype}" if freetype else "! Pillow's own, in one size: no FreeType"
    yield "Latin, Greek …", "DejaVu Sans, which comes with litepred"
    with suppress(ImportError):  # of OpenCV
        from ..visualizer.paint import system_fonts

        yield "other letters", ", ".join(system_fonts()) or "none of the system's fonts that are known here"


def chosen() -> Iterator[tuple[str, str]]:
    """Yield each layer that was tried in two ways, and which one is taken."""
    from ..choices import choices

    for layer, choice in choices().items():
        if isinstance(choice, bool):
            yield layer, f"{'taken' if choice else 'not taken'}, as was asked for"
        else:
            taken = "taken" if choice.taken else "not taken"
            again = "" if choice.is_settled else "; tried again next time, as other programs took the processor"
            yield layer, f"{taken}: {choice.other_ms:.2f} ms, torch's own way {choice.usual_ms:.2f} ms{again}"


def _caches() -> Iterator[tuple[str, str]]:
    from ..files import cache_folder

    try:
        folder = cache_folder().absolute()
    except LitepredError as error:
        yield "downloads", f"! {error}"
        return
    sizes = []
    for path, _, names in os.walk(folder):  # which passes over what may not be entered
        for name in names:
            with suppress(OSError):  # such as that of a temporary file which is gone by now
                sizes.append(os.path.getsize(os.path.join(path, name)))
    held = f"{len(sizes)} files, {megabytes(sum(sizes))}"
    standing = next(one for one in (folder, *folder.parents) if os.path.exists(one))
    is_written = os.access(standing, os.W_OK | os.X_OK)
    yield "downloads", f"{folder}: {held}" if is_written else f"! {folder}: {held}, cannot be written"
