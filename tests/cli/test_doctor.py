"""``litepred doctor``, as typed."""

from __future__ import annotations

import json
import os
import sys

import PIL
import pytest

from litepred import __version__, choices
from litepred.cli import doctor, main
from litepred.data import DECODERS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def facts(capsys, status: int = 0) -> dict[str, dict[str, str]]:
    assert main(["doctor", "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_without_a_cache(capsys, cache):
    told = facts(capsys)
    assert told["caches"] == {"downloads": f"{cache}: 0 files, 0.0 MB"}
    assert not cache.exists()
    assert told["versions"]["litepred"].startswith(f"{__version__} in ")
    assert told["versions"]["pillow"] == PIL.__version__
    assert {"JPEG", "PNG", "BMP", "GIF", "PPM"} <= set(told["codecs"]["images"].split(", "))
    assert "fast in float32" in told["devices"]["cpu"]


def test_the_page(capsys, cache):
    (cache / "host").mkdir(parents=True)
    (cache / "host/model.pkl").write_bytes(bytes(1_500_000))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "versions",
        "devices",
        "codecs",
        "fonts",
        "choices",
        "caches",
    ]
    assert f"  downloads       {cache}: 1 files, 1.5 MB" in lines


@pytest.mark.parametrize(
    ("pinned", "measured", "told"),
    [
        ("", {}, {}),
        ("linear=no", {}, {"linear": "not taken, as was asked for"}),
        (
            "",
            {"winograd 8→8": [3.0, 1.0, True, 0], "winograd 8→9": [1.0, 3.0, False, 1]},
            {
                "winograd 8→8": "taken: 1.00 ms, torch's own way 3.00 ms",
                "winograd 8→9": "not taken: 3.00 ms, torch's own way 1.00 ms; "
                "tried again next time, as other programs took the processor",
            },
        ),
    ],
)
def test_what_was_chosen(pinned, measured, told, capsys, cache, monkeypatch):
    monkeypatch.setenv("LITEPRED_CHOICES", pinned)
    if measured:
        (cache / "choices").mkdir(parents=True)
        (cache / "choices" / choices._file_name()).write_text(json.dumps(measured), "utf-8")
    assert facts(capsys)["choices"] == told


def test_what_is_worth_acting_on(capsys, monkeypatch):
    monkeypatch.setattr(PIL, "__version__", "10.1.0")
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    told = facts(capsys, status=1)
    assert told["versions"]["pillow"].startswith("! ")
    assert f"take {DECODERS['PIL'][1]} or newer" in told["versions"]["pillow"]
    assert told["caches"]["downloads"].endswith("cannot be written")


@pytest.mark.parametrize(("name", "text"), [("PyYAML", "! not installed by this name"), ("onnx", "[onnx]")])
def test_what_is_missing(name, text, capsys, monkeypatch):
    installed = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda one: "" if one == name else installed(one))
    assert text in facts(capsys, status=int(text.startswith("!")))["versions"][name]


def test_opencv_without_windows_is_opencv(monkeypatch):
    def version(name: str) -> str:
        if name != "opencv-python-headless":
            raise doctor.metadata.PackageNotFoundError(name)
        return "4.12.0.88"

    monkeypatch.setattr(doctor.metadata, "version", version)
    assert doctor._installed("opencv-python") == "4.12.0.88"
    assert doctor._installed("numpy") == ""


def test_opencv_that_cannot_be_loaded(capsys, monkeypatch, unloadable_opencv):
    monkeypatch.delitem(sys.modules, "litepred.visualizer.paint", raising=False)
    told = facts(capsys, status=1)
    (line,) = [text for rows in told.values() for text in rows.values() if text.startswith("! ")]
    assert "OpenCV cannot be loaded (libGL.so.1: cannot open shared object file)" in line
    assert "libgl1 libglib2.0-0" in line and "opencv-python-headless" in line
    assert told["versions"]["PyYAML"] and told["codecs"]["images"] and "videos" not in told["codecs"]


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"])
def test_onnx_runtime_is_there_by_any_of_its_names(name, monkeypatch):
    def version(asked: str) -> str:
        if asked != name:
            raise doctor.metadata.PackageNotFoundError(asked)
        return "1.27.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    assert (doctor._installed("onnxruntime"), doctor._installed("onnx")) == ("1.27.0", "")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may enter all folders, and Windows has none")
def test_a_cache_that_may_not_be_entered(capsys, cache):
    (cache / "host").mkdir(parents=True)
    for folder in (cache / "host", cache):
        folder.chmod(0)
    try:
        told = facts(capsys, status=1)["caches"]["downloads"]
    finally:
        for folder in (cache, cache / "host"):
            folder.chmod(0o700)
    assert told == f"! {cache}: 0 files, 0.0 MB, cannot be written"


def test_what_goes_away_meanwhile_is_not_counted(capsys, cache, monkeypatch):
    cache.mkdir()
    for name in ("a.pth", "b.tmp"):
        (cache / name).write_bytes(bytes(1_000_000))
    size = os.path.getsize
    monkeypatch.setattr(os.path, "getsize", lambda path: gone(path) if path.endswith(".tmp") else size(path))
    assert facts(capsys)["caches"] == {"downloads": f"{cache}: 1 files, 1.0 MB"}


def gone(path: str) -> int:
    raise FileNotFoundError(path)


def test_no_place_for_a_cache(capsys, monkeypatch):
    monkeypatch.delenv("LITEPRED_CACHE")
    monkeypatch.setenv("LITEPRED_CHOICES", "winograd=yes,linear=yes,bfloat16=yes")
    monkeypatch.setattr("pathlib.Path.expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
    assert facts(capsys, status=1)["caches"]["downloads"].startswith("! there is no folder for downloads (no home): ")
