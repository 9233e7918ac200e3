"""The region proposal network, against a plain loop over anchors."""

import math

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg, tiny_image, tiny_model
from torch import nn
from torch.nn import functional as F

from litepred.layers import ShapeSpec
from litepred.modeling import RPN, Box2BoxTransform, DefaultAnchorGenerator, StandardRPNHead, build_rpn_head
from litepred.modeling.rpn import find_top_rpn_proposals
from litepred.structures import Boxes, ImageList, Instances

NAN, INF = float("nan"), float("inf")


def iou(a, b):
    overlap = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def propose(levels, image_size, pre, post, thresh, min_size=0.0):
    """Proposals of one image by definition; ``levels`` holds (anchor box, logit, deltas) in order."""
    kept = []
    for level in levels:
        chosen = []
        for anchor, logit, (dx, dy, dw, dh) in sorted(level, key=lambda candidate: -candidate[1])[:pre]:
            width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
            x, y = (anchor[0] + anchor[2]) / 2 + dx * width, (anchor[1] + anchor[3]) / 2 + dy * height
            width *= math.exp(min(dw, math.log(1000 / 16)))
            height *= math.exp(min(dh, math.log(1000 / 16)))
            box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            box = [min(max(v, 0), image_size[1 - i % 2]) for i, v in enumerate(box)]
            large = box[2] - box[0] > min_size and box[3] - box[1] > min_size
            if large and all(iou(box, other) <= thresh for other, _ in chosen):
                chosen.append((box, logit))
        kept += chosen
    return sorted(kept, key=lambda candidate: -candidate[1])[:post]


class Prepared(nn.Module):
    def __init__(self, *answer):
        super().__init__()
        self.answer = answer

    def forward(self, features):
        return self.answer


