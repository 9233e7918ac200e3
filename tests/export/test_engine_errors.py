"""What cannot work with an engine or an exported file is refused at once, in words that say what to do."""

from __future__ import annotations

import gc
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from exported_families import FAMILIES, IMAGES, MORE_FAMILIES, predictor_of
from tiny_models import golden, tiny_cfg

from litepred import CfgNode, CheckpointError, ConfigError, DetectionCheckpointer, ImageError, LitepredError, Predictor
from litepred.checkpoint import read_checkpoint
from litepred.cli import main
from litepred.cli.inputs import predict_files
from litepred.config.node import without_others
from litepred.default_model import default_config
from litepred.errors import WriteError
from litepred.modeling import META_ARCH_REGISTRY, GeneralizedRCNN

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from litepred.export import engine_model, export_onnx, onnx_file  # noqa: E402
from litepred.export.engines import Input  # noqa: E402
from litepred.export.graph import ImageGraph  # noqa: E402
from litepred.export.metadata import header_texts  # noqa: E402


@pytest.fixture(scope="module")
def cfg():
    return tiny_cfg()


@pytest.fixture(scope="module")
def weights(cfg):
    return golden(cfg).state_dict()


@pytest.fixture(scope="module")
def model(tmp_path_factory, cfg):
    """A file in the form of an exported Faster R-CNN, which finds what is darker than black: nothing.

    It uses its image, and its outputs' shapes come from what the image holds, as in a file that was exported: where a
    graph is the same for every image, some versions of OpenVINO drop the input and give the outputs other names.
    """
    make, types = onnx.helper, onnx.TensorProto
    kinds = {"boxes": types.FLOAT, "scores": types.FLOAT, "classes": types.INT64}
    shapes = {"boxes": ["number", 4], "scores": ["number"], "classes": ["number"]}
    constants = {"flat": [-1], "first": [0], "last": [1], "four": [1, 4]}
    graph = make.make_graph(
        [
            make.make_node("Reshape", ["image", "flat"], ["row"]),
            make.make_node("Cast", ["row"], ["pixels"], to=types.FLOAT),
            make.make_node("Less", ["pixels", "black"], ["is_darker"]),
            make.make_node("NonZero", ["is_darker"], ["darker"]),
            make.make_node("Squeeze", ["darker", "first"], ["classes"]),
            make.make_node("Gather", ["pixels", "classes"], ["values"]),
            make.make_node("Unsqueeze", ["values", "last"], ["column"]),
            make.make_node("Expand", ["column", "four"], ["boxes"]),
            make.make_node("Identity", ["values"], ["scores"], "scores"),
        ],
        "nothing",
        [make.make_tensor_value_info("image", types.UINT8, [3, "height", "width"])],
        [make.make_tensor_value_info(name, kind, shapes[name]) for name, kind in kinds.items()],
        [
            onnx.numpy_helper.from_array(np.zeros((), np.float32), "black"),
            *(onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()),
        ],
    )
    proto = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)
    for key, text in header_texts(cfg, ["a", "b", "c"]).items():
        proto.metadata_props.add(key=key, value=text)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def no_export(monkeypatch):
    """Nothing may be exported before the mistake is told."""
    monkeypatch.setattr(onnx_file, "_traced", lambda *_: pytest.fail("the model was exported"))


@pytest.fixture
def without(monkeypatch):
    """Return a function that makes packages as good as not installed."""

    def forget(*names):
        for name in names:
            for loaded in [key for key in sys.modules if key.startswith(f"{name}.")]:
                monkeypatch.delitem(sys.modules, loaded)
            monkeypatch.setitem(sys.modules, name, None)

    return forget


def test_without_mistakes_it_runs(model):
    predictor = Predictor(model)
    assert (predictor.engine, predictor.precision, predictor.cfg.MODEL.WEIGHTS) == (
        "onnxruntime",
        "float32",
        str(model),
    )
    outputs = predictor(np.zeros((40, 50, 3), np.uint8))
    assert len(outputs["instances"]) == 0
    assert predictor.metadata.thing_classes == ["a", "b", "c"]


@pytest.fixture
def fixed(model, tmp_path):
    """A file in the form of one that was exported for images of 800 × 1000 pixels after resizing."""
    proto = onnx.load(model)
    for i, side in enumerate((800, 1000), 1):
        proto.graph.input[0].type.tensor_type.shape.dim[i].dim_value = side
    onnx.save(proto, tmp_path / "fixed.onnx")
    return tmp_path / "fixed.onnx"


