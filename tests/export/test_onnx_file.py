"""Every family as an ONNX file, held against its predictor on images of different sizes and on an empty one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exported_families import IMAGES, MORE_FAMILIES, assert_the_same, check_family, predictor_of
from tiny_models import golden, tiny_cfg

from litepred import CfgNode, ConfigError, ImageError, LitepredError, Predictor, WriteError, extensions, model_zoo
from litepred.layers import Conv2d, WinogradConv2d
from litepred.resolve import resolve_model
from litepred.structures import Boxes, Instances

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from litepred.export import export_onnx, onnx_file  # noqa: E402
from litepred.export.graph import flatten, plain_model, unflatten  # noqa: E402


@pytest.mark.long
def test_panoptic_fpn(tmp_path):
    check_family("Panoptic FPN", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("family", MORE_FAMILIES)
def test_more_families(family, tmp_path):
    check_family(family, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"])
def test_torchvisions_models(name, tmp_path):
    cfg = model_zoo.get_config(f"torchvision/{name}")
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 320, 400
    state = golden(cfg).state_dict()
    for key in state:
        if "objectness_logits" in key:  # which else are so large that rounding decides which sigmoid is larger
            state[key] *= 0.05
    predictor = Predictor(cfg, weights=state)
    export_onnx(predictor, tmp_path / "model.onnx", check=IMAGES[:2])  # an empty image would be all ties
    assert_the_same(Predictor(tmp_path / "model.onnx")(IMAGES[0]), predictor(IMAGES[0]))


def test_what_the_file_says(retinanet):
    _, path = retinanet
    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert set(facts) == {"litepred.config", "litepred.resizing", "litepred.version"}
    assert '"short_edge": 160' in facts["litepred.resizing"]
    assert [one.name for one in model.graph.input] == ["image"]
    assert [one.name for one in model.graph.output] == ["boxes", "scores", "classes"]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def test_the_commands_and_the_other_ways_in(retinanet, tmp_path):
    predictor, path = retinanet
    exported = Predictor(str(path), class_names=["a", "b", "c"])
    assert exported.metadata.thing_classes == ["a", "b", "c"]
    answers = list(exported.batch(IMAGES, batch_size=2))
    for found, image in zip(answers, IMAGES):
        assert_the_same(found, predictor(image))


def test_every_engine(retinanet):
    pytest.importorskip("openvino")
    predictor, path = retinanet
    for image in IMAGES:
        assert_the_same(Predictor(path, engine="openvino", threads=2)(image), predictor(image))


def test_an_engine_for_any_model_exports_it_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path))
    made = []
    original = onnx_file.export_onnx
    monkeypatch.setattr(onnx_file, "export_onnx", lambda *args: made.append(original(*args, check=IMAGES)))
    expected = predictor_of("RetinaNet that finds nothing")(IMAGES[0])
    assert not len(expected["instances"])
    for _ in range(2):
        assert_the_same(predictor_of("RetinaNet that finds nothing", engine="onnxruntime")(IMAGES[0]), expected)
    assert len(made) == 1
    assert [path.suffix for path in (tmp_path / "exported").iterdir()] == [".onnx"]


@pytest.mark.parametrize(("family", "opset"), [("RetinaNet", 18), ("deformable", 19), ("modulated deformable", 19)])
def test_the_version_of_the_operators_by_default(family, opset, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(onnx_file, "_traced", lambda *arguments: found.append(arguments[-1]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_onnx(predictor_of(family), tmp_path / "model.onnx", check=IMAGES[:1])
    assert found == [opset]


def as_in(path, names=("boxes", "scores", "classes")):
    """Make what stands for tracing, which takes its time: it reads the file of a RetinaNet."""

    def traced(graph, *_):
        graph.names = names
        model = onnx.load(path)
        del model.metadata_props[:]
        return model

    return traced


@pytest.mark.parametrize(
    ("family", "changes", "data_set", "number"),
    [
        ("retinanet", {}, "coco_2017_val", 0),
        ("retinanet", {"RETINANET__NUM_CLASSES": 80}, "coco_2017_val", 80),
        ("semantic", {"SEM_SEG_HEAD__NUM_CLASSES": 54}, "coco_2017_val_panoptic_stuffonly", 54),
        ("deeplab v3+", {"SEM_SEG_HEAD__NUM_CLASSES": 19}, "cityscapes_fine_sem_seg_val", 19),
    ],
)
def test_the_names_in_a_file_are_those_that_it_is_opened_with(
    family, changes, data_set, number, retinanet, tmp_path, monkeypatch
):
    monkeypatch.setattr(onnx_file, "_traced", as_in(retinanet[1], names=()))
    monkeypatch.setattr(onnx_file, "_compare", lambda *_: ({}, 0))
    cfg = tiny_cfg(family, **changes)
    cfg.DATASETS.TEST = (data_set,)
    cfg.INPUT.CROP.ENABLED = False
    export_onnx(Predictor(cfg, weights=golden(cfg).state_dict()), tmp_path / "model.onnx", check=IMAGES[:1])
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert facts.get("litepred.class_names", "").count('"') == 2 * number
    assert resolve_model(str(tmp_path / "model.onnx"), None, "cpu", None, False).is_exported


@pytest.mark.parametrize(
    ("short", "most", "size_hw"),
    [(160, 256, (160, 256)), (160, 256, (170, 160)), (160, 256, (90, 256)), (0, 9, (5, 77))],
)
def test_sizes_that_an_image_can_have(short, most, size_hw):
    cfg = tiny_cfg("retinanet")
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = short, most
    predictor = Predictor(cfg, weights=golden(cfg).state_dict())
    assert onnx_file.graph_image(predictor, np.zeros((*size_hw, 3), np.uint8), size_hw).shape == (3, *size_hw)


@pytest.mark.long
def test_of_one_size_and_in_half(retinanet, tmp_path):
    predictor, _ = retinanet
    report = export_onnx(predictor, tmp_path / "small.onnx", size_hw=(160, 192), half=True, check=IMAGES[:1])
    assert report.num_bytes < 0.8 * retinanet[1].stat().st_size
    (image,) = onnx.load(tmp_path / "small.onnx").graph.input
    assert [one.dim_value for one in image.type.tensor_type.shape.dim] == [3, 160, 192]


def own_settings(others):
    """A predictor whose config has keys of its user's, and a part of somebody else that may read them."""
    cfg = tiny_cfg("retinanet")
    cfg.MODEL.RETINANET.MINE = 1
    cfg.MY_TRAINING = CfgNode({"LR": 0.1, "STEPS": [1, 2]})
    cfg.MODEL.SWIN = CfgNode({"MINE": 1})  # which has a section of this name
    with pytest.warns(UserWarning, match=r"a key MODEL\.\w+\.MINE, which nothing reads"):
        predictor = Predictor(cfg, weights=golden(cfg).state_dict())
    if others:
        predictor.model.mine = PartOfSomebody()
    return predictor


