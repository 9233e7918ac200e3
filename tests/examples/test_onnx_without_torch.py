"""The example that runs an exported model without torch: beside `Predictor` on the same file, and on its own.

Most tests take a stand-in for a model, made by hand in milliseconds, whose answers follow from the pixels it gets.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from golden_answers import ASSETS
from PIL import Image
from tiny_models import tiny_cfg

from litepred import Predictor
from litepred.data import ResizeShortestEdge

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "onnx_without_torch.py"
ANNOTATED = ASSETS / "annotated"
# Runs the example as a program in which none of these can be imported.
WITHOUT = "import runpy, sys; sys.modules.update(dict.fromkeys({names!r})); sys.argv = sys.argv[1:]; "
WITHOUT += "runpy.run_path(sys.argv[0], run_name='__main__')"


def run(*arguments: object, without: tuple[str, ...] = ("torch", "torchvision", "cv2", "litepred")) -> Any:
    command = [sys.executable, "-c", WITHOUT.format(names=without), str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def stand_in(path: Path, resizing: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write an ONNX file whose first box and whose scores follow from the means of the image's channels."""
    onnx = pytest.importorskip("onnx")
    from litepred.export.metadata import RESIZING, header_texts

    make, types = onnx.helper, onnx.TensorProto
    generator = np.random.default_rng(0)
    constants = {
        "some": np.array(
            [
                [8, 6, 20, 30],
                [-9.5, 12.25, 33.5, 70.75],  # leaves the image at the left
                [40.2, -20, 500, 40.9],  # at the top and right
                [-50, -50, -10, -10],  # outside: dropped
                [30, 30, 30, 44],  # empty: dropped
                [np.nan, 3, 20, 20],  # not a number: dropped
                [10.5, 10.5, 10.9, 11.2],  # smaller than a pixel
                [0, 0, 60, 50],
            ],
            np.float32,
        ),
        "base": np.array([0.7, 0.6, 0.5, 0.9, 0.9, 0.9, 0.45, 0.1], np.float32),
        "numbers": np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int64),
        "probabilities": generator.random((8, 14, 14), dtype=np.float32),
        "zeros": np.zeros((8, 4), np.float32),
        "part": np.array([0.0001, 0.0002, 0.0004], np.float32),
        "pick": np.array([[0, 0, 0.03, 0], [0, 0, 0, 0.04], [0, 0, 0.05, 0.06]], np.float32),
    }
    nodes = [
        make.make_node("Cast", ["image"], ["pixels"], to=types.FLOAT),
        make.make_node("ReduceMean", ["pixels", "sides"], ["means"], keepdims=0),
        make.make_node("MatMul", ["means", "pick"], ["moved"]),
        make.make_node("Add", ["some", "moved"], ["boxes"]),
        make.make_node("MatMul", ["means", "part"], ["brightness"]),
        make.make_node("Add", ["base", "brightness"], ["scores"]),
        make.make_node("Identity", ["numbers"], ["classes"]),
        make.make_node("Identity", ["probabilities"], ["masks"]),
    ]
    constants["sides"] = np.array([1, 2], np.int64)
    of = make.make_tensor_value_info
    outputs = [("boxes", types.FLOAT, [8, 4]), ("scores", types.FLOAT, [8]), ("classes", types.INT64, [8])]
    outputs.append(("masks", types.FLOAT, [8, 14, 14]))
    kept = changes.get("outputs", ("boxes", "scores", "classes", "masks"))
    graph = make.make_graph(
        nodes,
        "stand-in",
        [of("image", changes.get("type", types.UINT8), changes.get("shape", [3, "height", "width"]))],
        [of(*one) for one in outputs if one[0] in kept],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)
    cfg = tiny_cfg("fpn", MASK_ON=True)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 90, 130
    cfg.INPUT.FORMAT = changes.get("channels", "BGR")
    texts = header_texts(cfg, ["cat", "dog", "bird"])
    if resizing is not None:
        texts[RESIZING] = json.dumps(resizing)
    for key, text in texts.items():
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, path)
    return path


