"""Lazy configs: changed, written, read again, and the ones that come along."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("omegaconf")
import torch
from torch import nn

import litepred.drop_in.lazy
from litepred import ConfigError, model_zoo
from litepred.drop_in.lazy import LazyCall, LazyConfig, get_config, instantiate
from litepred.layers import ShapeSpec
from litepred.modeling import GeneralizedRCNN, build_model

CONFIGS = Path(litepred.drop_in.lazy.__file__).parent / "configs"
NAMES = sorted(path.relative_to(CONFIGS).with_suffix(".py").as_posix() for path in CONFIGS.rglob("*.yaml"))


def test_lazy_call_takes_what_can_be_called():
    assert LazyCall(SimpleNamespace)(a=1) == {"a": 1, "_target_": SimpleNamespace}
    assert LazyCall(ShapeSpec)(channels=1)._target_ == "detectron2.layers.ShapeSpec"
    with pytest.raises(TypeError, match="the target of a LazyCall is 3"):
        LazyCall(3)


def test_load_rel_looks_beside_the_caller():
    with pytest.raises(ConfigError, match=rf"{Path(__file__).parent.name}.nothing\.py does not exist"):
        LazyConfig.load_rel("nothing.py")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("a.b=2", "a.b", 2),
        ("+a.c=[1, x]", "a.c", [1, "x"]),
        ("d.e='3'", "d.e", "3"),
        ("a={b: null}", "a", {"b": None}),
        ("a={b:4,c:{d:no,e:[1,x]},f:'y z'}", "a", {"b": 4, "c": {"d": "no", "e": [1, "x"]}, "f": "y z"}),
        (
            "a={b:http://c:80,3:null,d, e: , 'f:g': }",
            "a",
            {"b": "http://c:80", 3: None, "d": None, "e": None, "f:g": None},
        ),
        ("a={b:#fff, c:d: 1, e:[], f: x:1}", "a", {"b": "#fff", "c:d": 1, "e": [], "f": "x:1"}),
        ("a.b=[{c:1}]", "a.b", [{"c": 1}]),
        ("a.b=x=y", "a.b", "x=y"),
        ("a.b=1e-4", "a.b", 1e-4),
        ("a.b=[-5E+2, .5, inf]", "a.b", [-500.0, 0.5, float("inf")]),
        ("a.b=no", "a.b", "no"),
        ("a.b=True", "a.b", True),
        ("a.b=None", "a.b", "None"),
        ("a.b=NULL", "a.b", None),
        ("a.b=", "a.b", None),
        ("a.b=2026-11-27", "a.b", "2026-11-27"),
        ("a.b=1.5.2", "a.b", "1.5.2"),
        ("a.b=1:30", "a.b", "1:30"),
        ("a.b=010", "a.b", "010"),
        ("a.b=-1_000", "a.b", -1000),
    ],
)
def test_overrides(override, key, value):
    cfg = litepred.drop_in.lazy.config.as_config({"a": {"b": 1}})
    assert LazyConfig.apply_overrides(cfg, [override]) is cfg
    assert litepred.drop_in.lazy.config.OmegaConf.select(cfg, key) == value


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("a.b", ConfigError, "'a.b' is no override: expected key=value"),
        ("~a.b=1", ConfigError, "cannot be deleted"),
        ("a.b=[", ConfigError, "the value of 'a.b=\\[' is not YAML"),
        ("a.b.c=1", KeyError, "a.b.c cannot be set: a.b is 1, which is no config"),
    ],
)
def test_overrides_that_are_none_change_nothing(override, error, message):
    cfg = litepred.drop_in.lazy.config.as_config({"a": {"b": 1}})
    with pytest.raises(error, match=message):
        LazyConfig.apply_overrides(cfg, ["a.b=5", override])
    assert cfg == {"a": {"b": 1}}


def test_saved_and_loaded(tmp_path):
    cfg = LazyCall(nn.Sequential)(
        norm=functools.partial(nn.LayerNorm, eps=1e-6),
        kind=nn.GELU,
        shape=ShapeSpec(channels=3),
        number=1e-6,
        same="${.number}",
        inner=LazyCall(nn.Conv2d)(in_channels=1),
    )
    LazyConfig.save(cfg, tmp_path / "a.yaml")
    again = LazyConfig.load(tmp_path / "a.yaml")
    assert again._target_ == "torch.nn.modules.container.Sequential"
    assert again.inner == {"in_channels": 1, "_target_": "torch.nn.modules.conv.Conv2d"}
    assert (again.norm.func, again.norm.keywords) == (nn.LayerNorm, {"eps": 1e-6})
    assert (again.kind, instantiate(again.shape)) == (nn.GELU, ShapeSpec(channels=3))
    again.number = 2
    assert again.same == 2


def test_what_has_no_name_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be written as YAML: .*lambda.* has no name"):
        LazyConfig.save(LazyCall(SimpleNamespace)(a=lambda: 3), tmp_path / "a.yaml")
    assert not any(tmp_path.iterdir())


def test_as_python():
    cfg = litepred.drop_in.lazy.config.as_config({"b": {"c": [1, "x"]}, "a": LazyCall(nn.ReLU)(inplace={"k": None})})
    lines = LazyConfig.to_py(cfg).replace('"', "'").split()
    assert "".join(lines) == "cfg.a=torch.nn.modules.activation.ReLU(inplace={'k':None})cfg.b.c=[1,'x']"


@pytest.mark.parametrize("name", NAMES)
def test_configs_that_come_along(name):
    cfg = get_config(name)
    if "model" in cfg and "fcos" not in name:
        with torch.device("meta"):
            model = instantiate(cfg.model)
        assert len(model.state_dict()) > 100
    if name.startswith("new_baselines/"):
        assert cfg.train.init_checkpoint.startswith("detectron2://") or cfg.train.init_checkpoint == ""
        expected = build_model_on_meta(name)
        assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == expected
        if "50ep" in name:
            return  # no checkpoint of it was released
        assert get_config(name, trained=True).train.init_checkpoint == model_zoo.get_checkpoint_url(name)


def build_model_on_meta(name):
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in build_model(cfg).state_dict().items()}


def test_other_names_are_those_of_the_zoo():
    assert get_config("COCO-Detection/retinanet_R_50_FPN_3x.yaml").MODEL.META_ARCHITECTURE == "RetinaNet"
    with pytest.raises(ConfigError, match=r"'common/nothing\.py' is not in the model zoo"):
        get_config("common/nothing.py")
    with pytest.raises(ConfigError, match="is no lazy config of the zoo: 'COCO-Detection/rpn_R_50_C4_1x' is the name"):
        get_config("COCO-Detection/rpn_R_50_C4_1x.py")
    assert get_config("COCO-Detection/retinanet_R_50_FPN_1x.py").model.backbone.bottom_up.freeze_at == 2
    assert get_config("common/models/mask_rcnn_fpn.py").model._target_ is GeneralizedRCNN
