"""What a config builds: values that no model can have, devices, and the parts of a model."""

import warnings

import pytest
import torch
from tiny_models import tiny_cfg

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import (
    FPN,
    ROI_HEADS_REGISTRY,
    RPN,
    StandardROIHeads,
    build_backbone,
    build_model,
    build_proposal_generator,
    build_roi_heads,
    resolve_device,
)

NAN = float("nan")
COUNTS = [  # of each the least
    ("c4", "RESNETS__STEM_OUT_CHANNELS", 1),
    ("fpn", "RESNETS__RES2_OUT_CHANNELS", 1),
    ("c4", "RESNETS__RES2_OUT_CHANNELS", 1),
    ("fpn", "RESNETS__NUM_GROUPS", 1),
    ("fpn", "RESNETS__WIDTH_PER_GROUP", 1),
    ("fpn", "FPN__OUT_CHANNELS", 1),
    ("retinanet", "FPN__OUT_CHANNELS", 1),
    ("proposals", "RPN__PRE_NMS_TOPK_TEST", 0),
    ("fpn", "ROI_HEADS__NUM_CLASSES", 1),
    ("cascade", "ROI_HEADS__NUM_CLASSES", 1),
    ("fpn", "ROI_BOX_HEAD__POOLER_RESOLUTION", 1),
    ("c4", "ROI_BOX_HEAD__POOLER_RESOLUTION", 1),
    ("fpn", "ROI_BOX_HEAD__NUM_CONV", 0),
    ("fpn", "ROI_BOX_HEAD__NUM_FC", 0),
    ("fpn", "ROI_BOX_HEAD__FC_DIM", 1),
    ("panoptic", "ROI_MASK_HEAD__POOLER_RESOLUTION", 1),
    ("panoptic", "ROI_MASK_HEAD__NUM_CONV", 0),
    ("retinanet", "RETINANET__NUM_CLASSES", 1),
    ("retinanet", "RETINANET__NUM_CONVS", 0),
    ("retinanet", "RETINANET__TOPK_CANDIDATES_TEST", 0),
    ("semantic", "SEM_SEG_HEAD__NUM_CLASSES", 1),
    ("semantic", "SEM_SEG_HEAD__CONVS_DIM", 1),
    ("panoptic", "SEM_SEG_HEAD__COMMON_STRIDE", 1),
]


def refused(family, key, value, message):
    cfg = tiny_cfg(family, **{key: None if value != value else value})
    if value != value:  # which no file can put in the place of a whole number, but an attribute can
        section, _, name = key.partition("__")
        cfg.MODEL[section][name] = value
    with pytest.raises(ConfigError, match=message):
        build_model(cfg)


@pytest.mark.parametrize("what", ["nothing", "no number", "too small"])
@pytest.mark.parametrize(("family", "key", "least"), COUNTS)
def test_counts_that_no_model_can_have(family, key, least, what):
    value = {"nothing": None, "no number": NAN, "too small": least - 1}[what]
    name = key.split("__")[1]
    refused(family, key, value, rf"{name} is {value}: expected a whole number, {least} or more")