def test_a_file_of_a_fixed_size(fixed):
    predictor = Predictor(fixed)
    assert len(predictor(np.zeros((80, 100, 3), np.uint8))["instances"]) == 0
    match = r"800 × 800 pixels .* after resizing, but the model was exported for 800 × 1000 alone: export it without"
    with pytest.raises(ImageError, match=match):
        predictor(np.zeros((80, 80, 3), np.uint8))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_image_that_the_file_does_not_take_is_an_error_of_its_own(fixed, tmp_path, batch_size):
    predictor = Predictor(fixed)
    for i, width in enumerate((100, 80, 100)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((80, width, 3), np.uint8))
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    told = rf"^{re.escape(repr(str(paths[1])))}: the image has 800 × 800 pixels"
    for answers in (
        list(predictor.batch(paths, batch_size, return_errors=True)),
        [answer for *_, answer in predict_files(predictor, paths, str, batch_size)],
    ):
        assert [isinstance(one, ImageError) for one in answers] == [False, True, False]
        assert re.search(told, str(answers[1]))
    answers = predictor.batch(paths, batch_size)
    assert len(next(answers)["instances"]) == 0
    with pytest.raises(ImageError, match=told):
        next(answers)
    with pytest.raises(ImageError, match=told):
        predictor(paths[1])