@pytest.fixture
def example(monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("onnx_without_torch", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def assert_the_same(entries: list[dict], predictor: Predictor, images: list[Path], threshold: float = 0.5) -> int:
    """Hold a file of results against a predictor's answers; returns the number of instances."""
    masks = pytest.importorskip("pycocotools.mask")
    count = 0
    for image_id, path in enumerate(images):
        instances = predictor(path)["instances"]
        instances = instances[instances.scores >= threshold]
        mine = [entry for entry in entries if entry["image_id"] == image_id]
        assert len(mine) == len(instances)
        assert {entry["file_name"] for entry in mine} <= {path.name}
        names = predictor.metadata.thing_classes
        for entry, box, score, category, mask in zip(
            mine,
            instances.pred_boxes.tensor.numpy(),
            instances.scores.tolist(),
            instances.pred_classes.tolist(),
            instances.pred_masks.numpy(),
        ):
            x, y, width, height = entry["bbox"]
            np.testing.assert_allclose([x, y, x + width, y + height], box, atol=0.02)
            assert entry["score"] == pytest.approx(score, abs=5e-4)
            assert (entry["category_id"], entry["category_name"]) == (category, names[category])
            found = masks.decode(entry["segmentation"]).astype(bool)
            assert found.shape == mask.shape
            assert (found & mask).sum() >= 0.999 * (found | mask).sum()
        count += len(mine)
    return count


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Images that are read in different ways: wide, tall, turned by EXIF, of 16 bits, gray, with alpha, very small."""
    generator = np.random.default_rng(1)
    array = generator.integers(0, 255, (120, 200, 3)).astype(np.uint8) // np.array([1, 2, 4], np.uint8)
    image = Image.fromarray(array)
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(tmp_path / "wide.png")
    image.rotate(90, expand=True).save(tmp_path / "tall.jpg")
    image.save(tmp_path / "turned.jpg", exif=turned)
    Image.fromarray((array[:, :, 0].astype(np.uint16) << 8) + 77).save(tmp_path / "deep.png")
    image.convert("L").save(tmp_path / "gray.png")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.resize((3, 2)).save(tmp_path / "tiny.png")
    image.resize((700, 40)).save(tmp_path / "strip.png")
    return sorted(tmp_path.glob("*.*"))


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_without_torch_it_answers_as_predictor(tmp_path, photos, channels):
    pytest.importorskip("onnxruntime")
    model = stand_in(tmp_path / "model.onnx", channels=channels)
    done = run(model, *photos, "--output", tmp_path / "new" / "results.json", "--threshold", "0.4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"written: {tmp_path / 'new' / 'results.json'}"
    entries = json.loads((tmp_path / "new" / "results.json").read_text(encoding="utf-8"))
    assert assert_the_same(entries, Predictor(model), photos, 0.4) >= 3 * len(photos)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]


def test_a_model_without_masks(tmp_path, photos):
    pytest.importorskip("onnxruntime")
    model = stand_in(tmp_path / "model.onnx", outputs=("boxes", "scores", "classes"))
    done = run(model, photos[0], "--output", tmp_path / "results.json", "--threads", 1)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert entries and not any("segmentation" in entry for entry in entries)


def test_help_needs_nothing(tmp_path):
    done = run("--help", without=("torch", "litepred", "onnxruntime"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "--threshold" in done.stdout
    done = run("model.onnx", "page.png", "--output", tmp_path / "results.json", without=("onnxruntime",))
    assert (done.returncode, done.stderr) == (
        2,
        "the package onnxruntime is missing: pip install numpy pillow onnxruntime\n",
    )


class TestErrors:
    @pytest.fixture(autouse=True)
    def need(self):
        pytest.importorskip("onnxruntime")

    def refused(self, model: Path, *images: object, folder: Path) -> str:
        images = images or (ANNOTATED / "page1.png",)
        done = run(model, *images, "--output", folder / "results.json")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert not (folder / "results.json").exists()
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    def test_no_model(self, tmp_path):
        assert "there is no file" in self.refused(tmp_path / "none.onnx", folder=tmp_path)
        assert "there is no file" in self.refused(tmp_path, folder=tmp_path)
        for content in (b"", b"PK\x03\x04 a zip", b"\x80\x02}q\x00."):
            (tmp_path / "model.onnx").write_bytes(content)
            assert "is no ONNX model that ONNX Runtime can load" in self.refused(
                tmp_path / "model.onnx", folder=tmp_path
            )

    @pytest.mark.parametrize("resizing", [{}, [], {"short_edge": "many", "long_edge_at_most": 3, "channels": "BGR"}])
    def test_no_metadata(self, tmp_path, resizing):
        message = self.refused(stand_in(tmp_path / "model.onnx", resizing), folder=tmp_path)
        assert "does not say how its images are resized" in message

    def test_another_kind_of_model(self, tmp_path):
        onnx = pytest.importorskip("onnx")
        model = stand_in(tmp_path / "model.onnx", outputs=("boxes", "scores"))
        assert "takes image and returns boxes, scores: expected a detector" in self.refused(model, folder=tmp_path)
        model = stand_in(tmp_path / "model.onnx", type=onnx.TensorProto.FLOAT)
        assert "torchvision" in self.refused(model, folder=tmp_path)

    def test_images(self, tmp_path):
        page = (ANNOTATED / "page1.png").read_bytes()
        (tmp_path / "text.png").write_text("no picture")
        (tmp_path / "half.png").write_bytes(page[: len(page) // 2])
        Image.new("F", (8, 8)).save(tmp_path / "float.tif")
        bad = [tmp_path / name for name in ("missing.png", "text.png", "half.png", "float.tif")]
        model = stand_in(tmp_path / "model.onnx")
        done = run(model, *bad, ANNOTATED / "page1.png", "--output", tmp_path / "results.json")
        assert done.returncode == 1
        lines = done.stderr.splitlines()
        assert [line.partition(": it cannot be read (")[0] for line in lines] == [f"left out: {str(p)!r}" for p in bad]
        entries = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
        assert {(entry["image_id"], entry["file_name"]) for entry in entries} == {(4, "page1.png")}

    def test_a_model_of_one_size(self, tmp_path):
        model = stand_in(tmp_path / "model.onnx", shape=[3, 64, 64])
        done = run(model, ANNOTATED / "page1.png", "--output", tmp_path / "results.json")
        assert done.returncode == 1
        assert "but the model takes 64 × 64 alone: export it without --size" in done.stderr

    def test_the_results_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        target = tmp_path / "file" / "results.json"
        done = run(stand_in(tmp_path / "model.onnx"), ANNOTATED / "page1.png", "--output", target)
        assert done.returncode == 2
        assert done.stderr.startswith(f"cannot write {str(target)!r}: ")

    def test_the_output_is_a_folder(self, tmp_path):
        done = run(tmp_path / "none.onnx", "none.png", "--output", tmp_path)
        assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
        assert done.stderr == f"--output is the folder {str(tmp_path)!r}: expected the name of a file to write\n"

    def test_nothing_is_left_of_what_cannot_be_written(self, example, tmp_path, monkeypatch, capsys):
        model = stand_in(tmp_path / "model.onnx")
        monkeypatch.setattr("os.replace", Mock(side_effect=PermissionError(13, "in use")))
        typed = [EXAMPLE, model, ANNOTATED / "page1.png", "--output", tmp_path / "new" / "results.json"]
        monkeypatch.setattr(sys, "argv", list(map(str, typed)))
        assert example.main() == 2
        assert capsys.readouterr().err == f"cannot write {str(typed[-1])!r}: in use\n"
        assert not list((tmp_path / "new").iterdir())

    def test_the_model_cannot_be_run_on_an_image(self, example, tmp_path, monkeypatch, capsys):
        model = stand_in(tmp_path / "model.onnx")
        session = Mock(side_effect=[RuntimeError("no memory\nfor it"), *[[np.zeros((0, 4)), *[np.zeros(0)] * 3]]])
        original = example.OnnxModel.__init__

        def failing(self, *arguments):
            original(self, *arguments)
            self.session = Mock(run=session)

        monkeypatch.setattr(example.OnnxModel, "__init__", failing)
        page = ANNOTATED / "page1.png"
        typed = [EXAMPLE, model, page, page, "--output", tmp_path / "results.json"]
        monkeypatch.setattr(sys, "argv", list(map(str, typed)))
        assert example.main() == 1
        assert (
            f"left out: {str(page)!r}: ONNX Runtime cannot run the model on it (no memory for it)"
            in capsys.readouterr().err
        )
        assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == []


def test_sizes_are_litepreds(example):
    generator = np.random.default_rng(0)
    for height, width, short, long in [(1, 1, 1, 1), (5, 3, 0, 9), *generator.integers(1, 3000, (3000, 4)).tolist()]:
        expected = ResizeShortestEdge.get_output_shape(height, width, short, long) if short else (height, width)
        assert example.resized_size(height, width, short, long) == expected


def test_run_lengths_are_cocos(example):
    masks = pytest.importorskip("pycocotools.mask")
    generator = np.random.default_rng(0)
    cases = [np.zeros((4, 3), bool), np.ones((4, 3), bool), np.ones((1, 1), bool), np.eye(3000, dtype=bool)]
    cases += [generator.random((17, 23)) < share for share in np.linspace(0, 1, 50)]
    cases += [np.arange(400 * 300).reshape(400, 300) % number < number // 2 for number in (2, 90, 5000, 70000)]
    for mask in cases:
        expected = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert example.run_lengths(mask) == {"size": expected["size"], "counts": expected["counts"].decode()}


def test_masks_are_pasted_as_in_litepred(example):
    from litepred.layers.paste import paste_masks_in_windows

    generator = np.random.default_rng(0)
    masks = generator.random((60, 28, 28), dtype=np.float32)
    corners = generator.random((60, 2, 2), dtype=np.float32) * np.float32([150, 90])
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    expected = paste_masks_in_windows(torch.from_numpy(masks), torch.from_numpy(boxes), (90, 150)).numpy()
    found = np.stack([example.paste_mask(mask, box, 90, 150) for mask, box in zip(masks, boxes)])
    assert (found != expected).sum() <= 1e-4 * expected.sum()


@pytest.mark.venv
def test_in_an_environment_without_torch(tmp_path, page_predictor):
    pytest.importorskip("onnxscript")
    from litepred.export import export_onnx

    model = tmp_path / "page.onnx"
    export_onnx(page_predictor, model)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "pillow", "onnxruntime"], check=True)
    packages = json.loads(subprocess.check_output([python, "-m", "pip", "list", "--format=json"]))
    assert {"torch", "litepred", "opencv-python"}.isdisjoint({one["name"] for one in packages})
    turned = Image.Exif()
    turned[0x0112] = 8
    with Image.open(ANNOTATED / "page1.png") as page:
        page.convert("RGB").rotate(-90, expand=True).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    images = [*(ANNOTATED / f"page{number}.png" for number in (1, 2, 3, 4)), tmp_path / "turned.jpg"]
    images += [ASSETS / "images" / "coffee.png", ASSETS / "page_layout" / "tugboat_2col_table.png"]
    command = [python, EXAMPLE, model, *images, "--output", tmp_path / "results.json"]
    subprocess.run(command, check=True, env={"PATH": "", "SYSTEMROOT": "C:\\Windows"}, cwd=tmp_path)
    entries = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert assert_the_same(entries, page_predictor, images) > 30
