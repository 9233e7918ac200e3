"""A predictor of a project's own on a lazy config, as the detectors of body reconstruction have it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("omegaconf")
import torch
from golden_weights import fill_with_golden_weights

import litepred
from litepred import LazyConfig, Predictor, instantiate
from litepred.drop_in.lazy import get_config
from litepred.drop_in.loaders import DatasetMapper
from litepred.drop_in.transforms import AugInput

NAME = "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ"


def test_the_same_answers_as_from_the_yaml_config(tmp_path):
    cfg = get_config(f"{NAME}.py")
    for side in ("short_edge_length", "max_size"):
        cfg.dataloader.test.mapper.augmentations[0][side] = 128
    cfg.model.roi_heads.box_predictor.test_score_thresh = 0.0
    model = instantiate(cfg.model)
    fill_with_golden_weights(model)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    litepred.DetectionCheckpointer(model).load(str(tmp_path / "model.pth"))
    mapper = instantiate(cfg.dataloader.test.mapper)
    assert isinstance(mapper, DatasetMapper)

    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    resized = mapper.augmentations(AugInput(pixels)).apply_image(pixels)
    image = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
    with torch.no_grad():
        found = model.eval().cuda()([{"image": image, "height": 90, "width": 120}])[0]["instances"]

    yaml_cfg = litepred.model_zoo.get_config(NAME)
    yaml_cfg.INPUT.MIN_SIZE_TEST = yaml_cfg.INPUT.MAX_SIZE_TEST = 128
    yaml_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    yaml_cfg.MODEL.DEVICE = "cpu"
    assert (mapper.image_format, cfg.dataloader.test.dataset.names) == (yaml_cfg.INPUT.FORMAT, "coco_2017_val")
    expected = Predictor(yaml_cfg, weights=tmp_path / "model.pth", exact=True)(pixels)["instances"]
    assert len(expected) > 0
    assert found.pred_boxes.tensor.equal(expected.pred_boxes.tensor)
    assert found.scores.equal(expected.scores)
    assert found.pred_masks.equal(expected.pred_masks)


def test_a_config_of_a_project(tmp_path):
    """A cascade whose heads are a loop, on top of a model that comes along, as in the projects' own files."""
    path = tmp_path / "cascade.py"
    path.write_text("""
from detectron2 import model_zoo
from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNConvFCHead, FastRCNNOutputLayers
from fvcore.common.param_scheduler import MultiStepParamScheduler

model = model_zoo.get_config("common/models/mask_rcnn_fpn.py").model
train = model_zoo.get_config("common/train.py").train
[model.roi_heads.pop(k) for k in ["box_head", "box_predictor", "proposal_matcher"]]
model.roi_heads.update(
    _target_=CascadeROIHeads,
    box_heads=[
        L(FastRCNNConvFCHead)(input_shape=ShapeSpec(channels=256, height=7, width=7), conv_dims=[], fc_dims=[64])
        for _ in range(3)
    ],
    box_predictors=[
        L(FastRCNNOutputLayers)(
            input_shape=ShapeSpec(channels=64),
            box2box_transform=L(Box2BoxTransform)(weights=(w, w, w // 2, w // 2)),
            cls_agnostic_bbox_reg=True,
            num_classes="${...num_classes}",
        )
        for w in [10, 20, 30]
    ],
    proposal_matchers=[L(Matcher)(thresholds=[t], labels=[0, 1]) for t in [0.5, 0.6, 0.7]],
)
lr = L(MultiStepParamScheduler)(milestones=[m * 3 // 4 for m in [train.max_iter]], num_updates=train.max_iter)
""")
    cfg = LazyConfig.load(str(path))
    assert cfg.lr.milestones == [67500]
    cfg.model.roi_heads.num_classes = 3
    for i in range(3):
        cfg.model.roi_heads.box_predictors[i].test_score_thresh = 0.25
    with torch.device("meta"):
        heads = instantiate(cfg.model).roi_heads
    assert [predictor.cls_score.out_features for predictor in heads.box_predictor] == [4, 4, 4]
    assert {predictor.test_score_thresh for predictor in heads.box_predictor} == {0.25}
    assert heads.box_predictor[2].box2box_transform.weights == (30, 30, 15, 15)


def test_targets_within_tuples(tmp_path):
    (tmp_path / "config.py").write_text(
        "from detectron2.config import LazyCall as L\nimport torch.nn as nn\n"
        "model = L(nn.ModuleList)(modules=(L(nn.GELU)(), L(nn.Conv2d)(in_channels=1, out_channels=2, kernel_size=1)))\n"
    )
    made = instantiate(LazyConfig.load(tmp_path / "config.py").model)
    assert [type(module).__name__ for module in made] == ["GELU", "Conv2d"]


def test_without_omegaconf_the_names_are_there():
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'omegaconf' else find(name, *more)\n"
        "from litepred import *\nimport litepred; litepred.as_detectron2()\n"
        "from detectron2.config import *\nfrom detectron2.utils.registry import locate\n"
        "from detectron2 import model_zoo\n\n"
        "print(model_zoo.get_config('COCO-Detection/retinanet_R_50_FPN_1x.yaml').VERSION)\n"
        "for use in (lambda: LazyConfig.load('a.py'), lambda: instantiate({}), lambda: locate('a'),\n"
        "            lambda: model_zoo.get_config('common/train.py')):\n"
        "    try: use()\n"
        "    except litepred.LitepredError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version, *problems = done.stdout.splitlines()
    assert version == "2"
    assert len(problems) == 4
    assert all("needs omegaconf: pip install 'litepred[lazy]'" in problem for problem in problems)
