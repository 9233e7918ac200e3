"""What a lazy config may name, and what is made of it."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

pytest.importorskip("omegaconf")
from torch import nn

from litepred import ConfigError, modeling
from litepred.data import ResizeShortestEdge
from litepred.drop_in.evaluation import DatasetEvaluator
from litepred.drop_in.lazy import LazyCall, LazyConfig, allow_targets, instantiate
from litepred.drop_in.lazy.targets import Name, find_target, locate, name_of
from litepred.layers import ShapeSpec
from litepred.modeling import ROI_HEADS_REGISTRY, RPN, StandardROIHeads
from litepred.modeling.backbone import ResNet


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("detectron2.modeling.RPN", RPN),
        ("detectron2.modeling.proposal_generator.rpn.RPN", RPN),
        ("litepred.modeling.rpn.RPN", RPN),
        ("detectron2.modeling.ResNet.make_stage", ResNet.make_stage),
        ("detectron2.layers.ShapeSpec", ShapeSpec),
        ("detectron2.data.transforms.ResizeShortestEdge", ResizeShortestEdge),
        ("torch.nn.LayerNorm", nn.LayerNorm),
        ("torch.nn.modules.normalization.LayerNorm", nn.LayerNorm),
        ("torch.nn.functional.gelu", nn.functional.gelu),
    ],
)
def test_components_are_found(path, found):
    assert find_target(path) == found
    if not path.startswith("torch.nn.functional"):
        assert find_target(name_of(found)) == found


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "posix.system",
        "builtins.eval",
        "subprocess.Popen",
        "detectron2.utils.file_io.PathManager.open",
        "detectron2.config.LazyConfig.save",
        "detectron2.engine.DefaultPredictor",
        "detectron2.modeling.RPN.__init__",
        "detectron2.modeling.RPN.forward.__globals__",
        "detectron2.modeling.META_ARCH_REGISTRY.register",
        "litepred.files.os.system",
        "litepred.modeling.build.warnings",
        "litepred.__main__.main",
        "litepred.cli.main",
        "torch.load",
        "torch.hub.load",
        "torch.nn.modules.module.torch.load",
        "torch.nn.DataParallel",
        "torch.nn.functional.torch.load",
        "torch.jit.load",
        "torch.ctypes.cdll./tmp/library",
        "torch.nn.modules.module.torch.ctypes",
        "torch.nn.modules.module.sys",
        "detectron2.layers.Conv2d.compile",
        "detectron2.layers.Conv2d.apply",
        "detectron2.layers.Conv2d.share_memory",
        "detectron2.structures.Boxes.mro",
        "detectron2.utils.registry.Registry.register",
        "detectron2.export.torchscript_patch.detectron2",
        "detectron2.modeling." + "a." * 400 + "b",
        "nn",
        "",
    ],
)
def test_nothing_else_is_reached(path):
    assert find_target(path) is None
    with pytest.raises(ConfigError, match=r"may not call|does not have"):
        instantiate({"_target_": path})


def test_what_is_no_call_comes_back():
    for value in (5, "x", None, {"a": 1}):
        assert instantiate(value) == value


def test_calls_are_made_from_the_inside():
    shapes = [LazyCall(ShapeSpec)(channels=1), 2]
    made = instantiate(LazyCall(SimpleNamespace)(a=shapes, b=LazyCall(nn.Identity)(), c={"d": "${..a}"}))
    assert made.a == [ShapeSpec(channels=1), 2]
    assert isinstance(made.b, nn.Identity)
    assert instantiate(LazyCall(SimpleNamespace)(a=(LazyCall(ShapeSpec)(channels=1), 2))).a[0] == ShapeSpec(channels=1)
    assert instantiate((Name("torch.nn.GELU"), Name("os.system"))) == (nn.GELU, Name("os.system"))
    target_that_is_made = LazyCall(LazyCall)(target=SimpleNamespace)
    assert instantiate(LazyCall(target_that_is_made)(e=1)) == {"e": 1, "_target_": SimpleNamespace}


def test_a_call_that_fails_says_which():
    with pytest.raises(TypeError) as caught:
        instantiate(LazyCall(nn.Identity.forward)(nothing=1))
    if hasattr(caught.value, "__notes__"):
        assert "a lazy config called torch.nn.modules.linear.Identity.forward with nothing" in caught.value.__notes__[0]


def test_objects_of_our_own_are_not_called():
    """A mapper that is made by a config would read the files that the config names."""
    mapper = {"_target_": "detectron2.data.DatasetMapper", "augmentations": [], "image_format": "RGB"}
    assert instantiate(mapper).image_format == "RGB"
    with pytest.raises(ConfigError, match="the _target_ of a config is a DatasetMapper"):
        instantiate({"_target_": mapper, "dataset_dict": {"file_name": "picture.png"}})


@pytest.mark.parametrize(
    "path",
    [
        *(
            f"detectron2.evaluation.{kind}Evaluator"
            for kind in ("COCO", "COCOPanoptic", "LVIS", "RotatedCOCO", "SemSeg")
        ),
        "detectron2.evaluation.coco_evaluation.COCOEvaluator",
        "detectron2.evaluation.lvis_evaluation.LVISEvaluator",
        "detectron2.evaluation.panoptic_evaluation.COCOPanopticEvaluator",
        "detectron2.evaluation.sem_seg_evaluation.SemSegEvaluator",
    ],
)
def test_evaluators_are_built(path):
    assert issubclass(locate(path), DatasetEvaluator)


def test_what_is_not_found_is_an_import_error_as_in_detectron2():
    with pytest.raises(ImportError, match="a config names nowhere"):
        locate("nowhere")


def test_a_target_must_be_callable():
    with pytest.raises(ConfigError, match="the _target_ of a config is a int"):
        instantiate({"_target_": 3})


def test_reasons_come_from_the_drop_in():
    with pytest.raises(ConfigError, match=r"MMDetDetector, which litepred does not have: it belongs to a kind of"):
        instantiate({"_target_": "detectron2.modeling.mmdet_wrapper.MMDetDetector"})


class Mine:
    """A class of a program, which it uses in a call itself."""


def test_what_the_program_used_or_registered_is_found(monkeypatch, tmp_path):
    path = f"{Mine.__module__}.Mine"
    assert find_target(path) is None
    LazyConfig.save(LazyCall(Mine)(), tmp_path / "a.yaml")
    assert isinstance(instantiate(LazyConfig.load(tmp_path / "a.yaml")), Mine)

    heads = type("MyLazyHeads", (StandardROIHeads,), {"__module__": "my_project.modeling.heads"})
    monkeypatch.setitem(ROI_HEADS_REGISTRY._components, "MyLazyHeads", heads)
    assert find_target("my_project.MyLazyHeads") is heads
    assert find_target("other_project.MyLazyHeads") is None
    assert modeling.ROI_HEADS_REGISTRY is ROI_HEADS_REGISTRY


def test_packages_can_be_allowed(monkeypatch):
    monkeypatch.setattr("litepred.drop_in.lazy.targets._PACKAGES", set())
    assert find_target("os.path.join") is None
    allow_targets("os.path")
    assert find_target("os.path.join") is os.path.join
    assert find_target("os.system") is None
    assert find_target("os.path.nothing") is None