@pytest.mark.parametrize(
    ("family", "key", "value", "message"),
    [
        ("fpn", "PIXEL_STD", [0.0, 1.0, 1.0], "none of the deviations 0"),
        ("fpn", "PIXEL_STD", [NAN] * 3, "expected finite numbers"),
        ("fpn", "PIXEL_MEAN", [float("inf")] * 3, "expected finite numbers"),
        ("fpn", "PIXEL_MEAN", None, "PIXEL_MEAN is None .*expected finite numbers"),
        ("fpn", "PIXEL_MEAN", ["103.53", "116.28", "123.675"], "PIXEL_MEAN is .*expected finite numbers"),
        ("fpn", "PIXEL_MEAN", ["a", "b", "c"], "PIXEL_MEAN is .*expected finite numbers"),
        ("fpn", "PIXEL_STD", [[1.0], [1.0], [1.0]], "PIXEL_STD is .*expected finite numbers"),
        ("fpn", "ROI_HEADS__SCORE_THRESH_TEST", None, "SCORE_THRESH_TEST is None: expected a number"),
        ("fpn", "ROI_HEADS__SCORE_THRESH_TEST", NAN, "SCORE_THRESH_TEST is nan: expected a number"),
        ("fpn", "ROI_HEADS__NMS_THRESH_TEST", None, "NMS_THRESH_TEST is None: expected a number"),
        ("fpn", "RPN__NMS_THRESH", NAN, "NMS_THRESH is nan: expected a number"),
        ("retinanet", "RETINANET__SCORE_THRESH_TEST", None, "SCORE_THRESH_TEST is None: expected a number"),
        ("retinanet", "RETINANET__NMS_THRESH_TEST", NAN, "NMS_THRESH_TEST is nan: expected a number"),
        ("fpn", "ROI_HEADS__IN_FEATURES", None, "IN_FEATURES is None: expected one or more of"),
        ("fpn", "RPN__IN_FEATURES", None, "IN_FEATURES is None: expected one or more of"),
        ("fpn", "RPN__IN_FEATURES", [["p2", "p3"]], r"IN_FEATURES is \[\['p2', 'p3'\]\]: expected one or more of"),
        ("c4", "RESNETS__OUT_FEATURES", [["res4"]], r"OUT_FEATURES is \[\['res4'\]\]: expected one or more of"),
        ("fpn", "FPN__IN_FEATURES", None, "IN_FEATURES is None: expected one or more of"),
        ("c4", "ROI_HEADS__IN_FEATURES", None, "IN_FEATURES None"),
        ("c4", "RESNETS__OUT_FEATURES", None, r"OUT_FEATURES is \[\]: expected one or more of"),
        ("semantic", "SEM_SEG_HEAD__IN_FEATURES", None, "IN_FEATURES names no feature map"),
        ("fpn", "RPN__CONV_DIMS", None, "CONV_DIMS is None: expected a list"),
        ("fpn", "RPN__CONV_DIMS", [0], "CONV_DIMS is 0: expected a whole number, 1 or more"),
        ("fpn", "RPN__HEAD_NAME", None, "HEAD_NAME is None, but nothing of that name"),
        ("fpn", "ROI_BOX_HEAD__POOLER_TYPE", None, "POOLER_TYPE is None: expected one of"),
        ("fpn", "ROI_BOX_HEAD__POOLER_SAMPLING_RATIO", None, "POOLER_SAMPLING_RATIO is None: expected a whole number"),
        ("fpn", "ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG", None, "CLS_AGNOSTIC_BBOX_REG is None: expected True or False"),
        ("fpn", "ROI_BOX_HEAD__USE_SIGMOID_CE", None, "USE_SIGMOID_CE is None: expected True or False"),
        ("panoptic", "ROI_MASK_HEAD__CLS_AGNOSTIC_MASK", None, "CLS_AGNOSTIC_MASK is None: expected True or False"),
        ("fpn", "RESNETS__STRIDE_IN_1X1", None, "STRIDE_IN_1X1 is None: expected True or False"),
        ("fpn", "RESNETS__DEFORM_MODULATED", None, "DEFORM_MODULATED is None: expected True or False"),
        ("fpn", "RESNETS__DEFORM_ON_PER_STAGE", [], "expected four switches"),
        ("fpn", "RESNETS__DEFORM_ON_PER_STAGE", None, "DEFORM_ON_PER_STAGE is None: expected four switches"),
        ("fpn", "RESNETS__DEPTH", None, "DEPTH is None: expected one of"),
        ("fpn", "RESNETS__NORM", NAN, "unknown normalisation nan"),
        ("fpn", "ANCHOR_GENERATOR__SIZES", None, "SIZES is None .*expected numbers above 0"),
        ("fpn", "ANCHOR_GENERATOR__SIZES", [[0]], "SIZES is .*expected numbers above 0"),
        ("fpn", "ANCHOR_GENERATOR__SIZES", [[]], "SIZES is .*expected numbers above 0"),
        ("fpn", "ANCHOR_GENERATOR__SIZES", [[32], 64, 128, 256, 512], "SIZES is .*expected numbers above 0"),
        ("fpn", "ANCHOR_GENERATOR__SIZES", [["32"]], "SIZES is .*expected numbers above 0"),
        ("fpn", "ANCHOR_GENERATOR__ASPECT_RATIOS", ["0.5"], "ASPECT_RATIOS is .*expected numbers above 0"),
        ("rotated", "ANCHOR_GENERATOR__ANGLES", [["0"]], "ANGLES is .*expected numbers, in one list"),
        ("fpn", "ANCHOR_GENERATOR__ASPECT_RATIOS", [[-1.0]], "ASPECT_RATIOS is .*expected numbers above 0"),
        ("fpn", "ANCHOR_GENERATOR__OFFSET", NAN, "OFFSET is nan: expected a number"),
        ("fpn", "RPN__BBOX_REG_WEIGHTS", (1.0,), "expected 4 numbers"),
        ("fpn", "RPN__BBOX_REG_WEIGHTS", None, "BBOX_REG_WEIGHTS are None: expected 4 numbers"),
        ("fpn", "RPN__BBOX_REG_WEIGHTS", ("1", "1", "1", "a"), "BBOX_REG_WEIGHTS are .*: expected 4 numbers"),
        ("cascade", "ROI_BOX_CASCADE_HEAD__BBOX_REG_WEIGHTS", (1, 2, 3), "BBOX_REG_WEIGHTS are 1: expected 4 numbers"),
        ("fpn", "ROI_BOX_HEAD__BBOX_REG_WEIGHTS", (0.0,) * 4, "expected 4 numbers, none of them 0"),
        ("panoptic", "MASK_ON", False, "MASK_ON is False: PanopticFPN merges masks"),
        ("panoptic", "SEM_SEG_HEAD__COMMON_STRIDE", 3, "expected a power of two"),
        ("semantic", "SEM_SEG_HEAD__COMMON_STRIDE", 8, "is 8, but the maps have the strides"),
    ],
)
def test_values_that_no_model_can_have(family, key, value, message):
    refused(family, key, value, message)


