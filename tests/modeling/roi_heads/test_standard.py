"""Boxes first, then masks and keypoints on the boxes found."""

import pytest
import torch
from tiny_models import tiny_cfg, tiny_image, tiny_model
from torch import nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from litepred.errors import ConfigError, LitepredError
from litepred.layers import ShapeSpec
from litepred.modeling import ROI_MASK_HEAD_REGISTRY, ROIHeads, StandardROIHeads, build_model, build_roi_heads
from litepred.structures import Boxes, ImageList, Instances

BOTH = {"MASK_ON": True, "KEYPOINT_ON": True}
INPUTS = [{"image": tiny_image()}, {"image": tiny_image(50, 70, seed=1)}]
FIELDS = ["pred_boxes", "scores", "pred_classes", "pred_masks", "pred_keypoints", "pred_keypoint_heatmaps"]


def start(model, inputs=INPUTS):
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    return images, features, model.proposal_generator(images, features)


def pooled_by_torchvision(features, boxes, resolution):
    """Pool small boxes, which all belong on p2."""
    rois = torch.cat([torch.cat([torch.full((len(b), 1), float(i)), b.tensor], dim=1) for i, b in enumerate(boxes)])
    assert all((b.area() < 112**2).all() for b in boxes)
    return roi_align(features["p2"], rois, resolution, 1 / 4, 0, True)


def test_every_stage():
    model = tiny_model(**BOTH)
    heads, state = model.roi_heads, model.roi_heads.state_dict()
    images, features, (proposals, _) = start(model)
    results, losses = heads(images, features, proposals, None)
    assert losses == {}
    assert [r.image_size for r in results] == [(64, 96), (50, 70)]
    assert [list(r.get_fields()) for r in results] == [FIELDS, FIELDS]
    # boxes: the proposals' features, one linear layer and two more
    x = pooled_by_torchvision(features, [p.proposal_boxes for p in proposals], 4).flatten(1)
    x = F.linear(x, state["box_head.fc1.weight"], state["box_head.fc1.bias"]).relu()
    leaves = [[state[f"box_predictor.{n}.{k}"] for k in ("weight", "bias")] for n in ("cls_score", "bbox_pred")]
    logits, deltas = (F.linear(x, weight, bias) for weight, bias in leaves)
    detections, _ = heads.box_predictor.inference((logits, deltas), proposals)
    for detected, result in zip(detections, results):
        assert len(detected) == 10
        for name in FIELDS[:3]:
            left, right = (getattr(r.get(name), "tensor", r.get(name)) for r in (detected, result))
            torch.testing.assert_close(left, right)
    # masks and keypoints: the features of the boxes that were found
    found = [r.pred_boxes for r in results]
    x = pooled_by_torchvision(features, found, 4)
    expected = heads.mask_head.layers(x)[torch.arange(20), torch.cat([r.pred_classes for r in results])].sigmoid()
    torch.testing.assert_close(torch.cat([r.pred_masks for r in results])[:, 0], expected)
    assert results[0].pred_masks.shape == (10, 1, 8, 8)
    heatmaps = torch.cat([r.pred_keypoint_heatmaps for r in results])
    torch.testing.assert_close(heatmaps, heads.keypoint_head.layers(x))
    assert results[0].pred_keypoints.shape == (10, 2, 3)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, FIELDS[:3]),
        ({"MASK_ON": True}, FIELDS[:4]),
        ({"KEYPOINT_ON": True}, FIELDS[:3] + FIELDS[4:]),
        (BOTH, FIELDS),
    ],
    ids=str,
)
@pytest.mark.parametrize("numbers", [(0,), (0, 0), (0, 2), (1, 0)])
def test_few_proposals(changes, fields, numbers):
    model = tiny_model(ROI_HEADS__SCORE_THRESH_TEST=0.0, **changes)
    images, features, (proposals, _) = start(model, INPUTS[: len(numbers)])
    proposals = [p[:number] for p, number in zip(proposals, numbers)]
    results, _ = model.roi_heads(images, features, proposals)
    for result, number in zip(results, numbers):
        assert list(result.get_fields()) == fields
        assert (len(result) == 0) is (number == 0)
        assert result.pred_boxes.tensor.shape == (len(result), 4)
        if "pred_masks" in fields:
            assert result.pred_masks.shape == (len(result), 1, 8, 8)
        if "pred_keypoints" in fields:
            assert result.pred_keypoints.shape == (len(result), 2, 3)