class TestWeights:
    def test_with_a_file_that_has_its_own(self, model, weights, tmp_path):
        for other in (weights, "model_final.pth", tmp_path, model, {}):
            for path in (model, str(model), str(model).upper()):
                with pytest.raises(ConfigError, match=r"weights came with .*an exported file.*leave weights out, or"):
                    Predictor(path, weights=other)
                with pytest.raises(ConfigError, match="weights came with"):
                    Predictor(path, weights=other, engine="torch")

    def test_an_exported_file_as_weights(self, model, cfg, tmp_path):
        match = r"model\.onnx is an ONNX model: expected the weights .* it goes where the config goes, alone"
        (tmp_path / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
        named = cfg.clone()
        named.MODEL.WEIGHTS = str(model)
        (tmp_path / "named.yaml").write_text(named.dump(), encoding="utf-8")
        for engine in (None, "torch", "onnxruntime", "openvino"):
            for config in (cfg, tmp_path / "config.yaml", None):
                with pytest.raises(CheckpointError, match=match):
                    Predictor(config, weights=model, engine=engine)
            for config in (named, str(tmp_path / "named.yaml")):
                with pytest.raises(CheckpointError, match=match):
                    Predictor(config, engine=engine)
        with pytest.raises(CheckpointError, match=match):
            Predictor.from_torchvision(model)
        with pytest.raises(CheckpointError, match=match):
            read_checkpoint(model)
        with pytest.raises(CheckpointError, match=match):
            DetectionCheckpointer(golden(cfg)).load(str(model))

    def test_files_that_are_not_there(self, cfg, tmp_path):
        with pytest.raises(ConfigError, match=r"there is no file .*none\.onnx"):
            Predictor(tmp_path / "none.onnx")
        with pytest.raises(CheckpointError, match=r"there is no checkpoint file .*none\.onnx"):
            Predictor(cfg, weights=tmp_path / "none.onnx")

    def test_no_weights(self, cfg, no_export):
        with pytest.raises(ConfigError, match=r"MODEL\.WEIGHTS is empty: an engine needs trained weights"):
            Predictor(cfg, engine="onnxruntime")

    def test_on_the_command_line(self, model, tmp_path, capsys):
        page = Path(default_config().MODEL.WEIGHTS).parent / "example_page.png"
        arguments = ["predict", "--config", str(model), "--weights", str(model), "--output", str(tmp_path), str(page)]
        assert main(arguments) != 0
        assert "leave weights out" in capsys.readouterr().err


class TestEngines:
    @pytest.mark.parametrize("engine", ["tensorrt", "", "Torch", "onnx", 3, ["onnxruntime"], b"torch"])
    def test_unknown(self, model, engine):
        for config in (model, None):
            with pytest.raises(ConfigError, match=r"engine is .*: expected one of torch, onnxruntime, openvino"):
                Predictor(config, engine=engine)

    def test_torch_with_an_exported_file(self, model):
        with pytest.raises(ConfigError, match=r"model\.onnx' is an exported file, which torch does not run: leave"):
            Predictor(model, engine="torch")

    @pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
    @pytest.mark.parametrize("option", ["exact", "compile"])
    def test_what_is_for_torch(self, model, cfg, weights, engine, option, no_export):
        for arguments in ({"cfg": model}, {"cfg": cfg, "weights": weights}):
            with pytest.raises(ConfigError, match=rf"engine='{engine}' came with .*{option}=True.*drop one"):
                Predictor(**arguments, engine=engine, **{option: True})
        with pytest.raises(ConfigError, match=rf"engine='onnxruntime' came with .*{option}=True.*drop one"):
            Predictor(model, **{option: True})

    @pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
    def test_the_fastest_precision(self, model, engine):
        pytest.importorskip(engine)
        predictor = Predictor(model, engine=engine, precision="auto")
        assert predictor.precision == predictor.model.engine.precision
        assert predictor.precision in ("float32", "bfloat16", "float16")[: 1 if engine == "onnxruntime" else 3]

    @pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8", "", None])
    def test_precision(self, model, cfg, weights, precision, no_export):
        for arguments in ({"cfg": model}, {"cfg": cfg, "weights": weights, "engine": "onnxruntime"}):
            with pytest.raises(ConfigError, match=r"precision is .*ONNX Runtime computes in the types of its file"):
                Predictor(**arguments, precision=precision)
        if precision in ("int8", "", None):
            for arguments in ({"cfg": model}, {"cfg": cfg, "weights": weights}):
                with pytest.raises(ConfigError, match=r"precision is .*: expected one of float32, bfloat16, float16"):
                    Predictor(**arguments, engine="openvino", precision=precision)

    def test_other_arguments(self, model):
        for changes, match in [
            ({"threads": 0}, "threads is 0: expected 1 or more"),
            ({"device": "nonsense"}, "'nonsense' is not a device"),
            ({"class_names": ["a"]}, "class_names has 1 names"),
        ]:
            with pytest.raises(ConfigError, match=match):
                Predictor(model, **changes)

    @pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
    def test_a_file_that_the_engine_cannot_load(self, model, tmp_path, engine):
        pytest.importorskip(engine)
        proto = onnx.load(model)
        proto.graph.node[0].op_type = "NoSuchOperator"
        onnx.save(proto, tmp_path / "model.onnx")
        with pytest.raises(CheckpointError, match=r"(ONNX Runtime|OpenVINO) cannot load .*model\.onnx.*NoSuchOperator"):
            Predictor(tmp_path / "model.onnx", engine=engine)


def renamed(proto):
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "picture"


def of_floats(proto):
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def of_four_channels(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def with_another_input(proto):
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    proto.graph.input.append(make.make_tensor_value_info("proposals", kind, ["given", 4]))
    proto.graph.node.append(make.make_node("Identity", ["proposals"], ["same"]))
    proto.graph.output.append(make.make_tensor_value_info("same", kind, ["given", 4]))


def without_scores(proto):
    del proto.graph.output[1], proto.graph.node[-1]


def of_masks(proto):
    """The config is that of a model of masks, which the file does not return."""
    for entry in proto.metadata_props:
        entry.value = entry.value.replace("MASK_ON: false", "MASK_ON: true")


def with_more_scores_than_boxes(proto):
    """The score of the first pixel comes, too, which has no box."""
    proto.graph.node[-1].CopyFrom(onnx.helper.make_node("Slice", ["pixels", "first", "last", "first"], ["scores"]))
    proto.graph.output[1].type.tensor_type.shape.dim[0].dim_param = "more"


def that_cannot_be_computed(proto):
    """A square image of one size is needed inside, which nothing outside says."""
    make = onnx.helper
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3, 7, 7]), "size"))
    proto.graph.node.append(make.make_node("Reshape", ["image", "size"], ["reshaped"]))
    proto.graph.output.append(make.make_tensor_value_info("reshaped", onnx.TensorProto.UINT8, [3, 7, 7]))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
