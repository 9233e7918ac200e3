"""From class logits and deltas to detections."""

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder

from litepred.layers import ShapeSpec
from litepred.modeling import Box2BoxTransform, FastRCNNOutputLayers
from litepred.modeling.roi_heads import fast_rcnn_inference, fast_rcnn_inference_single_image
from litepred.structures import Boxes, Instances

NAN, INF = float("nan"), float("inf")
OUTPUTS = ("cls_score", "bbox_pred")
A, B, C = [0, 0, 8, 8], [10, 10, 20, 20], [22, 0, 30, 8]
SIZE = (20, 30)


def detect(boxes, scores, thresh=0.05, nms=0.5, topk=100, classes=2):
    """Call the function under test: (x1, y1, x2, y2, score, class, proposal) of each detection."""
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(len(scores), -1)
    scores = torch.tensor(scores, dtype=torch.float32).view(len(scores), classes + 1)
    result, rows = fast_rcnn_inference_single_image(boxes, scores, SIZE, thresh, nms, topk)
    assert result.image_size == SIZE
    assert list(result.get_fields()) == ["pred_boxes", "scores", "pred_classes"]
    assert result.pred_classes.dtype == rows.dtype == torch.int64
    values = zip(result.pred_boxes.tensor, result.scores, result.pred_classes.tolist(), rows.tolist())
    return [(*box.tolist(), round(score.item(), 4), label, row) for box, score, label, row in values]