@pytest.mark.parametrize(
    "form",
    [
        lambda generated: generated,
        lambda generated: generated[0],
        lambda generated: tuple(generated[0]),
        lambda generated: (generated[0], {"loss": 0}),  # a generator of one's own
    ],
    ids=["proposals =", "proposals, _ =", "tuple of instances", "plain pair"],
)
@pytest.mark.parametrize("family", ["fpn", "c4", "cascade"])
def test_proposals_in_every_form(form, family):
    model = tiny_model(family, MASK_ON=True)
    images, features, generated = start(model)
    results = model.roi_heads._forward_box(features, form(generated))
    wanted = model.roi_heads(images, features, generated[0], None)[0]
    assert [len(r) for r in results] == [len(r) for r in wanted] == [10, 10]
    for result, other in zip(results, wanted):
        assert torch.equal(result.pred_boxes.tensor, other.pred_boxes.tensor)


@pytest.mark.parametrize("unpacked", [True, False])
def test_partial_execution_for_mask_features(unpacked):
    model = tiny_model(MASK_ON=True)
    tensors = [(x["image"].float() - model.pixel_mean) / model.pixel_std for x in INPUTS]
    images = ImageList.from_tensors(tensors, model.backbone.size_divisibility)
    features = model.backbone(images.tensor)
    if unpacked:
        proposals, _ = model.proposal_generator(images, features)
    else:
        proposals = model.proposal_generator(images, features)
    instances = model.roi_heads._forward_box(features, proposals)
    mask_features = [features[f] for f in model.roi_heads.in_features]
    mask_features = model.roi_heads.mask_pooler(mask_features, [x.pred_boxes for x in instances])
    expected = pooled_by_torchvision(features, [x.pred_boxes for x in instances], 4)
    assert mask_features.shape == (20, 16, 4, 4)
    torch.testing.assert_close(mask_features, expected)


def test_partial_execution_for_box_features():
    model = tiny_model(MASK_ON=True)
    images, features, (proposals, _) = start(model)
    maps = [features[f] for f in model.roi_heads.in_features]
    box_features = model.roi_heads.box_head(model.roi_heads.box_pooler(maps, [x.proposal_boxes for x in proposals]))
    predictions = model.roi_heads.box_predictor(box_features)
    instances, kept = model.roi_heads.box_predictor.inference(predictions, proposals)
    assert [len(k) for k in kept] == [10, 10]
    assert box_features[:30][kept[0]].shape == (10, 16)
    instances = model.roi_heads.forward_with_given_boxes(features, instances)
    wanted = model.roi_heads(images, features, proposals)[0]
    assert torch.equal(instances[1].pred_masks, wanted[1].pred_masks)


def test_given_boxes_are_pooled_unclipped():
    model = tiny_model(MASK_ON=True)
    _, features, _ = start(model, INPUTS[:1])
    given = Instances((64, 96), pred_boxes=Boxes([[-20, -10, 30, 40]]), pred_classes=torch.tensor([1]))
    (result,) = model.roi_heads.forward_with_given_boxes(features, [given])
    x = pooled_by_torchvision(features, [Boxes([[-20, -10, 30, 40]])], 4)
    torch.testing.assert_close(result.pred_masks, model.roi_heads.mask_head.layers(x)[:, 1:2].sigmoid())


def test_targets_are_ignored():
    model = tiny_model()
    images, features, (proposals, _) = start(model, INPUTS[:1])
    targets = [Instances((64, 96), gt_boxes=Boxes([[0, 0, 9, 9]]), gt_classes=torch.tensor([0]))]
    results, losses = model.roi_heads(images, features, proposals, targets)
    assert losses == {}
    assert len(results[0]) == 10


def test_poolers_from_a_config():
    changes = {"BOX": (7, "ROIAlign", 2), "MASK": (14, "ROIAlignV2", 0), "KEYPOINT": (5, "TorchvisionROIAlign", 0)}
    keys = ("POOLER_RESOLUTION", "POOLER_TYPE", "POOLER_SAMPLING_RATIO")
    settings = {f"ROI_{n}_HEAD__{k}": v for n, values in changes.items() for k, v in zip(keys, values)}
    heads = build_model(tiny_cfg(**BOTH, **settings)).roi_heads
    assert heads.in_features == ["p2", "p3", "p4", "p5"]
    feature = torch.rand(1, 1, 16, 16)
    roi = [[0.0, 3, 3, 14, 14]]
    pooled = heads.box_pooler([feature] * 4, [Boxes([roi[0][1:]])])
    assert torch.equal(pooled, roi_align(feature, torch.tensor(roi), 7, 1 / 4, 2, False))
    assert heads.mask_pooler.output_size == (14, 14)
    assert heads.keypoint_pooler.output_size == (5, 5)
    assert heads.keypoint_head.num_keypoints == 2


