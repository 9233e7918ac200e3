"""Cascade R-CNN: stages that refine each other's boxes."""

import pytest
import torch
from tiny_models import tiny_cfg, tiny_image, tiny_model
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, roi_align

from litepred.errors import ConfigError
from litepred.modeling import CascadeROIHeads, build_model
from litepred.structures import Boxes, Instances

WEIGHTS = [[10.0, 10.0, 5.0, 5.0], [20.0, 20.0, 10.0, 10.0], [30.0, 30.0, 15.0, 15.0]]


def build(stages=3, **changes):
    cascade = {"BBOX_REG_WEIGHTS": WEIGHTS[:stages], "IOUS": [0.5, 0.6, 0.7][:stages]}
    return tiny_model("cascade", **{f"ROI_BOX_CASCADE_HEAD__{k}": v for k, v in cascade.items()}, **changes)


def start(model):
    images = model.preprocess_image([{"image": tiny_image()}, {"image": tiny_image(50, 70, seed=1)}])
    features = model.backbone(images.tensor)
    return images, features, model.proposal_generator(images, features)[0]


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_by_definition(stages):
    model = build(stages)
    state = model.roi_heads.state_dict()
    images, features, proposals = start(model)
    results, _ = model.roi_heads(images, features, proposals)
    for image, (result, proposal, (height, width)) in enumerate(zip(results, proposals, images.image_sizes)):
        boxes, total = proposal.proposal_boxes.tensor, 0
        for stage in range(stages):
            if stage:  # clipped, and none is dropped
                limits = torch.tensor([width, height, width, height])
                boxes = torch.minimum(boxes.clamp(min=0), limits)
            rois = torch.cat([torch.full((len(boxes), 1), float(image)), boxes], dim=1)
            x = roi_align(features["p2"], rois, 4, 1 / 4, 0, True).flatten(1)
            names = ("box_head.{}.fc1", "box_predictor.{}.cls_score", "box_predictor.{}.bbox_pred")
            (w, b), (w1, b1), (w2, b2) = (
                [state[f"{name.format(stage)}.{leaf}"] for leaf in ("weight", "bias")] for name in names
            )
            x = F.linear(x, w, b).relu()
            total = total + F.linear(x, w1, b1).softmax(1)  # probabilities are averaged, not logits
            boxes = BoxCoder(tuple(WEIGHTS[stage])).decode_single(F.linear(x, w2, b2), boxes)
        scores = (total / stages)[:, :-1]
        boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height]))
        rows, classes = (scores > 0.2).nonzero().unbind(1)
        keep = batched_nms(boxes[rows], scores[rows, classes], classes, 0.5)[:10]
        assert len(keep) > 0
        torch.testing.assert_close(result.pred_boxes.tensor, boxes[rows[keep]], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(result.scores, scores[rows, classes][keep])
        assert torch.equal(result.pred_classes, classes[keep])


def test_the_average_is_a_product_with_the_reciprocal():
    model = build(ROI_HEADS__SCORE_THRESH_TEST=0.0, ROI_HEADS__NMS_THRESH_TEST=1.0)
    model.roi_heads.box_predictor[-1].test_topk_per_image = -1
    images, features, proposals = start(model)
    probabilities = []
    for predictor in model.roi_heads.box_predictor:
        original = predictor.predict_probs
        predictor.predict_probs = lambda *args, call=original: probabilities.append(call(*args)) or probabilities[-1]
    results, _ = model.roi_heads(images, features, proposals)
    assert len(probabilities) == 3
    total = probabilities[0][0] + probabilities[1][0] + probabilities[2][0]
    product, quotient = (total * (1.0 / 3))[:, :-1], (total / 3)[:, :-1]
    assert not torch.equal(product, quotient)
    assert torch.equal(results[0].scores, product.flatten().sort(descending=True).values)


@pytest.mark.parametrize("numbers", [(0, 0), (0, 3), (2, 0)])
def test_few_proposals(numbers):
    model = build(MASK_ON=True, ROI_HEADS__SCORE_THRESH_TEST=0.0)
    images, features, proposals = start(model)
    results, _ = model.roi_heads(images, features, [p[:n] for p, n in zip(proposals, numbers)])
    for result, number in zip(results, numbers):
        assert (len(result) == 0) is (number == 0)
        assert result.pred_masks.shape == (len(result), 1, 8, 8)


def test_a_box_without_area_does_not_move_the_others():
    model = build(ROI_HEADS__SCORE_THRESH_TEST=0.0)
    images, features, _ = start(model)
    boxes = [[5.0, 5, 30, 40], [200, 200, 220, 220], [10, 20, 60, 50]]  # the second leaves nothing once clipped
    given = [Instances(size, proposal_boxes=Boxes(boxes)) for size in images.image_sizes]
    (with_it, _), _ = model.roi_heads(images, features, given)
    given[0] = given[0][[0, 2]]
    (without_it, _), _ = model.roi_heads(images, features, given)
    kept = with_it[with_it.pred_boxes.nonempty()]
    torch.testing.assert_close(kept.scores[:3], without_it.scores[:3])


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_boxes_that_are_not_finite_are_not_detected(stage, value):
    model = build()
    images, features, proposals = start(model)
    model.roi_heads.box_predictor[stage].bbox_pred.bias[0] = value
    instances, _ = model.roi_heads(images, features, proposals)
    assert [len(one) for one in instances] == [0] * len(images)


def test_a_proposal_that_is_not_finite_does_not_touch_the_others():
    model = build(ROI_HEADS__SCORE_THRESH_TEST=0.0)
    images, features, _ = start(model)
    boxes = [[5.0, 5, 30, 40], [float("nan"), 0, 20, 20], [10, 20, 60, 50]]
    given = [Instances(size, proposal_boxes=Boxes(boxes)) for size in images.image_sizes]
    (with_it, _), _ = model.roi_heads(images, features, given)
    given[0] = given[0][[0, 2]]
    (without_it, _), _ = model.roi_heads(images, features, given)
    torch.testing.assert_close(with_it.pred_boxes.tensor, without_it.pred_boxes.tensor)
    torch.testing.assert_close(with_it.scores, without_it.scores)


def test_keys():
    shapes = {key: tuple(value.shape) for key, value in build(2).roi_heads.state_dict().items()}
    assert {key: shape for key, shape in shapes.items() if key.endswith("weight")} == {
        f"{name}.{stage}.{leaf}.weight": shape
        for stage in range(2)
        for name, leaf, shape in [
            ("box_head", "fc1", (16, 256)),
            ("box_predictor", "cls_score", (4, 16)),
            ("box_predictor", "bbox_pred", (4, 16)),
        ]
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG": False}, "CLS_AGNOSTIC_BBOX_REG True"),
        ({"ROI_BOX_CASCADE_HEAD__IOUS": [0.5, 0.6]}, "3 BBOX_REG_WEIGHTS and 2 IOUS"),
        ({"ROI_BOX_CASCADE_HEAD__IOUS": [], "ROI_BOX_CASCADE_HEAD__BBOX_REG_WEIGHTS": []}, "0 heads and 0 predictors"),
    ],
)
def test_misfits(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_cfg("cascade", **changes))


def test_heads_and_predictors_come_in_pairs():
    with pytest.raises(ConfigError, match="1 heads and 2 predictors"):
        CascadeROIHeads(box_heads=[None], box_predictors=[None, None], num_classes=1)


def test_stages_can_be_overridden():
    """As CenterNet2 does: its heads run the stages themselves, and look at what lies between them."""
    model = build()
    heads, ran = model.roi_heads, []
    kind = type("Watched", (type(heads),), {})

    def run_stage(self, features, proposals, stage):
        ran.append((stage, len(proposals[0])))
        return super(kind, self)._run_stage(features, proposals, stage)

    kind._run_stage = run_stage
    image = [{"image": tiny_image()}]
    expected = model(image)[0]["instances"]
    heads.__class__ = kind
    assert model(image)[0]["instances"].scores.equal(expected.scores)
    assert [stage for stage, _ in ran] == [0, 1, 2]
    assert len({number for _, number in ran}) == 1
