"""DeepLab's heads and backbone: Detectron2's answers, the config, values that do not go together."""

from __future__ import annotations

import pytest
import torch
from tiny_models import assert_stored_answers, tiny_cfg, tiny_image, tiny_model

from litepred import Predictor
from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import build_model
from litepred.modeling.backbone.deeplab import DeepLabStem
from litepred.modeling.deeplab import DeepLabV3PlusHead

CROP = {"INPUT.CROP.ENABLED": True, "INPUT.CROP.TYPE": "absolute", "INPUT.CROP.SIZE": [32, 48]}
CASES = {
    "deeplab v3": {},
    "deeplab v3 os8": {
        "RESNETS__RES4_DILATION": 2,
        "RESNETS__RES5_DILATION": 4,
        "RESNETS__STEM_TYPE": "basic",
        "RESNETS__RES5_MULTI_GRID": [1, 1, 2],
        "SEM_SEG_HEAD__COMMON_STRIDE": 8,
        "SEM_SEG_HEAD__USE_DEPTHWISE_SEPARABLE_CONV": True,
    },
    "deeplab v3+": {},
    "deeplab v3+ three maps": {
        "RESNETS__OUT_FEATURES": ["res2", "res3", "res5"],
        "SEM_SEG_HEAD__IN_FEATURES": ["res2", "res3", "res5"],
        "SEM_SEG_HEAD__PROJECT_CHANNELS": [4, 6],
        "SEM_SEG_HEAD__USE_DEPTHWISE_SEPARABLE_CONV": True,
    },
}


def with_crop(family, **changes):
    cfg = tiny_cfg(family, **changes)
    cfg.merge_from_list([item for pair in CROP.items() for item in pair])
    return cfg


@pytest.mark.parametrize("name", CASES)
def test_detectron2s_answers(name):
    model = tiny_model("deeplab v3+" if "+" in name else "deeplab v3", **CASES[name])
    assert_stored_answers(model, "deeplab_answers.json", name)


def test_parts_of_the_size_of_a_crop_are_pooled():
    model = build_model(with_crop("deeplab v3"))
    model.load_state_dict(tiny_model("deeplab v3").state_dict())
    assert_stored_answers(model, "deeplab_answers.json", "deeplab v3 crop")
    with pytest.raises(ConfigError, match=r"a map of \(4, 5\) cells: expected multiples of \(2, 3\).*CROP.ENABLED"):
        model([{"image": tiny_image(64, 80)}])


@pytest.mark.parametrize("family", ["deeplab v3", "deeplab v3+"])
def test_a_predictor(family):
    cfg = tiny_cfg(family)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    state = tiny_model(family).state_dict()
    image = tiny_image(60, 90).permute(1, 2, 0).numpy()
    exact, fast = (Predictor(cfg, weights=state, exact=how)(image)["sem_seg"] for how in (True, False))
    assert exact.shape == (4, 60, 90) and exact.argmax(0).unique().numel() > 1
    torch.testing.assert_close(fast, exact, rtol=1e-4, atol=1e-4)
    small = Predictor(tiny_cfg(family, SEM_SEG_HEAD__NUM_CLASSES=7), weights=state, infer_num_classes=True)
    assert small.cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 4


def test_a_config_that_names_the_parts_alone_gets_the_defaults():
    cfg = tiny_cfg("semantic", BACKBONE__NAME="build_resnet_deeplab_backbone", RESNETS__OUT_FEATURES=["res2", "res5"])
    changes = ["MODEL.SEM_SEG_HEAD.NAME", "DeepLabV3PlusHead", "MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res2", "res5"]]
    cfg.merge_from_list(changes)
    model = build_model(cfg)
    assert isinstance(model.backbone.stem, DeepLabStem) and "STEM_TYPE" not in cfg.MODEL.RESNETS
    assert [block.conv2.dilation[0] for block in model.backbone.res5] == [1, 2, 4]
    assert model.sem_seg_head.decoder["res5"]["project_conv"].project.out_channels == 256