class PartOfSomebody(torch.nn.Module):
    """Not litepred's."""


def test_settings_that_nothing_reads_are_not_in_the_file(retinanet, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_traced", as_in(retinanet[1], names=()))
    monkeypatch.setattr(onnx_file, "_compare", lambda *_: ({}, 0))
    predictor = own_settings(others=False)
    export_onnx(predictor, tmp_path / "model.onnx", check=IMAGES[:1])
    cfg = Predictor(tmp_path / "model.onnx").cfg
    assert "MY_TRAINING" in predictor.cfg and "MY_TRAINING" not in cfg
    assert "MINE" not in cfg.MODEL.RETINANET and "MINE" not in cfg.MODEL.SWIN


def test_settings_that_somebodys_part_may_read_have_to_be_announced(tmp_path, monkeypatch):
    match = r"^the config has \S+, which PartOfSomebody may read, .* announce it with litepred\.extensions\.announce"
    monkeypatch.setattr(onnx_file, "_traced", lambda *_: 1 / 0)
    predictor = own_settings(others=True)
    with pytest.raises(ConfigError, match=match):
        export_onnx(predictor, tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_file, "without_others", lambda cfg: (cfg, []))  # as if they were
    with pytest.raises(ZeroDivisionError):
        export_onnx(predictor, tmp_path / "model.onnx", check=IMAGES[:1])


class TestRefused:
    def test_no_images(self, retinanet, tmp_path):
        with pytest.raises(ConfigError, match="check has no images"):
            export_onnx(retinanet[0], tmp_path / "model.onnx", check=[])
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("family", "options", "error", "told"),
        [
            ("RetinaNet", {"opset": 17}, ConfigError, r"is 17: expected 18 to \d+ for this model"),
            ("RetinaNet", {"opset": 99}, ConfigError, r"is 99: expected 18 to \d+ for this model"),
            ("deformable", {"opset": 18}, ConfigError, r"is 18: expected 19 to \d+ for this model"),
            ("RetinaNet", {"size_hw": (64, 64)}, ConfigError, "is resized to 160 × 160, but the file is to take 64 ×"),
            ("RetinaNet", {"size_hw": (320, 160)}, ConfigError, "is resized to 256 × 128"),
            (
                "RetinaNet",
                {"check": [IMAGES[0] / np.float32(1)]},
                ImageError,
                "120 × 150 .* has floats, .* uint8 alone",
            ),
            ("RetinaNet", {"check": "photo.jpg"}, ImageError, "check got a single str: expected a list of images"),
            ("RetinaNet", {"check": IMAGES[0]}, ImageError, "check got a single ndarray: expected a list of images"),
        ],
    )
    def test_before_any_work(self, family, options, error, told, tmp_path, monkeypatch):
        monkeypatch.setattr(onnx_file, "_traced", lambda *_: pytest.fail("it is traced"))
        with pytest.raises(error, match=told):
            export_onnx(predictor_of(family), tmp_path / "model.onnx", **options)

    def test_what_cannot_be_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(onnx_file, "_traced", lambda *_: pytest.fail("it is traced"))
        with pytest.raises(WriteError, match="there is no folder"):
            export_onnx(predictor_of("RetinaNet"), tmp_path / "none" / "model.onnx")

    def test_a_semantic_head_with_a_hook(self, tmp_path):
        predictor = predictor_of("Semantic FPN")
        hook = predictor.model.sem_seg_head.register_forward_hook(lambda *_: None)
        with pytest.raises(ConfigError, match="the semantic head has hooks or another forward"):
            export_onnx(predictor, tmp_path / "model.onnx")
        hook.remove()

    def test_a_class_that_is_switched_off(self):
        logits = torch.tensor([[[[0.5]], [[-torch.inf]]]])
        graph = SimpleNamespace(model=None, raw=lambda image: {"sem_seg": logits})
        graph.model = SimpleNamespace(proposal_generator=graph)
        for found, fits in ((logits, True), (torch.zeros(1, 2, 1, 1), False)):
            engine = SimpleNamespace(run=lambda arrays, found=found: {"sem_seg": found.numpy()})
            with nullcontext() if fits else pytest.raises(LitepredError, match=r"sem_seg differ .* by inf"):
                assert onnx_file._compare(graph, engine, torch.zeros(3, 8, 9), half=True)[0] == {"sem_seg": 0}

    def test_operators_of_another_version_than_was_asked_for(self, retinanet, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)
        program = SimpleNamespace(model_proto=onnx.load(retinanet[1]))
        monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)
        with pytest.raises(ConfigError, match=r"operators of version \[18\], and 20 was asked for"):
            export_onnx(retinanet[0], tmp_path / "model.onnx", opset=20)

    @pytest.mark.parametrize("half", [False, True])
    @pytest.mark.parametrize(
        ("whose", "name", "value"),
        [
            ("predictor", "scores", np.nan),
            ("exported model", "scores", np.nan),
            ("exported model", "boxes", np.nan),
            ("exported model", "boxes", np.inf),
            ("exported model", "masks", np.nan),
        ],
    )
    def test_what_is_no_number(self, half, whose, name, value):
        rows = np.random.default_rng(0).random
        expected = {"boxes": rows((60, 4)), "scores": rows(60), "masks": rows((60, 2, 2))}
        found = {key: one.copy() for key, one in expected.items()}
        answers = {key: torch.from_numpy(one) for key, one in expected.items()}
        graph = SimpleNamespace(model=None, raw=lambda image: answers)
        graph.model = SimpleNamespace(proposal_generator=graph)
        engine = SimpleNamespace(run=lambda arrays: found)
        assert onnx_file._compare(graph, engine, torch.zeros(3, 8, 9), half)[1] == 60
        (expected if whose == "predictor" else found)[name][3] = value  # which answers shares
        with pytest.raises(
            LitepredError, match=f"the {whose}'s {name} have NaN or infinity in them on an image of 8 × 9"
        ):
            onnx_file._compare(graph, engine, torch.zeros(3, 8, 9), half)

    def test_another_kind_of_model(self, retinanet, tmp_path):
        with pytest.raises(ConfigError, match="EngineModel cannot be exported"):
            export_onnx(Predictor(retinanet[1]), tmp_path / "model.onnx")

    @pytest.mark.parametrize("family", ["pointrend", "implicit pointrend", "semantic pointrend"])
    def test_chosen_points(self, family, tmp_path):
        cfg = tiny_cfg(family)
        predictor = Predictor(cfg, weights=golden(cfg).state_dict())
        with pytest.raises(ConfigError, match=r"Head cannot be exported: it chooses points by what it has predicted"):
            export_onnx(predictor, tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())

    def test_rotated_boxes(self, tmp_path):
        cfg = tiny_cfg("rotated")
        with pytest.raises(ConfigError, match="a model of rotated boxes cannot be exported"):
            export_onnx(Predictor(cfg, weights=golden(cfg).state_dict()), tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("square", [0, 64])
    @pytest.mark.parametrize(
        ("section", "builder", "maps", "name"),
        [
            ("SWIN", "build_swin_fpn_backbone", "p0 p1 p2 p3", "SwinTransformer"),
            ("MVIT", "build_mvit_fpn_backbone", "scale2 scale3 scale4 scale5", "MViT"),
            ("VIT", "build_vit_simple_fpn_backbone", "", "ViT"),
        ],
    )
    def test_windows_of_one_size(self, section, builder, maps, name, square, tmp_path):
        keys = {"EMBED_DIM": 12, "SQUARE_PAD": square}
        cfg = tiny_cfg("fpn", **{f"{section}__{key}": value for key, value in keys.items()}, BACKBONE__NAME=builder)
        cfg.MODEL.FPN.IN_FEATURES = maps.split()
        predictor = Predictor(cfg, weights=golden(cfg).state_dict())
        onnx_file._exportable(predictor, False, (64, 96))
        if square:
            onnx_file._exportable(predictor, False, None)
            return
        with pytest.raises(ConfigError, match=rf"^{name} cannot be .* any size: .* or --size HEIGHT WIDTH"):
            export_onnx(predictor, tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())

    def test_what_the_engine_cannot_run_is_not_kept(self, retinanet, tmp_path, monkeypatch):
        def run(engine, inputs):
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL :\n40 by 42")

        monkeypatch.setattr(onnx_file, "_traced", as_in(retinanet[1]))
        monkeypatch.setattr(onnx_file.OnnxRuntime, "run", run)
        told = (
            r"fails on an image of 160 × 200 pixels \(\[ONNXRuntimeError\] : 1 : FAIL : 40 by 42\): nothing was written"
        )
        with pytest.raises(LitepredError, match=told):
            export_onnx(retinanet[0], tmp_path / "model.onnx", check=IMAGES[:1])
        assert not list(tmp_path.iterdir())

    def test_what_differs_is_not_kept(self, retinanet, tmp_path, monkeypatch):
        monkeypatch.setattr(onnx_file, "_traced", as_in(retinanet[1]))
        monkeypatch.setattr(onnx_file, "_TOLERANCES", {"boxes": 0.02, "scores": 1e-30})
        with pytest.raises(LitepredError, match=r"scores differ .* nothing was written|finds .* instances"):
            export_onnx(retinanet[0], tmp_path / "model.onnx", check=IMAGES)
        assert not list(tmp_path.iterdir())

    def test_too_large(self, retinanet, tmp_path, monkeypatch):
        monkeypatch.setattr(onnx_file, "_MOST_BYTES", 500_000)
        with pytest.raises(ConfigError, match=r"GB of weights.*half=True"):
            export_onnx(retinanet[0], tmp_path / "model.onnx", check=IMAGES)

    def test_reduced_precision(self, retinanet, tmp_path):
        predictor = predictor_of("RetinaNet")
        predictor.precision = "bfloat16"
        with pytest.raises(ConfigError, match="computes in bfloat16"):
            export_onnx(predictor, tmp_path / "model.onnx")


def test_names_of_tensors_there_and_back():
    instances = Instances((40, 50), pred_boxes=Boxes([[1, 2, 3, 4]]), scores=torch.ones(1))
    instances.pred_masks = torch.ones(1, 1, 5, 5)
    instances.colour = torch.ones(1, 3)
    named = flatten({"instances": [instances], "sem_seg": torch.ones(1, 2, 3, 4)})
    assert {name: tuple(value.shape) for name, value in named.items()} == {
        "boxes": (1, 4),
        "scores": (1,),
        "masks": (1, 5, 5),
        "colour": (1, 3),
        "sem_seg": (2, 3, 4),
    }
    back = unflatten(named, (40, 50))
    assert back["sem_seg"].shape == (1, 2, 3, 4)
    assert back["instances"][0].get_fields().keys() == instances.get_fields().keys()
    assert unflatten({}, (1, 1)) == {}


def test_winograds_convolution_becomes_a_plain_one_again():
    conv = Conv2d(128, 130, 3, padding=1, activation=torch.relu)
    holder = torch.nn.Sequential(torch.nn.Sequential(WinogradConv2d(conv)), torch.nn.Conv2d(130, 1, 1))
    plain = plain_model(holder)
    x = torch.rand(1, 128, 9, 7)
    torch.testing.assert_close(plain(x), holder(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain[0][0].weight, conv.weight, atol=1e-6, rtol=1e-5)
    assert plain[1].weight is holder[1].weight and type(holder[0][0]) is WinogradConv2d
    assert plain_model(plain) is plain


def test_engines_are_announced():
    assert extensions.engines() == ["onnxruntime", "openvino"]
    assert extensions.model_file_reader("MODEL.ONNX") is not None
    assert extensions.model_file_reader("model.pth") is None


def test_the_operators_are_there_in_a_process_that_has_predicted_nothing():
    """Predicting on the CPU leaves torchvision out, and models without regions its library as well."""
    code = "from litepred.export.operators import translations; print(len(translations()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "3\n"