@pytest.mark.parametrize("names", [[], ["p2", "p9"], ["res4"]])
def test_unknown_features(names):
    with pytest.raises(ConfigError, match=r"ROI_HEADS.IN_FEATURES is .*expected one or more of \['p2', .*'p6'\]"):
        build_model(tiny_cfg(ROI_HEADS__IN_FEATURES=names))


def test_more_boxes_than_images():
    model = tiny_model()
    _, features, (proposals, _) = start(model, INPUTS[:1])
    with pytest.raises(LitepredError, match="one list of boxes per image"):
        model.roi_heads._forward_box(features, proposals * 2)


def test_base_class():
    shapes = {f"p{i}": ShapeSpec(channels=16, stride=2**i) for i in range(2, 7)}
    heads = build_roi_heads(tiny_cfg(), shapes)
    assert isinstance(heads, StandardROIHeads)
    assert isinstance(heads, ROIHeads)
    assert heads.num_classes == 3
    base = ROIHeads(tiny_cfg())
    assert base.num_classes == 3
    with pytest.raises(NotImplementedError):
        base(None, {}, [])
    with pytest.raises(NotImplementedError):
        base.forward_with_given_boxes({}, [])


def test_a_mask_head_without_a_pooler_reads_the_maps():
    """As PointRend's configs ask for: ``POOLER_TYPE`` is empty, and the head samples the maps itself."""
    seen = []

    @ROI_MASK_HEAD_REGISTRY.register()
    class ReadsMaps(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.shapes = input_shape

        def forward(self, features, instances):
            seen.append({name: tuple(value.shape[:2]) for name, value in features.items()})
            return instances

    try:
        model = tiny_model("fpn", MASK_ON=True, ROI_MASK_HEAD__NAME="ReadsMaps", ROI_MASK_HEAD__POOLER_TYPE="")
    finally:
        del ROI_MASK_HEAD_REGISTRY._components["ReadsMaps"]
    names = model.roi_heads.in_features
    assert model.roi_heads.mask_pooler is None
    assert list(model.roi_heads.mask_head.shapes) == names
    model([{"image": tiny_image()}])
    assert [list(maps) for maps in seen] == [names]


@pytest.mark.parametrize("counts", [(0, 0), (0, 7), (7, 0), (5, 9)])
@pytest.mark.parametrize(("family", "part", "name"), [("c4", "res5", "res4"), ("fpn", "box_head", "p2")])
def test_regions_some_at_a_time(family, part, name, counts, monkeypatch):
    """By default on the CPU, where all regions at once may take gigabytes; in exact mode they stay together."""
    model = tiny_model(family)
    heads, calls = model.roi_heads, []
    _, features, (proposals, _) = start(model)
    boxes = [one.proposal_boxes[:count] for one, count in zip(proposals, counts)]
    getattr(heads, part).register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    wanted = heads._box_features(features, boxes)
    monkeypatch.setattr("litepred.modeling.roi_heads.standard._POOLED_AT_ONCE", 3 * features[name].shape[1] * 4 * 4)
    assert heads._box_features(features, boxes).equal(wanted) and calls == 2 * [sum(counts)]
    heads.exact = False
    torch.testing.assert_close(heads._box_features(features, boxes), wanted, rtol=1e-5, atol=1e-5)
    assert sum(calls[2:]) == sum(counts) and max(calls[2:]) <= 3


def test_a_box_head_of_others_gets_all_regions(monkeypatch):
    """What it returns is its own matter."""
    heads = tiny_model().roi_heads
    monkeypatch.setattr("litepred.modeling.roi_heads.standard._POOLED_AT_ONCE", 1)
    heads.box_head, heads.exact = nn.Flatten(), False
    maps = {name: torch.zeros(1, 16, 16, 16) for name in heads.box_in_features}
    assert len(heads._box_features(maps, [Boxes(torch.ones(9, 4))])) == 9