@pytest.mark.parametrize(
    ("pre", "post", "thresh", "min_size"),
    [(999, 999, 0.7, 0), (999, 7, 0.7, 0), (5, 999, 0.5, 0), (20, 12, 0.3, 6), (999, 999, 0.7, 99), (1, 1, 0.7, 0)],
)
def test_by_definition(pre, post, thresh, min_size):
    random = torch.Generator().manual_seed(0)
    shapes, anchors_per_cell, sizes = [(3, 4), (1, 2)], 3, [(20, 31), (24, 26)]
    logits = [torch.randn(2, anchors_per_cell, *shape, generator=random) for shape in shapes]
    deltas = [torch.randn(2, 4 * anchors_per_cell, *shape, generator=random) for shape in shapes]
    anchors = DefaultAnchorGenerator(sizes=[[8], [16]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[8, 16])
    rpn = RPN(
        in_features=["a", "b"],
        head=Prepared(logits, deltas),
        anchor_generator=anchors,
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        pre_nms_topk=pre,
        post_nms_topk=post,
        nms_thresh=thresh,
        min_box_size=min_size,
    )
    features = {"a": torch.zeros(2, 1, 3, 4), "b": torch.zeros(2, 1, 1, 2), "c": torch.zeros(())}
    proposals, losses = rpn(ImageList(torch.zeros(()), sizes), features)
    assert losses == {}
    boxes = [level.tensor.tolist() for level in anchors([features["a"], features["b"]])]
    for image, (result, size) in enumerate(zip(proposals, sizes)):
        levels = []
        for level, (_, width) in enumerate(shapes):
            levels.append([])
            for i, anchor in enumerate(boxes[level]):
                cell, a = divmod(i, anchors_per_cell)
                y, x = divmod(cell, width)
                delta = deltas[level][image, 4 * a : 4 * a + 4, y, x].tolist()
                levels[-1].append((anchor, logits[level][image, a, y, x].item(), delta))
        expected = propose(levels, size, pre, post, thresh, min_size)
        assert list(result.get_fields()) == ["proposal_boxes", "objectness_logits"]
        assert result.image_size == size
        assert result.objectness_logits.tolist() == [logit for _, logit in expected]
        wanted = torch.tensor([box for box, _ in expected]).view(-1, 4)
        torch.testing.assert_close(result.proposal_boxes.tensor, wanted, rtol=1e-4, atol=1e-4)


def top(levels, thresh=0.5, post=100, min_size=0.0, size=(20, 30)):
    """Call the function under test for one image: ``levels`` lists boxes with their logit."""
    boxes = [torch.tensor([box[:4] for box in level], dtype=torch.float32).view(1, -1, 4) for level in levels]
    logits = [torch.tensor([[box[4] for box in level]], dtype=torch.float32) for level in levels]
    (result,) = find_top_rpn_proposals(boxes, logits, [size], thresh, post, min_size)
    boxes, logits = result.proposal_boxes.tensor.tolist(), result.objectness_logits.tolist()
    return [(*box, logit) for box, logit in zip(boxes, logits)]


BOX = (0, 0, 10, 10, 5)


@pytest.mark.parametrize(
    ("levels", "kwargs", "expected"),
    [
        ([[]], {}, []),
        ([[], []], {}, []),
        ([[], [BOX]], {}, [BOX]),
        ([[BOX]], {"post": 0}, []),
        # clipped to the unpadded image, and gone when nothing is left of them
        ([[(-5, -5, 40, 40, 1)]], {}, [(0, 0, 30, 20, 1)]),
        ([[(31, 0, 40, 9, 1)]], {}, []),
        ([[(-9, -9, 0, 0, 1)]], {}, []),
        ([[(3, 3, 3, 9, 1), (3, 9, 9, 9, 2)]], {}, []),
        # both sides must be longer than the minimum
        ([[(0, 0, 4, 9, 1), (0, 0, 5, 4, 2), (9, 9, 14, 14.5, 3)]], {"min_size": 4}, [(9, 9, 14, 14.5, 3)]),
        ([[(0, 0, 4, 4, 1)]], {"min_size": 3.9}, [(0, 0, 4, 4, 1)]),
        ([[(26, 0, 34, 9, 1)]], {"min_size": 4}, []),  # after clipping
        # what is not finite goes first
        ([[(0, NAN, 9, 9, 1), BOX]], {}, [BOX]),
        ([[(0, 0, INF, 9, 1), BOX]], {}, [BOX]),
        ([[(0, 0, 9, 9, NAN), BOX]], {}, [BOX]),
        ([[(0, 0, 9, 9, INF)], [BOX]], {}, [BOX]),
        ([[(0, 0, 9, 9, NAN)]], {}, []),
        # overlap: half is not more than half
        ([[BOX, (0, 0, 10, 5, 4)]], {}, [BOX, (0, 0, 10, 5, 4)]),
        ([[BOX, (0, 0, 10, 5.125, 4)]], {}, [BOX]),
        ([[(0, 0, 10, 5.125, 4), BOX]], {}, [BOX]),
        ([[BOX], [(0, 0, 10, 10, 4)]], {}, [BOX, (0, 0, 10, 10, 4)]),  # levels do not suppress each other
        # the best over all levels remain, not the best of each
        (
            [[BOX, (12, 0, 20, 8, 4), (0, 12, 8, 20, 3)], [(12, 12, 20, 20, 2), (21, 0, 29, 8, 3.5)]],
            {"post": 3},
            [BOX, (12, 0, 20, 8, 4), (21, 0, 29, 8, 3.5)],
        ),
    ],
)
def test_choice(levels, kwargs, expected):
    assert top(levels, **kwargs) == expected


def test_images_are_apart():
    boxes = torch.tensor([[[0.0, 0, 9, 9]], [[0.0, 0, 99, 99]]])
    results = find_top_rpn_proposals([boxes], [torch.tensor([[1.0], [NAN]])], [(5, 5), (50, 50)], 0.7, 10, 0)
    assert [len(result) for result in results] == [1, 0]
    assert results[0].proposal_boxes.tensor.tolist() == [[0, 0, 5, 5]]
    assert results[1].proposal_boxes.tensor.shape == (0, 4)


@pytest.mark.parametrize(
    ("conv_dims", "shapes"),
    [
        ([-1], {"conv": (6, 6)}),
        ([8], {"conv": (8, 6)}),
        ([-1, -1], {"conv.conv0": (6, 6), "conv.conv1": (6, 6)}),
        ([8, -1, 4], {"conv.conv0": (8, 6), "conv.conv1": (8, 8), "conv.conv2": (4, 8)}),
    ],
)
@pytest.mark.parametrize("images", [0, 1, 2])
def test_head(conv_dims, shapes, images):
    head = StandardRPNHead(in_channels=6, num_anchors=2, conv_dims=conv_dims).requires_grad_(False)
    fill_with_golden_weights(head)
    state = head.state_dict()
    last = list(shapes.values())[-1][0]
    leaves = {name: (*shape, 3, 3) for name, shape in shapes.items()}
    leaves |= {"objectness_logits": (2, last, 1, 1), "anchor_deltas": (8, last, 1, 1)}
    assert {k: tuple(v.shape) for k, v in state.items() if k.endswith("weight")} == {
        f"{name}.weight": shape for name, shape in leaves.items()
    }
    assert {k for k in state if k.endswith("bias")} == {f"{name}.bias" for name in leaves}
    features = [torch.randn(images, 6, 3, 2), torch.randn(images, 6, 1, 1)]
    for feature, logits, deltas in zip(features, *head(features)):
        for name in shapes:
            feature = F.conv2d(feature, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()
        for name, answer in (("objectness_logits", logits), ("anchor_deltas", deltas)):
            expected = F.conv2d(feature, state[f"{name}.weight"], state[f"{name}.bias"])
            torch.testing.assert_close(answer, expected)


def test_head_from_a_config():
    anchors = {"ANCHOR_GENERATOR__SIZES": [[8, 16]], "ANCHOR_GENERATOR__ASPECT_RATIOS": [[1.0, 2.0]]}
    cfg = tiny_cfg(RPN__CONV_DIMS=[8, 8], **anchors)
    head = build_rpn_head(cfg, [ShapeSpec(channels=16, stride=4)] * 2)
    assert head.state_dict()["conv.conv0.weight"].shape == (8, 16, 3, 3)
    assert head.state_dict()["objectness_logits.weight"].shape == (4, 8, 1, 1)


def test_rpn_from_a_config():
    changes = {"RPN__NMS_THRESH": 0.6, "RPN__BBOX_REG_WEIGHTS": (1.0, 2.0, 3.0, 4.0), "PROPOSAL_GENERATOR__MIN_SIZE": 9}
    rpn = tiny_model(**changes).proposal_generator
    assert (rpn.pre_nms_topk, rpn.post_nms_topk) == ({False: 100}, {False: 30})
    assert (rpn.nms_thresh, rpn.min_box_size) == (0.6, 9.0)
    assert rpn.box2box_transform.weights == (1, 2, 3, 4)
    assert rpn.in_features == ["p2", "p3", "p4", "p5", "p6"]


def test_ground_truth_is_ignored_and_the_answer_unpacks():
    model = tiny_model()
    images = model.preprocess_image([{"image": tiny_image()}])
    features = model.backbone(images.tensor)
    truth = Instances((64, 96), gt_boxes=Boxes([[0, 0, 9, 9]]))
    whole = model.proposal_generator(images, features, [truth])
    (proposals, losses), (plain, _) = whole, model.proposal_generator(images, features)
    assert whole.instances is proposals
    assert whole.losses is losses == {}
    assert len(proposals) == 1
    assert len(proposals[0]) == 30
    assert torch.equal(proposals[0].proposal_boxes.tensor, plain[0].proposal_boxes.tensor)


def test_a_subclass_may_choose_proposals_itself():
    class Own(RPN):
        def predict_proposals(self, anchors, pred_objectness_logits, pred_anchor_deltas, image_sizes):
            shapes.extend(tuple(one.shape) for one in (*pred_objectness_logits, *pred_anchor_deltas))
            return super().predict_proposals(anchors, pred_objectness_logits, pred_anchor_deltas, image_sizes)[::-1]

    shapes = []
    random = torch.Generator().manual_seed(0)
    given = {
        "in_features": ["a"],
        "head": Prepared([torch.randn(2, 3, 4, 5, generator=random)], [torch.randn(2, 12, 4, 5, generator=random)]),
        "anchor_generator": DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[8]),
        "box2box_transform": Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        "pre_nms_topk": 50,
        "post_nms_topk": 9,
    }
    images, features = ImageList(torch.zeros(()), [(32, 40), (30, 33)]), {"a": torch.zeros(2, 1, 4, 5)}
    ours, plain = Own(**given)(images, features)[0], RPN(**given)(images, features)[0]
    assert shapes == [(2, 60), (2, 60, 4)]
    for one, other in zip(ours, plain[::-1], strict=True):
        assert one.proposal_boxes.tensor.equal(other.proposal_boxes.tensor)
