"""Whole models against Detectron2's answers, with weights that follow from the checkpoint keys."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch
from golden_answers import BOX_PX, GOLDENS, differences, image, load
from golden_weights import fill_with_golden_weights

from litepred import Boxes, ImageList, Instances, Predictor, build_model, model_zoo
from litepred.data import ResizeShortestEdge
from litepred.modeling import without_random_init

MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
QUICK = (  # one of each family; the others carry the marker "zoo"
    "COCO-Detection__faster_rcnn_R_50_FPN_3x__coffee",
    "COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x__coffee",
    "COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x__astronaut",
    "Detectron1-Comparisons__mask_rcnn_R_50_FPN_noaug_1x__coffee",
    "COCO-PanopticSegmentation__panoptic_fpn_R_50_3x__coffee",
    "Cityscapes__mask_rcnn_R_50_FPN__coffee",
    "LVISv1-InstanceSegmentation__mask_rcnn_R_50_FPN_1x__coffee",
    "Misc__mask_rcnn_R_50_FPN_1x_cls_agnostic__coffee",
    "COCO-Keypoints__keypoint_rcnn_R_50_FPN_3x__coffee",
    "COCO-Detection__retinanet_R_50_FPN_3x__coffee",
    "COCO-Detection__rpn_R_50_FPN_1x__coffee",
    "Misc__cascade_mask_rcnn_R_50_FPN_3x__coffee",
    "Misc__semantic_R_50_FPN_1x__coffee",
)
SINGLE_IMAGE = sorted(
    path.stem
    for path in GOLDENS.glob("*__*__*.npz")
    if "fast_rcnn_R_50_FPN_1x__" not in path.stem or "faster" in path.stem
)
SHAPES = json.loads(gzip.decompress((GOLDENS / "state_dict_shapes.json.gz").read_bytes()))
ZOO_SHAPES = sorted(name for name in SHAPES if not name.startswith("DensePose/"))


CHAOTIC = pytest.mark.xfail(
    strict=False,
    reason="its random weights make res4 chaotic: a change of 1e-6 in the input changes p5 by its own size, so that "
    "Detectron2 itself answers otherwise on another processor or with one thread; side by side, our bits are its",
)


AT_THE_EDGE = pytest.mark.xfail(
    strict=False,
    reason="one of its 100 boxes is 0.0201 px off with AVX-512, where 0.02 are allowed: measured against double "
    "precision, its maps are as exact as those of the graph that has Detectron2's bits",
)


def marks(name: str) -> list:
    found = [] if name in QUICK else [pytest.mark.zoo]
    return [*found, CHAOTIC] if "panoptic_fpn_R_101_dconv_cascade_gn_3x" in name else found


def config(name: str, opts: list[str]):
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "cpu"
    cfg.merge_from_list(opts)
    return cfg


def golden_predictor(cfg, exact: bool = True) -> Predictor:
    with without_random_init():
        model = build_model(cfg)
    fill_with_golden_weights(model, cfg.MODEL.PIXEL_STD[0])
    return Predictor(cfg, weights=model.state_dict(), exact=exact)


@pytest.fixture(scope="module")
def mask_rcnn() -> Predictor:
    opts = ["INPUT.MIN_SIZE_TEST", "320", "INPUT.MAX_SIZE_TEST", "640", "MODEL.RPN.POST_NMS_TOPK_TEST", "200"]
    return golden_predictor(config(MASK_RCNN, opts))


def network_input(name: str, short_edge: int, **kwargs: int) -> dict:
    resize = ResizeShortestEdge(short_edge, 640)
    array = image(name)
    return {
        "image": torch.as_tensor(resize.get_transform(array).apply_image(array).transpose(2, 0, 1).copy()),
        **kwargs,
    }


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "optimized"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in SINGLE_IMAGE])
def test_prediction_matches(name, exact, request):
    if "faster_rcnn_X_101_32x8d" in name and not exact:
        request.applymarker(AT_THE_EDGE)
    golden = load(GOLDENS / f"{name}.npz")
    predictor = golden_predictor(config(str(golden["config"]), json.loads(str(golden["opts"]))), exact)
    assert differences(predictor(image(name.rsplit("__", 1)[1])), golden) == []


def test_every_quick_golden_is_there():
    assert set(QUICK) <= set(SINGLE_IMAGE)


def test_features_match(mask_rcnn):
    golden = load(GOLDENS / "COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x__coffee.npz")
    images = mask_rcnn.model.preprocess_image([network_input("coffee", 320)])
    assert list(images.tensor.shape) == golden["padded.shape"].tolist()
    for name, feature in mask_rcnn.model.backbone(images.tensor).items():
        height, width = feature.shape[-2:]
        assert list(feature.shape) == golden[f"features.{name}.shape"].tolist()
        sample = feature[0, ::16, :: max(1, height // 6), :: max(1, width // 6)]
        wanted = torch.from_numpy(golden[f"features.{name}.sample"])
        torch.testing.assert_close(sample, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("unpacked", [True, False], ids=["proposals, _ =", "proposals ="])
def test_partial_execution_matches(mask_rcnn, unpacked):
    golden = load(GOLDENS / "COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x__coffee.npz")
    model = mask_rcnn.model
    tensor = network_input("coffee", 320)["image"].float()
    images = ImageList.from_tensors([(tensor - model.pixel_mean) / model.pixel_std], model.backbone.size_divisibility)
    features = model.backbone(images.tensor)
    if unpacked:
        proposals, _ = model.proposal_generator(images, features)
        boxes = proposals[0].proposal_boxes.tensor.numpy()
        assert np.abs(boxes - golden["partial.proposals"]).max() < BOX_PX
        assert np.abs(proposals[0].objectness_logits.numpy() - golden["partial.objectness"]).max() < 1e-3
    else:
        proposals = model.proposal_generator(images, features)
    instances = model.roi_heads._forward_box(features, proposals)
    mask_features = [features[f] for f in model.roi_heads.in_features]
    mask_features = model.roi_heads.mask_pooler(mask_features, [x.pred_boxes for x in instances])
    assert list(mask_features.shape) == golden["partial.mask_features.shape"].tolist()
    wanted = torch.from_numpy(golden["partial.mask_features.sample"])
    torch.testing.assert_close(mask_features[:, ::64, ::4, ::4], wanted, rtol=1e-3, atol=2e-3)


def test_batch_matches(mask_rcnn):
    golden = load(GOLDENS / "batch__mask_rcnn_R_50_FPN_3x.npz")
    inputs = [
        network_input("coffee", 320, height=400, width=600),
        network_input("astronaut", 288, height=512, width=512),
        network_input("coffee", 320),
    ]
    results = mask_rcnn.model(inputs)
    assert [problem for i, result in enumerate(results) for problem in differences(result, golden, f"{i}.")] == []


def test_given_boxes_match(mask_rcnn):
    golden = load(GOLDENS / "given_boxes__mask_rcnn_R_50_FPN_3x.npz")
    one = network_input("coffee", 320, height=400, width=600)
    given = Instances(tuple(one["image"].shape[1:]))
    # The stored boxes were recorded after Detectron2 had scaled them in place, from 320 × 480 to 400 × 600.
    given.pred_boxes = Boxes(torch.from_numpy(golden["boxes"]) / 1.25)
    given.pred_classes = torch.from_numpy(golden["classes"])
    before = given.pred_boxes.tensor.clone()
    result = mask_rcnn.model.inference([one], detected_instances=[given])[0]["instances"]
    assert torch.equal(given.pred_boxes.tensor, before)  # Detectron2 scales the caller's boxes in place; we do not
    result.scores = torch.zeros(len(result))  # given boxes have none
    golden["0.instances.scores"] = np.zeros(len(result), np.float32)
    assert differences({"instances": result}, golden, "0.") == []


def test_given_proposals_match():
    golden = load(GOLDENS / "COCO-Detection__fast_rcnn_R_50_FPN_1x__coffee.npz")
    cfg = config(str(golden["config"]), json.loads(str(golden["opts"])))
    model = build_model(cfg)
    fill_with_golden_weights(model, cfg.MODEL.PIXEL_STD[0])
    height, width = image("coffee").shape[:2]
    short_edge = int(golden["note"]) if "note" in golden else 320
    one = network_input("coffee", short_edge, height=height, width=width)
    proposals = Instances(tuple(one["image"].shape[1:]))
    proposals.proposal_boxes = Boxes(torch.from_numpy(golden["proposal_boxes"]))
    proposals.objectness_logits = torch.from_numpy(golden["objectness_logits"])
    assert differences(model([{**one, "proposals": proposals}])[0], golden, "0.") == []


@pytest.mark.parametrize(
    "name",
    [
        name
        if name.split("/")[1] + "__coffee" in {q.split("__", 1)[1] for q in QUICK}
        else pytest.param(name, marks=pytest.mark.zoo)
        for name in ZOO_SHAPES
    ],
)
def test_checkpoint_keys_and_shapes(name):
    with torch.device("meta"):
        state = build_model(config(name, ["MODEL.DEVICE", "meta"])).state_dict()
    assert {key: list(tensor.shape) for key, tensor in state.items()} == SHAPES[name]