@pytest.mark.parametrize("family", ["fpn", "retinanet"])
@pytest.mark.parametrize("value", [None, NAN])
def test_a_number_of_detections_that_no_model_can_have(family, value):
    cfg = tiny_cfg(family)
    cfg.TEST.DETECTIONS_PER_IMAGE = value
    with pytest.raises(ConfigError, match=f"DETECTIONS_PER_IMAGE is {value}: expected a whole number"):
        build_model(cfg)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ROI_BOX_HEAD__NUM_CONV": 1, "ROI_BOX_HEAD__CONV_DIM": 0}, "channels of FastRCNNConvFCHead is 0"),
        ({"MASK_ON": True, "ROI_MASK_HEAD__CONV_DIM": None}, "channels of MaskRCNNConvUpsampleHead is None"),
        ({"MASK_ON": True, "ROI_MASK_HEAD__NUM_CONV": 0, "ROI_MASK_HEAD__CONV_DIM": -1}, "CONV_DIM is -1"),
        ({"KEYPOINT_ON": True, "ROI_KEYPOINT_HEAD__NUM_KEYPOINTS": 0}, "NUM_KEYPOINTS is 0"),
        ({"KEYPOINT_ON": True, "ROI_KEYPOINT_HEAD__CONV_DIMS": None}, "have the channels None: expected a list"),
        ({"KEYPOINT_ON": True, "ROI_KEYPOINT_HEAD__POOLER_RESOLUTION": 0}, "POOLER_RESOLUTION is 0"),
    ],
)
def test_heads_that_no_model_can_have(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_cfg("fpn", **changes))


def test_what_a_model_does_not_read_may_be_anything():
    changes = {"RETINANET__NUM_CLASSES": 0, "SEM_SEG_HEAD__NUM_CLASSES": None, "ROI_MASK_HEAD__POOLER_RESOLUTION": 0}
    build_model(tiny_cfg("fpn", **changes, MASK_ON=False))
    build_model(tiny_cfg("semantic", ROI_HEADS__NUM_CLASSES=0))
    cfg = tiny_cfg("fpn")
    cfg.MODEL.ROI_HEADS.OF_A_USERS_HEAD = None
    build_model(cfg)


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu"), "meta"])
def test_devices_that_are_there(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("name", "devices", "message"),
    [
        ("cuda", 0, "the device asked for is 'cuda', but this torch sees no CUDA device: running on the CPU"),
        ("cuda:0", 0, "'cuda:0', but this torch sees no CUDA device"),
        ("cuda:2", 2, "'cuda:2', but there are 2 CUDA devices"),
        ("mps", 0, "'mps', but this torch has no MPS device"),
    ],
)
def test_devices_that_are_missing(monkeypatch, name, devices, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.warns(UserWarning, match=message) as caught:
        assert resolve_device(name) == torch.device("cpu")
    assert len(caught) == 1


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_a_device_among_several(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", None, "vulkan"])
def test_devices_that_do_not_exist(name):
    with pytest.raises(ConfigError, match="is not a device: expected 'cpu', 'cuda'"):
        resolve_device(name)


def test_a_model_falls_back_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = tiny_cfg("semantic")
    cfg.MODEL.DEVICE = "cuda"
    with pytest.warns(UserWarning, match="running on the CPU") as caught:
        model = build_model(cfg)
    assert model.device == torch.device("cpu")
    assert caught[0].filename == __file__  # the warning points at whoever builds the model


def test_sub_models():
    cfg = tiny_cfg()
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    parts = [backbone, build_proposal_generator(cfg, shapes), build_roi_heads(cfg, shapes)]
    assert [type(part) for part in parts] == [FPN, RPN, StandardROIHeads]
    assert not [name for part in parts for name, module in part.named_modules() if module.training]
    assert build_proposal_generator(tiny_cfg("precomputed"), shapes) is None
    assert build_backbone(cfg, ShapeSpec(channels=5)).bottom_up.stem.conv1.weight.shape[1] == 5
    assert build_backbone(tiny_cfg("c4", PIXEL_MEAN=[1.0, 2.0])).stem.conv1.weight.shape[1] == 2


def test_a_component_whose_train_returns_nothing_is_built():
    class Quiet(torch.nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()

        def train(self, mode=True):
            self.training = mode

    ROI_HEADS_REGISTRY.register(Quiet)
    try:
        cfg = tiny_cfg()
        cfg.MODEL.ROI_HEADS.NAME = "Quiet"
        heads = build_roi_heads(cfg, {})
    finally:
        ROI_HEADS_REGISTRY._components.pop("Quiet")
    assert type(heads) is Quiet and not heads.training
