"""The C4 head: res5 runs on every region."""

import pytest
import torch
from tiny_models import tiny_cfg, tiny_image, tiny_model
from torch.nn import functional as F
from torchvision.ops import roi_align

from litepred.errors import ConfigError
from litepred.modeling import build_model
from litepred.structures import Boxes, Instances


def start(model):
    images = model.preprocess_image([{"image": tiny_image()}, {"image": tiny_image(50, 70, seed=1)}])
    features = model.backbone(images.tensor)
    return images, features, model.proposal_generator(images, features)[0]


def regions(state, feature, boxes, resolution, stride_in_1x1=True):
    """Pool boxes from res4 and run res5, by the checkpoint entries ``state``."""
    rois = torch.cat([torch.cat([torch.full((len(b), 1), float(i)), b.tensor], dim=1) for i, b in enumerate(boxes)])
    x = roi_align(feature, rois, resolution, 1 / 16, 0, True)

    def conv_norm(name, x, **kwargs):
        x = F.conv2d(x, state[f"res5.{name}.weight"], **kwargs)
        norm = {k: state[f"res5.{name}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias")}
        return F.batch_norm(x, **norm)

    for i in range(3):
        stride = 2 if i == 0 else 1
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        out = conv_norm(f"{i}.conv1", x, stride=first).relu()
        out = conv_norm(f"{i}.conv2", out, stride=second, padding=1).relu()
        out = conv_norm(f"{i}.conv3", out)
        x = (out + (conv_norm("0.shortcut", x, stride=2) if i == 0 else x)).relu()
    return x


@pytest.mark.parametrize(("resolution", "mask_side"), [(4, 4), (14, 14)])
@pytest.mark.parametrize("stride_in_1x1", [True, False])
@pytest.mark.parametrize("depth", [18, 50])
def test_by_definition(resolution, mask_side, stride_in_1x1, depth):
    # With two times fewer cells after res5 and two times more after the transposed convolution, masks are 14 × 14
    # where a pyramid has 28 × 28. On a ResNet-18 the head's res5 is made of bottlenecks all the same.
    model = tiny_model(
        "c4",
        MASK_ON=True,
        ROI_BOX_HEAD__POOLER_RESOLUTION=resolution,
        RESNETS__STRIDE_IN_1X1=stride_in_1x1,
        RESNETS__DEPTH=depth,
        ROI_HEADS__SCORE_THRESH_TEST=0.0,
    )
    heads, state = model.roi_heads, model.roi_heads.state_dict()
    images, features, proposals = start(model)
    results, losses = heads(images, features, proposals)
    assert losses == {}
    x = regions(state, features["res4"], [p.proposal_boxes for p in proposals], resolution, stride_in_1x1)
    assert x.shape == (60, 128, resolution // 2, resolution // 2)
    x = x.mean((2, 3))
    leaves = [[state[f"box_predictor.{n}.{k}"] for k in ("weight", "bias")] for n in ("cls_score", "bbox_pred")]
    answers = tuple(F.linear(x, weight, bias) for weight, bias in leaves)
    detections, _ = heads.box_predictor.inference(answers, proposals)
    x = regions(state, features["res4"], [r.pred_boxes for r in results], resolution, stride_in_1x1)  # of the results
    logits = heads.mask_head.layers(x)
    assert logits.shape == (20, 3, mask_side, mask_side)
    masks = logits[torch.arange(20), torch.cat([r.pred_classes for r in results])].sigmoid()
    torch.testing.assert_close(torch.cat([r.pred_masks for r in results])[:, 0], masks, rtol=1e-4, atol=1e-4)
    for result, detected in zip(results, detections):
        assert list(result.get_fields()) == ["pred_boxes", "scores", "pred_classes", "pred_masks"]
        torch.testing.assert_close(result.pred_boxes.tensor, detected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(result.scores, detected.scores, rtol=1e-4, atol=1e-5)


def test_keys():
    keys = list(tiny_model("c4", MASK_ON=True).roi_heads.state_dict())
    starts = sorted({".".join(key.split(".")[: 3 if key.startswith("res5") else 2]) for key in keys})
    blocks = ["res5.0.conv1", "res5.0.conv2", "res5.0.conv3", "res5.0.shortcut"]
    blocks += [f"res5.{i}.conv{j}" for i in (1, 2) for j in (1, 2, 3)]
    assert starts == sorted(
        [*blocks, "box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.deconv", "mask_head.predictor"]
    )


@pytest.mark.parametrize("mask_on", [True, False])
@pytest.mark.parametrize("numbers", [(0, 0), (0, 3), (2, 0)])
def test_few_proposals(mask_on, numbers):
    model = tiny_model("c4", MASK_ON=mask_on, ROI_HEADS__SCORE_THRESH_TEST=0.0)
    images, features, proposals = start(model)
    results, _ = model.roi_heads(images, features, [p[:n] for p, n in zip(proposals, numbers)])
    for result, number in zip(results, numbers):
        assert (len(result) == 0) is (number == 0)
        assert result.has("pred_masks") is mask_on
        if mask_on:
            assert result.pred_masks.shape == (len(result), 1, 4, 4)


def test_region_features_in_two_steps():
    model = tiny_model("c4")
    _, features, proposals = start(model)
    maps = [features[f] for f in model.roi_heads.in_features]
    boxes = [p.proposal_boxes for p in proposals]
    box_features = model.roi_heads._shared_roi_transform(maps, boxes)
    expected = regions(model.roi_heads.state_dict(), features["res4"], boxes, 4)
    torch.testing.assert_close(box_features, expected, rtol=1e-4, atol=1e-4)


def test_given_boxes_without_a_mask_head():
    given = [Instances((9, 9), pred_boxes=Boxes([]), pred_classes=torch.zeros(0, dtype=torch.int64))]
    assert tiny_model("c4").roi_heads.forward_with_given_boxes({}, given) is given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ROI_HEADS__IN_FEATURES": ["res3", "res4"]}, r"IN_FEATURES \['res3', 'res4'\].*one feature"),
        ({"ROI_HEADS__IN_FEATURES": []}, r"IN_FEATURES \[\].*one feature"),
        ({"KEYPOINT_ON": True}, "KEYPOINT_ON True.*StandardROIHeads"),
        ({"RESNETS__DEFORM_ON_PER_STAGE": [False, False, False, True]}, "cannot be deformable"),
        ({"ROI_HEADS__IN_FEATURES": ["res9"]}, r"is \['res9'\]: expected one or more of \['res4'\]"),
    ],
)
def test_misfits(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_cfg("c4", **changes))


def test_a_pooler_of_others_gets_all_regions():
    """What its ``output_size`` means, if it has one, is its own matter."""
    model = tiny_model("c4")
    heads, calls = model.roi_heads, []
    _, features, proposals = start(model)
    pool = heads.pooler

    class Own(torch.nn.Module):
        output_size = 4

        def forward(self, maps, boxes):
            calls.append(sum(map(len, boxes)))
            return pool(maps, boxes)

    heads.pooler, heads.exact = Own(), False
    boxes = [one.proposal_boxes for one in proposals]
    assert heads._box_features(features, boxes).shape[0] == sum(calls) == sum(map(len, boxes)) and len(calls) == 1