class TestAFileThatIsNotOfItsConfigsModel:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (renamed, r"takes 'picture' of uint8 \(3, any, any\), but its config's model takes 'image' of uint8 \(3,"),
            (of_floats, r"takes 'image' of float32 \(3, any, any\), but its config's model takes 'image' of uint8"),
            (of_four_channels, r"takes 'image' of uint8 \(4, any, any\), but .* 'image' of uint8 \(3, any, any\): exp"),
            (with_another_input, r"takes 'image' of .* and 'proposals' of float32 \(any, 4\), but"),
            (without_scores, r"returns boxes, classes, but its config's model also scores: expected a file that"),
            (of_masks, r"returns boxes, scores, classes, but its config's model also masks: expected"),
        ],
    )
    def test_when_it_is_loaded(self, model, tmp_path, engine, change, match):
        pytest.importorskip(engine)
        with pytest.raises(CheckpointError, match=r"model\.onnx " + match):
            Predictor(changed(model, tmp_path, change), engine=engine)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (with_more_scores_than_boxes, r"came with (length 1: expected 0|shape \(\): expected \(N, 4\))"),
            (that_cannot_be_computed, "[Rr]eshape"),
        ],
    )
    def test_when_it_runs(self, model, tmp_path, engine, change, match):
        pytest.importorskip(engine)
        predictor = Predictor(changed(model, tmp_path, change), engine=engine)
        with pytest.raises(LitepredError, match=rf"fails on an image of 800 × 1000 pixels \(.*{match}.*\): expected a"):
            predictor(np.zeros((80, 100, 3), np.uint8))


@pytest.mark.parametrize("family", [*FAMILIES, *MORE_FAMILIES])
def test_every_familys_own_graph_fits(family):
    predictor = predictor_of(family)
    inputs = {"image": Input("uint8", (3, None, None))}
    proposals = None
    if family == "Fast R-CNN with given proposals":
        inputs["proposals"], proposals = Input("float32", (None, 4)), torch.tensor([[4.0, 4, 60, 50]])
    with torch.no_grad():
        outputs = ImageGraph(predictor.model).raw(predictor.prepare(IMAGES[1])["image"], proposals)
    engine_model._check_fit(predictor.model, SimpleNamespace(inputs=inputs, outputs=list(outputs)), "model.onnx")


def changed(model, folder, change):
    proto = onnx.load(model)
    change(proto)
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


def test_memory_that_onnx_runtime_does_not_get(model, monkeypatch):
    predictor = Predictor(model)

    def run(arrays):
        raise Exception("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 123")

    monkeypatch.setattr(predictor.model.engine, "run", run)
    with pytest.raises(MemoryError, match="Failed to allocate memory"):
        predictor(np.zeros((80, 100, 3), np.uint8))


class TestMissingPackages:
    def test_onnx(self, model, cfg, weights, without):
        without("onnx")
        match = r"^reading and writing ONNX files needs the package onnx: pip install 'litepred\[onnx\]'$"
        for arguments in ({"cfg": model}, {"cfg": cfg, "weights": weights, "engine": "onnxruntime"}):
            with pytest.raises(ConfigError, match=match):
                Predictor(**arguments)

    def test_onnxruntime(self, model, cfg, weights, without, no_export):
        without("onnxruntime")
        match = r"^the engine 'onnxruntime' needs the package onnxruntime: pip install 'litepred\[onnx\]'$"
        for arguments in ({"cfg": model}, {"cfg": cfg, "weights": weights, "engine": "onnxruntime"}):
            with pytest.raises(ConfigError, match=match):
                Predictor(**arguments)

    def test_openvino(self, model, cfg, weights, without, no_export):
        without("openvino")
        match = r"^the engine 'openvino' needs the package openvino: pip install 'litepred\[openvino\]'$"
        for arguments in ({"cfg": model}, {"cfg": cfg, "weights": weights}):
            with pytest.raises(ConfigError, match=match):
                Predictor(**arguments, engine="openvino")

    @pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
    def test_writing(self, cfg, weights, tmp_path, without, no_export, name):
        predictor = Predictor(cfg, weights=weights)
        without(name)
        with pytest.raises(ConfigError, match=rf"ONNX files? needs the package {name}: pip install 'litepred"):
            export_onnx(predictor, tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())

    def test_onnxscript_is_not_needed_to_run(self, model, without):
        without("onnxscript")
        assert Predictor(model).engine == "onnxruntime"

    def test_a_package_that_cannot_be_imported(self, model, tmp_path, monkeypatch, without):
        without("onnxruntime")
        (tmp_path / "onnxruntime.py").write_text("raise ImportError('the library of C++ is too old')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "onnxruntime")
        with pytest.raises(ConfigError, match=r"needs onnxruntime \(the library of C\+\+ is too old\): pip install"):
            Predictor(model)

    def test_torch_needs_none_of_them(self, cfg, weights, without):
        without("onnx", "onnxruntime", "onnxscript", "openvino")
        assert Predictor(cfg, weights=weights).engine == "torch"
        assert "build_engine_model" in engine_model.__all__


def test_an_image_of_another_type_than_the_graph_takes(retinanet):
    model = Predictor(retinanet[1]).model
    match = r"image of torch\.float32, and takes uint8 alone: pass the image as uint8, or run the model with torch"
    with pytest.raises(ImageError, match=match):
        model([{"image": torch.zeros(3, 64, 80)}])


@pytest.mark.parametrize("name", ["file", "x" * 300])  # the second is too long, of which Path.exists() makes an error
def test_a_cache_that_cannot_be_written(cfg, weights, tmp_path, monkeypatch, no_export, name):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path / name))
    with pytest.raises(WriteError, match=rf"cannot be kept in .*{name}.exported.*LITEPRED_CACHE"):
        Predictor(cfg, weights=weights, engine="onnxruntime")


