"""Whole DensePose models against DensePose's answers, with weights that follow from the checkpoint keys."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from golden_answers import ASSETS, differences, image, load
from golden_weights import fill_with_golden_weights

from litepred import Predictor, build_model, model_zoo
from litepred.densepose import DensePoseResultExtractor, draw
from litepred.modeling import without_random_init

FOLDER = ASSETS / "densepose"
LABEL_SHARE = 1e-3  # of the pixels of a box, at ties
MAPS = 2e-2  # of the largest value of a map: boxes may differ by 0.02 px


def predictor(golden: dict, exact: bool) -> Predictor:
    cfg = model_zoo.get_config(f"DensePose/{golden['config']}")
    cfg.MODEL.DEVICE = "cpu"
    cfg.merge_from_list(json.loads(str(golden["opts"])))
    with without_random_init():
        model = build_model(cfg)
    fill_with_golden_weights(model, cfg.MODEL.PIXEL_STD[0])
    return Predictor(cfg, weights=model.state_dict(), exact=exact)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "optimized"])
@pytest.mark.parametrize("name", ["densepose_rcnn_R_50_FPN_s1x", "densepose_rcnn_R_50_FPN_WC1_s1x"])
def test_prediction_matches(name, exact):
    golden, photo = load(FOLDER / f"{name}__astronaut.npz"), image("astronaut")
    outputs = predictor(golden, exact)(photo)
    assert differences(outputs, golden) == []
    instances = outputs["instances"]
    maps = instances.pred_densepose
    for field in ("coarse_segm", "fine_segm", "u", "v", "sigma_2"):
        ours = getattr(maps, field)
        if f"densepose.{field}.sample" not in golden:
            assert ours is None
            continue
        wanted = torch.from_numpy(golden[f"densepose.{field}.sample"])
        assert list(ours.shape) == golden[f"densepose.{field}.shape"].tolist() and ours.dtype == torch.float32
        assert float((ours[:, :, ::8, ::8] - wanted).abs().max()) < (1e-3 if exact else MAPS) * float(
            wanted.abs().max()
        )
    results, boxes = DensePoseResultExtractor()(instances)
    assert np.abs(boxes.numpy() - golden["result.boxes_xywh"]).max() < 0.04
    wrong_pixels = 0
    for i, result in enumerate(results):
        labels = golden[f"result.{i}.labels"]
        assert tuple(result.labels.shape) == labels.shape
        same = result.labels.numpy() == labels
        wrong_pixels += int((~same).sum())
        apart = np.abs(result.uv.numpy() - golden[f"result.{i}.uv"].astype(np.float32))[:, same]
        assert apart.max() < (0.02 if exact else 0.1)  # float16 of numbers up to 20; a box edge moves a steep map
    assert wrong_pixels <= LABEL_SHARE * sum(golden[f"result.{i}.labels"].size for i in range(len(results)))
    if name == "densepose_rcnn_R_50_FPN_s1x":
        for style, file in (("densepose", "dp_segm__astronaut.png"), ("idm-vton", "dp_segm_idmvton__astronaut.png")):
            drawn = draw(photo, instances, "dp_segm", style)
            different = (drawn != cv2.imread(str(FOLDER / file))).any(axis=2)
            assert different.sum() <= wrong_pixels + 3