@pytest.mark.parametrize("columns", [4, 8, 4 * 80])
def test_no_proposals(columns):
    classes = max(columns // 4, 2)
    result, rows = fast_rcnn_inference_single_image(
        torch.zeros(0, columns), torch.zeros(0, classes + 1), SIZE, 0.05, 0.5, 100
    )
    assert result.pred_boxes.tensor.shape == (0, 4)
    assert (result.scores.shape, result.scores.dtype) == ((0,), torch.float32)
    assert (result.pred_classes.shape, result.pred_classes.dtype) == ((0,), torch.int64)
    assert rows.shape == (0,)


@pytest.mark.parametrize(
    ("boxes", "scores", "kwargs", "expected"),
    [
        ([A], [[0.01, 0.02, 0.9]], {}, []),  # background is the last and never reported
        ([A], [[0.25, 0.02, 0.9]], {}, [(*A, 0.25, 0, 0)]),
        # best first, whatever the class
        (
            [A, B, C],
            [[0.25, 0, 0], [0, 0.75, 0], [0.5, 0, 0]],
            {},
            [(*B, 0.75, 1, 1), (*C, 0.5, 0, 2), (*A, 0.25, 0, 0)],
        ),
        # a proposal may be of several classes, each with a box of its own
        ([[*A, *B]], [[0.25, 0.5, 0]], {}, [(*B, 0.5, 1, 0), (*A, 0.25, 0, 0)]),
        ([A], [[0.25, 0.5, 0]], {}, [(*A, 0.5, 1, 0), (*A, 0.25, 0, 0)]),  # or with a shared one
        # a score must exceed the threshold, in float32
        ([A], [[0.05, 0, 0]], {}, []),
        ([A], [[0.050001, 0, 0]], {}, [(*A, 0.05, 0, 0)]),
        ([A], [[0.5, 0.25, 0]], {"thresh": 0.25}, [(*A, 0.5, 0, 0)]),
        ([A], [[0.0, 0.25, 0]], {"thresh": 0.0}, [(*A, 0.25, 1, 0)]),
        # half is not more than half, and classes do not suppress each other
        ([A, [0, 0, 8, 4]], [[0.5, 0, 0], [0.25, 0, 0]], {}, [(*A, 0.5, 0, 0), (0, 0, 8, 4, 0.25, 0, 1)]),
        ([A, [0, 0, 8, 4.25]], [[0.5, 0, 0], [0.25, 0, 0]], {}, [(*A, 0.5, 0, 0)]),
        ([[0, 0, 8, 4.25], A], [[0.25, 0, 0], [0.5, 0, 0]], {}, [(*A, 0.5, 0, 1)]),
        ([A, A], [[0.5, 0, 0], [0, 0.25, 0]], {}, [(*A, 0.5, 0, 0), (*A, 0.25, 1, 1)]),
        ([A, A], [[0.5, 0, 0], [0.25, 0, 0]], {"nms": 1.0}, [(*A, 0.5, 0, 0), (*A, 0.25, 0, 1)]),
        # clipped to the image before overlaps are counted
        ([[-8, -8, 40, 40]], [[0.5, 0, 0]], {}, [(0, 0, 30, 20, 0.5, 0, 0)]),
        ([[0, 0, 30, 20], [0, 0, 90, 90]], [[0.5, 0, 0], [0.25, 0, 0]], {}, [(0, 0, 30, 20, 0.5, 0, 0)]),
        # the number of detections
        ([A, B, C], [[0.25, 0, 0], [0.75, 0, 0], [0.5, 0, 0]], {"topk": 0}, []),
        ([A, B, C], [[0.25, 0, 0], [0.75, 0, 0], [0.5, 0, 0]], {"topk": 2}, [(*B, 0.75, 0, 1), (*C, 0.5, 0, 2)]),
        (
            [A, B, C],
            [[0.25, 0, 0], [0.75, 0, 0], [0.5, 0, 0]],
            {"topk": -1},
            [(*B, 0.75, 0, 1), (*C, 0.5, 0, 2), (*A, 0.25, 0, 0)],
        ),
        # a row with anything that is not finite goes; the others keep their number
        ([[NAN, 0, 8, 8], B], [[0.5, 0, 0], [0.25, 0, 0]], {}, [(*B, 0.25, 0, 1)]),
        ([[0, 0, INF, 8], B], [[0.5, 0, 0], [0.25, 0, 0]], {}, [(*B, 0.25, 0, 1)]),
        ([A, B], [[NAN, 0.5, 0], [0.25, 0, 0]], {}, [(*B, 0.25, 0, 1)]),
        ([A, B], [[0.5, 0, NAN], [0.25, 0, 0]], {}, [(*B, 0.25, 0, 1)]),  # the background counts as well
        ([[*A, NAN, 0, 1, 1], [*B, *C]], [[0.5, 0, 0], [0.25, 0, 0]], {}, [(*B, 0.25, 0, 1)]),
        ([[NAN] * 4], [[0.5, 0, 0]], {}, []),
        # boxes without area are detections like others here, and take their place
        ([[3, 3, 3, 9], A], [[0.5, 0, 0], [0.25, 0, 0]], {}, [(3, 3, 3, 9, 0.5, 0, 0), (*A, 0.25, 0, 1)]),
        ([[40, 0, 50, 9], A], [[0.5, 0, 0], [0.25, 0, 0]], {"topk": 1}, [(30, 0, 30, 9, 0.5, 0, 0)]),
    ],
)
def test_choice(boxes, scores, kwargs, expected):
    assert detect(boxes, scores, **kwargs) == expected


def test_one_class():
    assert detect([A, B], [[0.25, 0.75], [0.5, 0.5]], classes=1) == [(*B, 0.5, 0, 1), (*A, 0.25, 0, 0)]


def test_images_are_apart():
    boxes = [torch.tensor([A, B], dtype=torch.float32), torch.zeros(0, 4), torch.tensor([A], dtype=torch.float32)]
    scores = [torch.tensor([[0.25, 0.75], [0.5, 0.5]]), torch.zeros(0, 2), torch.tensor([[0.75, 0.25]])]
    results, rows = fast_rcnn_inference(boxes, scores, [SIZE, (1, 1), (5, 5)], 0.05, 0.5, 100)
    assert [r.image_size for r in results] == [SIZE, (1, 1), (5, 5)]
    assert [r.tolist() for r in rows] == [[1, 0], [], [0]]
    assert [r.scores.tolist() for r in results] == [[0.5, 0.25], [], [0.75]]
    assert results[2].pred_boxes.tensor.tolist() == [[0, 0, 5, 5]]


def layers(shape=None, **kwargs):
    arguments = {"box2box_transform": Box2BoxTransform((10, 10, 5, 5)), "num_classes": 3, **kwargs}
    module = FastRCNNOutputLayers(shape or ShapeSpec(channels=6), **arguments)
    fill_with_golden_weights(module.requires_grad_(False))
    return module


def proposals(*numbers):
    random = torch.Generator().manual_seed(0)
    corners = [torch.rand(number, 2, 2, generator=random) * 15 for number in numbers]
    return [Instances(SIZE, proposal_boxes=Boxes(torch.cat([c[:, 0], c[:, 0] + c[:, 1]], dim=1))) for c in corners]


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize(
    ("shape", "inputs"),
    [
        (ShapeSpec(channels=6), (6,)),
        (ShapeSpec(channels=6, height=1, width=1), (6,)),
        (ShapeSpec(channels=2, height=3, width=4), (2, 3, 4)),  # a map is flattened
    ],
)
@pytest.mark.parametrize("agnostic", [True, False])
def test_layers(rows, shape, inputs, agnostic):
    module = layers(shape, cls_agnostic_bbox_reg=agnostic)
    x = torch.randn(rows, *inputs, generator=torch.Generator().manual_seed(0))
    state = module.state_dict()
    expected = [F.linear(x.flatten(1), *(state[f"{n}.{k}"] for k in ("weight", "bias"))) for n in OUTPUTS]
    logits, deltas = module(x)
    torch.testing.assert_close([logits, deltas], expected)
    assert (logits.shape, deltas.shape) == ((rows, 4), (rows, 4 if agnostic else 12))
    assert list(state) == ["cls_score.weight", "cls_score.bias", "bbox_pred.weight", "bbox_pred.bias"]


@pytest.mark.parametrize("numbers", [(0,), (3,), (2, 0, 3), (0, 0)])
@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("agnostic", [True, False])
def test_reading_the_answers(numbers, sigmoid, agnostic):
    module = layers(use_sigmoid_ce=sigmoid, cls_agnostic_bbox_reg=agnostic)
    rows, given = sum(numbers), proposals(*numbers)
    random = torch.Generator().manual_seed(1)
    answer = torch.randn(rows, 4, generator=random), torch.randn(rows, 4 if agnostic else 12, generator=random)
    boxes, scores = module.predict_boxes(answer, given), module.predict_probs(answer, given)
    assert [len(b) for b in boxes] == [len(s) for s in scores] == list(numbers)
    powers = answer[0].exp()
    expected = powers / (1 + powers) if sigmoid else powers / powers.sum(1, keepdim=True)  # no renormalisation
    torch.testing.assert_close(torch.cat(scores), expected)
    reference = torch.cat([p.proposal_boxes.tensor for p in given])
    decoded = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(answer[1], reference)
    assert torch.equal(torch.cat(boxes), decoded)


def test_inference_uses_all_settings():
    module = layers(test_score_thresh=0.3, test_nms_thresh=0.2, test_topk_per_image=1, cls_agnostic_bbox_reg=True)
    given = [Instances(SIZE, proposal_boxes=Boxes([A, [0, 0, 8, 4], B])), Instances(SIZE, proposal_boxes=Boxes([C]))]
    # a class's probability is 0.9, 0.6 and 0.6 in the first image, and 0.31 at most in the second
    scores = [[0.9, 0.05, 0.03, 0.02], [0.6, 0.2, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.31, 0.1, 0.29, 0.3]]
    logits = torch.tensor(scores).log()
    results, rows = module.inference((logits, torch.zeros(4, 4)), given)
    assert [r.pred_boxes.tensor.tolist() for r in results] == [[A], [C]]
    assert [r.tolist() for r in rows] == [[0], [0]]
    module.test_topk_per_image = -1
    assert [r.tolist() for r in module.inference((logits, torch.zeros(4, 4)), given)[1]] == [[0, 2], [0]]
    module.test_nms_thresh = 0.6
    assert [r.tolist() for r in module.inference((logits, torch.zeros(4, 4)), given)[1]] == [[0, 1, 2], [0]]


def test_from_a_config():
    cfg = tiny_cfg(
        ROI_HEADS__SCORE_THRESH_TEST=0.3,
        ROI_HEADS__NMS_THRESH_TEST=0.4,
        ROI_BOX_HEAD__BBOX_REG_WEIGHTS=(1.0, 2.0, 3.0, 4.0),
        ROI_BOX_HEAD__USE_SIGMOID_CE=True,
        ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG=True,
    )
    module = FastRCNNOutputLayers(cfg, ShapeSpec(channels=6))
    assert (module.test_score_thresh, module.test_nms_thresh, module.test_topk_per_image) == (0.3, 0.4, 10)
    assert module.box2box_transform.weights == (1, 2, 3, 4)
    assert module.use_sigmoid_ce
    assert module.num_classes == 3
    assert (module.cls_score.weight.shape, module.bbox_pred.weight.shape) == ((4, 6), (4, 6))
