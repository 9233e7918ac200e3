"""RetinaNet: the head's layers and keys, and the choice of detections."""

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg, tiny_image, tiny_model
from torch import nn
from torch.nn import functional as F

from litepred.errors import ConfigError
from litepred.layers import ShapeSpec
from litepred.modeling import Backbone, Box2BoxTransform, RetinaNet, build_model
from litepred.modeling.retinanet import RetinaNetHead
from litepred.structures import Boxes

NAN = float("nan")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def head(levels=2, convs=2, norm="", channels=4):
    shapes = [ShapeSpec(channels=channels)] * levels
    dims = [channels] * convs
    module = RetinaNetHead(input_shape=shapes, num_classes=3, num_anchors=2, conv_dims=dims, norm=norm)
    module = module.eval().requires_grad_(False)
    fill_with_golden_weights(module)
    return module


def tower(state, name, x, level, convs, norm):
    """Run one tower by the checkpoint entries ``state``."""
    step = 3 if norm else 2
    for i in range(convs):
        prefix = f"{name}.{step * i}"
        x = F.conv2d(x, state[f"{prefix}.weight"], state[f"{prefix}.bias"], padding=1)
        prefix = f"{name}.{step * i + 1}"
        if norm in ("BN", "SyncBN"):
            mean, var = (state[f"{prefix}.{level}.running_{key}"][:, None, None] for key in ("mean", "var"))
            scale, shift = state[f"{prefix}.weight"][:, None, None], state[f"{prefix}.bias"][:, None, None]
            x = (x - mean) / (var + 1e-5).sqrt() * scale + shift
        elif norm == "naiveSyncBN":
            x = F.batch_norm(x, *(state[f"{prefix}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))
        elif norm:
            x = F.group_norm(x, 32, state[f"{prefix}.weight"], state[f"{prefix}.bias"])
        x = x.relu()
    return x


@pytest.mark.parametrize("convs", [0, 1, 2])
@pytest.mark.parametrize(("norm", "channels"), [("", 4), ("BN", 4), ("SyncBN", 4), ("naiveSyncBN", 4), ("GN", 64)])
def test_head(convs, norm, channels):
    module = head(3, convs, norm, channels)
    state = module.state_dict()
    random = torch.Generator().manual_seed(0)
    features = [torch.randn(2, channels, side, side + 1, generator=random) for side in (4, 2, 1)]
    for _ in range(2):  # a second call sees the levels in the same order
        logits, deltas = module(features)
        for level, feature in enumerate(features):
            for name, answer, output in (("cls", logits, "cls_score"), ("bbox", deltas, "bbox_pred")):
                x = tower(state, f"{name}_subnet", feature, level, convs, norm)
                expected = F.conv2d(x, state[f"{output}.weight"], state[f"{output}.bias"], padding=1)
                torch.testing.assert_close(answer[level], expected, rtol=1e-4, atol=1e-5)
    assert (logits[0].shape, deltas[0].shape) == ((2, 6, 4, 5), (2, 8, 4, 5))


@pytest.mark.parametrize(
    ("norm", "keys"),
    [
        ("", ["0.weight", "0.bias", "2.weight", "2.bias"]),
        ("GN", ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight", "4.bias"]),
        (
            "BN",
            [
                f"{i}.{leaf}"
                for conv in (0, 3)
                for i, leaves in (
                    (conv, ["weight", "bias"]),
                    (
                        conv + 1,
                        ["weight", "bias"] + [f"{n}.{s}" for n in range(2) for s in STATISTICS],
                    ),
                )
                for leaf in leaves
            ],
        ),
    ],
)
def test_keys(norm, keys):
    state = head(2, 2, norm, 32).state_dict()
    outputs = [f"{name}.{leaf}" for name in ("cls_score", "bbox_pred") for leaf in ("weight", "bias")]
    assert list(state) == [f"{t}.{key}" for t in ("cls_subnet", "bbox_subnet") for key in keys] + outputs


class Prepared(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, features):
        return self.answer


class Nothing(Backbone):
    def forward(self, x):
        return dict.fromkeys("ab", x)


def detector(levels, classes=2, **kwargs):
    """A RetinaNet that sees one anchor per cell; ``levels`` lists boxes, each with a score per class."""
    anchors = [Boxes([box[:4] for box in level]) for level in levels]
    logits, deltas = [], []
    for level in levels:
        scores = torch.tensor([box[4:] for box in level], dtype=torch.float64).view(-1, classes)
        logits.append(torch.logit(scores).float().T.reshape(1, classes, 1, -1))
        deltas.append(torch.zeros(1, 4, 1, len(level)))
    return RetinaNet(
        backbone=Nothing(),
        pixel_mean=[0.0],
        pixel_std=[1.0],
        head=Prepared((logits, deltas)),
        head_in_features=["a", "b"][: len(levels)],
        anchor_generator=Prepared(anchors),
        box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
        num_classes=classes,
        **kwargs,
    )


def detect(levels, do_postprocess=False, size=(20, 30), **kwargs):
    (result,) = detector(levels, **kwargs).inference([{"image": torch.zeros(1, *size)}], do_postprocess=do_postprocess)
    result = result["instances"] if do_postprocess else result
    assert list(result.get_fields()) == ["pred_boxes", "scores", "pred_classes"]
    assert result.pred_classes.dtype == torch.int64
    boxes, classes = result.pred_boxes.tensor.tolist(), result.pred_classes.tolist()
    return [(*box, round(score, 4), k) for box, score, k in zip(boxes, result.scores.tolist(), classes)]


@pytest.mark.parametrize(
    ("levels", "kwargs", "expected"),
    [
        ([[(0, 0, 9, 9, 0.01, 0.02)]], {}, []),
        ([[(0, 0, 9, 9, 0.01, 0.02)], [(0, 0, 9, 9, 0.01, 0.5)]], {}, [(0, 0, 9, 9, 0.5, 1)]),
        # one anchor may be of several classes, which do not suppress each other
        ([[(0, 0, 9, 9, 0.25, 0.5)]], {}, [(0, 0, 9, 9, 0.5, 1), (0, 0, 9, 9, 0.25, 0)]),
        # levels do suppress each other
        ([[(0, 0, 9, 9, 0.25, 0.01)], [(0, 0, 9, 9, 0.5, 0.01)]], {}, [(0, 0, 9, 9, 0.5, 0)]),
        # half is not more than half
        ([[(0, 0, 8, 8, 0.5, 0.01), (0, 0, 8, 4, 0.25, 0.01)]], {}, [(0, 0, 8, 8, 0.5, 0), (0, 0, 8, 4, 0.25, 0)]),
        ([[(0, 0, 8, 8, 0.5, 0.01), (0, 0, 8, 4.25, 0.25, 0.01)]], {}, [(0, 0, 8, 8, 0.5, 0)]),
        # a score must exceed the threshold; sigmoid(0) is exactly one half
        ([[(0, 0, 9, 9, 0.5, 0.25)]], {"test_score_thresh": 0.5}, []),
        ([[(0, 0, 9, 9, 0.5, 0.25)]], {"test_score_thresh": 0.49999}, [(0, 0, 9, 9, 0.5, 0)]),
        # candidates are counted per level, over boxes and classes, before suppression
        (
            [[(0, 0, 9, 9, 0.5, 0.4), (10, 10, 19, 19, 0.3, 0.01)], [(20, 0, 29, 9, 0.2, 0.01)]],
            {"test_topk_candidates": 2},
            [(0, 0, 9, 9, 0.5, 0), (0, 0, 9, 9, 0.4, 1), (20, 0, 29, 9, 0.2, 0)],
        ),
        (
            [[(0, 0, 9, 9, 0.5, 0.4), (10, 10, 19, 19, 0.3, 0.01)], [(20, 0, 29, 9, 0.2, 0.01)]],
            {"max_detections_per_image": 2},
            [(0, 0, 9, 9, 0.5, 0), (0, 0, 9, 9, 0.4, 1)],
        ),
        # boxes keep what lies outside of the image
        ([[(-9, -9, 50, 40, 0.5, 0.01)]], {}, [(-9, -9, 50, 40, 0.5, 0)]),
    ],
)
def test_choice(levels, kwargs, expected):
    assert detect(levels, **kwargs) == expected


@pytest.mark.parametrize(("y", "x", "a", "k"), [(0, 0, 0, 0), (0, 2, 1, 1), (1, 0, 0, 2), (1, 2, 1, 0)])
def test_channels_and_cells(y, x, a, k):
    model = detector([[(0, 0, 1, 1, 0.01, 0.01, 0.01)]], classes=3)
    anchors = [[10.0 * i, 0, 10.0 * i + 4, 4] for i in range(2 * 3 * 2)]  # 2 × 3 cells of two anchors
    logits, deltas = torch.full((1, 2 * 3, 2, 3), -9.0), torch.zeros(1, 2 * 4, 2, 3)
    logits[0, 3 * a + k, y, x] = 0
    deltas[0, 4 * a + 1, y, x] = 0.5  # dy: half of a height of 4
    model.anchor_generator, model.head = Prepared([Boxes(anchors)]), Prepared(([logits], [deltas]))
    (result,) = model.inference([{"image": torch.zeros(1, 9, 9)}], do_postprocess=False)
    left = 10 * ((y * 3 + x) * 2 + a)
    assert result.pred_boxes.tensor.tolist() == [[left, 2, left + 4, 6]]
    assert (result.pred_classes.tolist(), result.scores.tolist()) == ([k], [0.5])


def test_boxes_are_suppressed_before_they_are_clipped():
    wide, wider = (-40, 0, 20, 20, 0.5, 0.01), (-100, 0, 20, 20, 0.25, 0.01)
    # IoU 60 / 120 as they are, and 1 once clipped
    assert detect([[wide, wider]]) == [(-40, 0, 20, 20, 0.5, 0), (-100, 0, 20, 20, 0.25, 0)]
    clipped = detect([[wide, wider]], do_postprocess=True)
    assert clipped == [(0, 0, 20, 20, 0.5, 0), (0, 0, 20, 20, 0.25, 0)]


def test_a_box_outside_may_be_suppressed_by_another_class():
    # Classes are told apart by moving them by the largest coordinate + 1, here 11: the second box comes to lie on
    # 3 … 13 and overlaps the first by 49 / 151, although its class is another one.
    boxes = [[(0, 0, 10, 10, 0.5, 0.01), (-8, -8, 2, 2, 0.01, 0.25)]]
    assert detect(boxes, test_nms_thresh=0.3) == [(0, 0, 10, 10, 0.5, 0)]
    assert len(detect(boxes, test_nms_thresh=0.33)) == 2


def test_empty_boxes_vanish_after_the_best_are_chosen():
    boxes = [[(40, 0, 50, 9, 0.5, 0.01), (0, 0, 9, 9, 0.25, 0.01), (10, 10, 19, 19, 0.125, 0.01)]]
    assert len(detect(boxes, max_detections_per_image=2)) == 2
    assert detect(boxes, do_postprocess=True, max_detections_per_image=2) == [(0, 0, 9, 9, 0.25, 0)]


@pytest.mark.parametrize("do_postprocess", [True, False])
def test_boxes_that_are_not_numbers_are_not_detected(do_postprocess):
    rows = [(0, NAN, 9, 9, 0.5, 0.01), (0, 0, 9, 9, 0.25, 0.01)]
    assert detect([rows], do_postprocess=do_postprocess) == [(0, 0, 9, 9, 0.25, 0)]


def test_wanted_size_and_two_images():
    model = tiny_model("retinanet")
    small, large = tiny_image(40, 30), tiny_image(64, 96, seed=1)
    raw = model.inference([{"image": small}, {"image": large}], do_postprocess=False)
    assert [r.image_size for r in raw] == [(40, 30), (64, 96)]
    results = model([{"image": small, "height": 80, "width": 90}, {"image": large}])
    assert [r["instances"].image_size for r in results] == [(80, 90), (64, 96)]
    for before, after, scale in zip(raw, results, [(3, 2, 3, 2), (1, 1, 1, 1)]):
        boxes = before.pred_boxes.tensor * torch.tensor(scale)
        height, width = after["instances"].image_size
        limits = torch.tensor([width, height, width, height])
        boxes = torch.minimum(boxes.clamp(min=0), limits)
        boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
        assert len(boxes) > 0
        assert torch.equal(after["instances"].pred_boxes.tensor, boxes)


def test_from_a_config():
    model = build_model(
        tiny_cfg(
            "retinanet",
            RETINANET__SCORE_THRESH_TEST=0.1,
            RETINANET__NMS_THRESH_TEST=0.2,
            RETINANET__TOPK_CANDIDATES_TEST=7,
            RETINANET__BBOX_REG_WEIGHTS=(1.0, 2.0, 3.0, 4.0),
            ROI_HEADS__SCORE_THRESH_TEST=0.9,  # not for RetinaNet
            ROI_HEADS__NMS_THRESH_TEST=0.9,
        )
    )
    assert (model.test_score_thresh, model.test_nms_thresh, model.test_topk_candidates) == (0.1, 0.2, 7)
    assert model.max_detections_per_image == 10
    assert model.box2box_transform.weights == (1, 2, 3, 4)
    shapes = {key: tuple(value.shape) for key, value in model.head.state_dict().items()}
    assert shapes["cls_score.weight"] == (2 * 3 * 3, 16, 3, 3)  # 6 anchors, 3 classes
    assert shapes["bbox_pred.weight"] == (6 * 4, 16, 3, 3)
    assert "cls_subnet.2.weight" not in shapes  # NUM_CONVS 1


@pytest.mark.parametrize("names", [["p2"], ["p3", "p8"], []])
def test_unknown_features(names):
    with pytest.raises(ConfigError, match=r"RETINANET.IN_FEATURES is .*expected one or more of \['p3', .*'p7'\]"):
        build_model(tiny_cfg("retinanet", RETINANET__IN_FEATURES=names))
