"""Eight bits: what is quantised, what it costs, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from exported_families import IMAGES

from litepred import CheckpointError, ConfigError, ImageError, Predictor, WriteError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from litepred.export import onnx_file, quantize, quantize_onnx  # noqa: E402


def test_it_is_smaller_and_finds_nearly_the_same(retinanet, tmp_path):
    path = Path(shutil.copy(retinanet[1], tmp_path / "float.onnx"))
    beside = tmp_path / "float-inferred.onnx"  # which ONNX Runtime writes and deletes
    beside.write_text("of the user")
    report = quantize_onnx(path, tmp_path / "int8.onnx", IMAGES)
    assert beside.read_text() == "of the user"
    assert (report.images, report.num_bytes) == (3, (tmp_path / "int8.onnx").stat().st_size)
    assert report.num_bytes < 0.7 * path.stat().st_size
    assert report.kept >= 0.5 * report.instances > 0  # of random weights; those of the default model are all kept
    assert 0 < report.moved <= report.moved_most < 5
    assert {name.partition("/")[0] for name in report.in_float} == {"head.cls_score", "head.bbox_pred"}
    quantized = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= quantized
    assert "instances (score 0.5 or more) are kept" in str(report)
    assert len(Predictor(tmp_path / "int8.onnx")(IMAGES[0])["instances"])
    assert {one.name for one in tmp_path.iterdir()} == {"float.onnx", "float-inferred.onnx", "int8.onnx"}


def test_nothing_to_calibrate_on(retinanet, tmp_path):
    with pytest.raises(ConfigError, match="no images to calibrate on"):
        quantize_onnx(retinanet[1], tmp_path / "int8.onnx", [])


@pytest.mark.parametrize(
    ("target", "images", "error", "told"),
    [
        ("int8.onnx", "pages", ImageError, "images got a single str: expected a list of images"),
        ("int8.onnx", Path("pages"), ImageError, r"images got a single \w*Path: expected a list of images"),
        ("int8.onnx", IMAGES[0], ImageError, "images got a single ndarray: expected a list of images"),
        ("int8.bin", IMAGES, ConfigError, r"int8\.bin': expected a name that ends in \.onnx"),
        ("none/int8.onnx", IMAGES, WriteError, "there is no folder"),
    ],
)
def test_refused_before_any_work(target, images, error, told, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "Predictor", lambda *_: pytest.fail("the model is loaded"))
    with pytest.raises(error, match=told):
        quantize_onnx(tmp_path / "model.onnx", tmp_path / target, images)


def test_no_exported_file(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        quantize_onnx(tmp_path / "model.onnx", tmp_path / "int8.onnx", IMAGES)
    assert not (tmp_path / "int8.onnx").exists()


def test_a_broken_image_leaves_nothing_behind(retinanet, tmp_path):
    with pytest.raises(ValueError):
        quantize_onnx(retinanet[1], tmp_path / "int8.onnx", [tmp_path / "missing.png"])
    assert not list(tmp_path.iterdir())


def test_models_that_take_proposals_are_refused(retinanet, tmp_path, monkeypatch):
    original = Predictor.__init__

    def with_proposals(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.cfg.defrost()
        self.cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"

    monkeypatch.setattr(Predictor, "__init__", with_proposals)
    with pytest.raises(ConfigError, match="takes proposals"):
        quantize_onnx(retinanet[1], tmp_path / "int8.onnx", IMAGES)


def test_weights_in_half_are_refused(retinanet, tmp_path):
    model = onnx.load(retinanet[1])
    onnx_file._store_in_half(model, onnx)
    onnx.save(model, tmp_path / "half.onnx")
    with pytest.raises(ConfigError, match=r"half\.onnx' has weights in float16"):
        quantize_onnx(tmp_path / "half.onnx", tmp_path / "int8.onnx", IMAGES)
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize(
    ("machine", "vnni", "seven"),
    [("x86_64", True, False), ("x86_64", False, True), ("AMD64", False, True), ("arm64", False, False)],
)
def test_seven_bits_where_eight_may_overflow(machine, vnni, seven, retinanet, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(quantize, "has_vnni", lambda: vnni)
    monkeypatch.setattr(
        "onnxruntime.quantization.quantize_static", lambda *_, **options: found.append(options["reduce_range"]) or 1 / 0
    )
    with pytest.raises(ConfigError, match="cannot quantise"):
        quantize_onnx(retinanet[1], tmp_path / "int8.onnx", IMAGES)
    assert found == [seven]


def test_nothing_to_compare():
    report = quantize.QuantizationReport("int8.onnx", 3, 0, 0, 0.0, 0.0, (), 1_000_000, 2.0)
    assert str(report).endswith(
        "on 3 images nothing was compared: the model in float finds no instances (score 0.5 or more)"
    )