def test_a_decoder_without_classes():
    shapes = {"fine": ShapeSpec(channels=2, stride=4), "coarse": ShapeSpec(channels=3, stride=16)}
    head = DeepLabV3PlusHead(
        shapes,
        project_channels=[2],
        aspp_dilations=[1, 2, 3],
        aspp_dropout=0.1,
        decoder_channels=[5, 4],
        common_stride=4,
        norm="",
        train_size=None,
        loss_weight=1.0,
        loss_type="cross_entropy",
        ignore_value=255,
    )
    features = {"fine": torch.ones(0, 2, 8, 8), "coarse": torch.ones(0, 3, 2, 2)}
    assert head.layers(features).shape == (0, 5, 8, 8) and not hasattr(head, "predictor")


def test_a_head_that_derives_from_the_decoder():
    class Head(DeepLabV3PlusHead):  # as that of Panoptic-DeepLab does
        def __init__(self, input_shape, *, num_classes, loss_weight, loss_type, head_channels, **kwargs):
            super().__init__(input_shape, **kwargs)
            assert self.decoder_only and not self.use_depthwise_separable_conv
            self.predictor = torch.nn.Conv2d(8, num_classes, 1)

        def layers(self, features):
            return self.predictor(super().layers(features))

    cfg = tiny_cfg("deeplab v3+")
    shapes = {"res2": ShapeSpec(channels=16, stride=4), "res5": ShapeSpec(channels=128, stride=16)}
    head = Head(**Head.from_config(cfg, shapes), head_channels=8)
    features = {"res2": torch.zeros(1, 16, 8, 8), "res5": torch.zeros(1, 128, 2, 2)}
    assert head(features)[0].shape == (1, 4, 32, 32)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("deeplab v3", {"RESNETS__STEM_TYPE": "new"}, "STEM_TYPE is 'new': expected 'basic' or 'deeplab'"),
        ("deeplab v3", {"RESNETS__RES4_DILATION": 2}, "RES4_DILATION and RES5_DILATION are 2 and 2: expected"),
        (
            "deeplab v3",
            {"RESNETS__RES5_MULTI_GRID": [1, 2]},
            r"RES5_MULTI_GRID \[1, 2\]: expected 50 or more, and three",
        ),
        ("deeplab v3", {"RESNETS__DEPTH": 34}, "DEPTH 34 and RES5_MULTI_GRID .1, 2, 4.: expected 50"),
        ("deeplab v3", {"SEM_SEG_HEAD__IN_FEATURES": ["res4"]}, r"IN_FEATURES is \['res4'\]: expected one or more of"),
        ("deeplab v3+", {"SEM_SEG_HEAD__NAME": "DeepLabV3Head"}, r"\['res2', 'res5'\]: DeepLabV3Head takes one map"),
        ("deeplab v3", {"SEM_SEG_HEAD__CONVS_DIM": 16}, "CONVS_DIM is 16: expected 8, as ASPP_CHANNELS says"),
        ("deeplab v3+", {"SEM_SEG_HEAD__PROJECT_CHANNELS": [1, 2]}, r"got \[1, 2\] as MODEL.SEM_SEG_HEAD.PROJECT_C"),
        ("deeplab v3+", {"SEM_SEG_HEAD__ASPP_DILATIONS": [1, 2]}, "ASPP got 2 dilations: expected 3"),
    ],
)
def test_values_that_do_not_go_together(family, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_cfg(family, **changes))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TYPE", "relative", "INPUT.CROP.TYPE is 'relative': expected 'absolute'"),
        ("SIZE", [30, 48], r"INPUT.CROP.SIZE is \(30, 48\): expected multiples of the map's stride, 16"),
        ("SIZE", [0.5, 0.5], "INPUT.CROP.SIZE is 0.5: expected a whole number"),
    ],
)
def test_crops_that_make_no_sense(key, value, message):
    cfg = with_crop("deeplab v3")
    cfg.INPUT.CROP[key] = value
    with pytest.raises(ConfigError, match=message):
        build_model(cfg)