class RCNNOfSomebody(GeneralizedRCNN):
    """Not litepred's, though all is inherited."""


@pytest.fixture
def exports(model, tmp_path, monkeypatch):
    """The paths to which models were exported; each got the file that finds nothing."""
    made: list[Path] = []
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path))

    def export(predictor, path):
        assert without_others(predictor.cfg)[1] == []
        made.append(Path(shutil.copy(model, path)))

    monkeypatch.setattr(onnx_file, "export_onnx", export)
    return made


class TestExportedIntoTheCache:
    @pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
    @pytest.mark.parametrize("frozen", [False, True])
    def test_a_frozen_config(self, cfg, weights, exports, engine, frozen):
        pytest.importorskip(engine)
        given = cfg.clone()
        if frozen:
            given.freeze()
        predictor = Predictor(given, weights=weights, engine=engine)
        assert predictor.cfg.is_frozen() == frozen and len(exports) == 1

    @pytest.mark.parametrize("content", [b"", bytes(1000), None])
    def test_what_cannot_be_loaded_is_made_anew(self, cfg, weights, exports, content):
        for _ in range(2):
            Predictor(cfg, weights=weights, engine="onnxruntime")
        assert len(exports) == 1
        exports[0].write_bytes(exports[0].read_bytes()[:-300] if content is None else content)
        for _ in range(2):
            Predictor(cfg, weights=weights, engine="onnxruntime")
        assert len(exports) == 2

    def test_what_cannot_be_made_anew(self, cfg, weights, exports, monkeypatch):
        Predictor(cfg, weights=weights, engine="onnxruntime")
        exports[0].write_bytes(b"")

        def refuse(path):
            raise WriteError(f"cannot write {str(path)!r}: Read-only file system")

        monkeypatch.setattr(engine_model, "check_writable", refuse)
        with pytest.raises(WriteError, match=r"kept in the cache \(.*Read-only file system\): set LITEPRED_CACHE to"):
            Predictor(cfg, weights=weights, engine="onnxruntime")

    def test_parts_of_others(self, cfg, weights, exports, tmp_path, monkeypatch):
        """Their code may be another one by now, which neither config nor weights tell."""
        components = {**META_ARCH_REGISTRY._components, "RCNNOfSomebody": RCNNOfSomebody}
        monkeypatch.setattr(META_ARCH_REGISTRY, "_components", components)
        own = cfg.clone()
        own.MODEL.META_ARCHITECTURE, own.MY_TRAINING = "RCNNOfSomebody", CfgNode({"LR": 0.1})
        match = "the model has RCNNOfSomebody, which .*: it is exported for this process alone"
        for _ in range(2):
            with pytest.warns(UserWarning, match=match):
                predictor = Predictor(own, weights=weights, engine="onnxruntime")
            assert len(predictor(np.zeros((40, 50, 3), np.uint8))["instances"]) == 0
        assert len(set(exports)) == 2
        assert not [path for path in exports if tmp_path in path.parents]
        assert [path.exists() for path in exports] == [False, True]
        del predictor
        gc.collect()
        assert not exports[1].parent.exists()
