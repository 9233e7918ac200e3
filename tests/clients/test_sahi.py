"""sahi's AutoDetectionModel of type detectron2: on a whole image, on slices, and from its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from litepred import Boxes, Predictor, example_page, pairwise_iou, read_image

from .conftest import client

pytestmark = pytest.mark.clients
ROOT = Path(__file__).parent.parent.parent
SIZE = ["INPUT.MIN_SIZE_TEST", 224, "INPUT.MAX_SIZE_TEST", 224]


@pytest.fixture(scope="module")
def sahi():
    client("sahi.predict")
    return client("sahi")


def model_of(sahi, trained, threshold):
    return sahi.AutoDetectionModel.from_pretrained(
        model_type="detectron2",
        model_path=trained.checkpoint,
        config_path=trained.config,
        device="cpu",
        confidence_threshold=threshold,
        image_size=224,
    )


def found(instances, threshold):
    """Boxes, scores and classes as sahi tells them; where there are masks, it takes the boxes from their outlines."""
    from sahi.utils.cv import get_coco_segmentation_from_bool_mask

    kept = instances[instances.scores >= threshold]
    rows = []
    for i, (score, label) in enumerate(zip(kept.scores.tolist(), kept.pred_classes.tolist())):
        if not kept.has("pred_masks"):
            rows.append((kept.pred_boxes.tensor[i].tolist(), score, label))
        elif outlines := get_coco_segmentation_from_bool_mask(kept.pred_masks[i].numpy()):
            points = np.concatenate([np.reshape(outline, (-1, 2)) for outline in outlines])
            rows.append(([*points.min(axis=0).tolist(), *points.max(axis=0).tolist()], score, label))
    return rows


def told(result):
    return [(one.bbox.to_xyxy(), one.score.value, one.category.id) for one in result.object_prediction_list]


@pytest.mark.parametrize("threshold", [1.0, 0.3])
def test_whole(sahi, trained, threshold):
    model = model_of(sahi, trained, threshold)
    ours = trained.predictor(*SIZE)(trained.image)["instances"]
    result = sahi.predict.get_prediction(trained.image[:, :, ::-1], model)
    assert model.original_predictions["instances"].pred_boxes.tensor.equal(ours.pred_boxes.tensor)
    assert told(result) == found(ours, threshold)
    assert bool(told(result)) == (threshold < 1)


def test_sliced(sahi, trained):
    from sahi.slicing import get_slice_bboxes

    image = trained.image[:400, :500]
    predictor = trained.predictor(*SIZE)
    expected = []
    for x0, y0, x1, y1 in get_slice_bboxes(*image.shape[:2], slice_height=300, slice_width=300):
        for (left, top, right, bottom), *rest in found(predictor(image[y0:y1, x0:x1])["instances"], 0.3):
            expected.append(([left + x0, top + y0, right + x0, bottom + y0], *rest))
    result = sahi.predict.get_sliced_prediction(
        image[:, :, ::-1],
        model_of(sahi, trained, 0.3),
        slice_height=300,
        slice_width=300,
        perform_standard_pred=False,
        postprocess_type="NMS",
        postprocess_match_threshold=2.0,  # keep the doubles of overlapping slices
    )
    assert expected
    assert sorted(told(result)) == sorted(expected)


def test_tiles_find_what_slices_find(sahi, tmp_path):
    """Four copies of a page, in tiles of a page's size: what is in them is known from the page alone."""
    predictor = Predictor()
    page = read_image(example_page(), "BGR")
    height, width = page.shape[:2]
    alone = predictor(page, threshold=0.5)["instances"]
    expected = [
        ([x0 + left, y0 + top, x1 + left, y1 + top], label)
        for top in (0, height)
        for left in (0, width)
        for (x0, y0, x1, y1), label in zip(alone.pred_boxes.tensor.tolist(), alone.pred_classes.tolist())
    ]
    image = np.tile(page, (2, 2, 1))
    tiled = predictor(image, tile=(height, width), overlap=0.2, threshold=0.5)["instances"]
    ours = list(zip(tiled.pred_boxes.tensor.tolist(), tiled.pred_classes.tolist()))

    config = tmp_path / "page.yaml"
    config.write_text(predictor.cfg.dump())
    model = sahi.AutoDetectionModel.from_pretrained(
        model_type="detectron2",
        model_path=predictor.cfg.MODEL.WEIGHTS,
        config_path=str(config),
        device="cpu",
        confidence_threshold=0.5,
    )
    sliced = sahi.predict.get_sliced_prediction(
        image[:, :, ::-1],
        model,
        slice_height=height,
        slice_width=width,
        overlap_height_ratio=0.2,
        overlap_width_ratio=0.2,
        perform_standard_pred=False,
    )
    theirs = [(box, label) for box, _, label in told(sliced)]
    by_tiles, by_slices = agreement(ours, expected), agreement(theirs, expected)
    assert len(expected) == 100
    assert (by_tiles > 0.5).sum() >= (by_slices > 0.5).sum() >= 95
    assert by_tiles.mean() >= by_slices.mean() > 0.9
    assert len(ours) <= 1.1 * len(expected)


def agreement(found, expected):
    """The best IoU that each expected box has with one of its class."""
    (boxes, labels), (others, other_labels) = (map(torch.tensor, zip(*some)) for some in (expected, found))
    iou = pairwise_iou(Boxes(boxes), Boxes(others))
    return iou.masked_fill(labels[:, None] != other_labels, 0).amax(dim=1)


def test_command_line(sahi, trained, tmp_path):
    """``litepred run -m sahi.cli predict`` writes the boxes; nothing of sahi is changed."""
    cv2.imwrite(str(tmp_path / "image.png"), trained.image)
    coco = {
        "images": [{"id": 1, "file_name": "image.png", "height": 1, "width": 1}],
        "categories": [{"id": i, "name": str(i)} for i in range(5)],
        "annotations": [],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    words = f"""predict --model_type detectron2 --model_path {trained.checkpoint} --model_config_path {trained.config}
        --model_device cpu --model_confidence_threshold 0.3 --image_size 224 --no_sliced_prediction --novisual
        --source {tmp_path} --dataset_json_path {tmp_path / "coco.json"} --project {tmp_path} --name out"""
    done = subprocess.run(
        [sys.executable, "-m", "litepred", "run", "-m", "sahi.cli", *words.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    ours = found(trained.predictor(*SIZE)(trained.image)["instances"], 0.3)
    assert [one["score"] for one in written] == pytest.approx([score for _, score, _ in ours], abs=1e-4)
    boxes = [[left, top, left + width, top + height] for left, top, width, height in (one["bbox"] for one in written)]
    assert np.allclose(boxes, [box for box, *_ in ours], atol=0.5)
