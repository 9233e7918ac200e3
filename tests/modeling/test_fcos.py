"""FCOS: the head's layers, what is made of its predictions, and Detectron2's answers."""

from __future__ import annotations

import math

import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import tiny_cfg, tiny_image
from torch import nn

from litepred.layers import ShapeSpec
from litepred.modeling import FCOS, Backbone, DenseDetector, FCOSHead, build_backbone
from litepred.structures import Boxes

LEVELS = ["p3", "p4", "p5", "p6", "p7"]


class Fixed(nn.Module):
    """A head that predicts what it was given, for the only level."""

    def __init__(self, predictions):
        super().__init__()
        self.predictions = [[x] for x in predictions]

    def forward(self, features):
        return self.predictions


class Strides(Backbone):
    """Maps of strides 8 and 4, in this order."""

    def forward(self, x):
        return {"coarse": x[..., ::8, ::8], "fine": x[..., ::4, ::4]}

    def output_shape(self):
        return {"coarse": ShapeSpec(channels=1, stride=8), "fine": ShapeSpec(channels=1, stride=4)}


NORM = {"pixel_mean": [0.0], "pixel_std": [1.0]}


def detect(logits, distances, centrality, **options):
    """Find in an image of 16 × 24 pixels, of which the coarse map has 2 × 3 cells."""
    model = FCOS(
        backbone=Strides(),
        head=Fixed((logits, distances, centrality)),
        head_in_features=["coarse"],
        num_classes=logits.shape[1],
        **{**NORM, **options},
    )
    (found,) = model.inference([{"image": torch.zeros(1, 16, 24)}], do_postprocess=False)
    fields = (found.pred_boxes.tensor, found.scores, found.pred_classes)
    return [(*box, round(score, 4), label) for box, score, label in zip(*(field.tolist() for field in fields))]


def nothing(classes=2):
    return torch.full((1, classes, 2, 3), -99.0), torch.zeros(1, 4, 2, 3), torch.zeros(1, 1, 2, 3)


def test_nothing():
    assert detect(*nothing()) == []


@pytest.mark.parametrize(
    ("cell", "distances", "expected"),
    [
        ((0, 0), [0.5, 0.25, 1, 2], [0, 2, 12, 20]),  # the cell's centre is (4, 4), its stride 8
        ((1, 2), [0.5, 0.25, 1, 2], [16, 10, 28, 28]),
        ((0, 1), [-3, 0, 1, 1], [12, 4, 20, 12]),  # a distance below 0 is 0
    ],
)
def test_distances_come_in_strides(cell, distances, expected):
    logits, deltas, centrality = nothing()
    logits[0, 1][cell] = 99
    deltas[0][:, cell[0], cell[1]] = torch.tensor(distances)
    assert detect(logits, deltas, centrality) == [(*expected, round(math.sqrt(0.5), 4), 1)]


@pytest.mark.parametrize(("centrality", "score"), [(99.0, 1.0), (0.0, 0.7071), (-2.0, 0.3453), (-4.0, None)])
def test_centrality_lowers_scores(centrality, score):
    logits, deltas, central = nothing(classes=1)
    logits[0, 0, 0, 0], central[0, 0, 0, 0], deltas[0, :, 0, 0] = 99, centrality, 1
    assert [one[4] for one in detect(logits, deltas, central)] == ([] if score is None else [score])


def test_cells_of_one_object_suppress_each_other():
    logits, deltas, centrality = nothing(classes=1)
    logits[0, 0, 0, :2] = torch.tensor([99.0, 3.0])
    deltas[0, :, 0, 0], deltas[0, :, 0, 1] = torch.tensor([0, 0, 2, 1]), torch.tensor([1, 0, 1, 1])
    assert len(detect(logits, deltas, centrality)) == 1
    assert len(detect(logits, deltas, centrality, test_nms_thresh=1.0)) == 2


def test_all_maps_by_default():
    model = FCOS(backbone=Strides(), head=nn.Identity(), num_classes=1, **NORM)
    assert model.head_in_features == ["fine", "coarse"]
    assert model.anchor_generator.strides == [4, 8]


@pytest.mark.parametrize("norm", ["", "GN", "BN"])
def test_head(norm):
    head = FCOSHead(
        input_shape=[ShapeSpec(channels=32)] * 2, num_classes=3, conv_dims=[32], norm=norm, prior_prob=0.01
    ).eval()
    features = [torch.rand(2, 32, 4, 5), torch.rand(2, 32, 2, 3)]
    predictions = head(features)
    assert [[tuple(x.shape[1:]) for x in levels] for levels in predictions] == [
        [(numbers, 4, 5), (numbers, 2, 3)] for numbers in (3, 4, 1)
    ]
    alone = [levels[1] for levels in head([features[0], features[1][:1]])]
    for whole, part in zip(predictions, alone):
        torch.testing.assert_close(whole[1][:1], part)


def tiny_fcos():
    torch.manual_seed(0)
    backbone = build_backbone(tiny_cfg("retinanet"))
    head = FCOSHead(input_shape=[ShapeSpec(channels=16)] * 5, num_classes=3, conv_dims=[16])
    std = {"pixel_mean": [103.53, 116.28, 123.675], "pixel_std": [1.0] * 3}
    model = FCOS(backbone=backbone, head=head, head_in_features=LEVELS, num_classes=3, **std).eval()
    fill_with_golden_weights(model)
    return model


# What Detectron2's FCOS finds with these weights: the three best of each image, and how many in all.
ANSWERS = [
    (
        61,
        [
            [20.3809, 71.0154, 28.0, 89.5107, 0.9309, 1.0],
            [0.0, 88.0, 4.0, 100.0183, 0.9077, 0.0],
            [2.6913, 118.7316, 12.0, 127.448, 0.7967, 0.0],
        ],
    ),
    (
        33,
        [
            [76.0, 5.7872, 80.0, 12.0, 0.8828, 0.0],
            [36.0, 0.0, 37.0791, 4.0, 0.7767, 2.0],
            [18.3531, 57.7484, 28.0, 60.0, 0.6537, 1.0],
        ],
    ),
]


def test_detectron2s_answers():
    model = tiny_fcos()
    found = model([{"image": tiny_image(64, 96), "height": 128, "width": 96}, {"image": tiny_image(64, 80, seed=1)}])
    for one, (number, best) in zip(found, ANSWERS, strict=True):
        instances = one["instances"]
        rows = [instances.pred_boxes.tensor, instances.scores[:, None], instances.pred_classes[:, None]]
        assert len(instances) == number
        torch.testing.assert_close(torch.cat(rows, dim=1)[: len(best)], torch.tensor(best), rtol=0, atol=1e-3)


class Points(DenseDetector):
    """A detector of somebody's own: classes alone, and the anchors are the boxes."""

    def forward_inference(self, images, features, predictions):
        (logits,) = self._transpose_dense_predictions(predictions, [2])
        anchors = [Boxes(torch.arange(24.0).view(6, 4) / 2)]
        scores, deltas = [level[0].sigmoid() for level in logits], [torch.zeros(6, 4)]
        return [self._decode_multi_level_predictions(anchors, scores, deltas, 0.5, 2, images.image_sizes[0])]


class Same:
    def apply_deltas(self, deltas, boxes):
        return boxes + deltas


def test_a_dense_detector_of_ones_own():
    logits = torch.full((1, 2, 2, 3), -1.0)
    logits[0, 0, 0, 1], logits[0, 1, 1, 2], logits[0, 1, 0, 0] = 1, 3, 2
    model = Points(Strides(), Fixed([logits]), ["coarse"], **NORM)
    model.box2box_transform = Same()
    (found,) = model([{"image": torch.zeros(1, 16, 24), "height": 32, "width": 24}])
    instances = found["instances"]
    # The best two are of the last cell and the first, whose boxes are 10 to 11.5 and 0 to 1.5, with the height doubled.
    assert instances.pred_classes.tolist() == [1, 1]
    assert instances.pred_boxes.tensor.tolist() == [[10, 21, 11, 23], [0, 1, 1, 3]]
    with pytest.raises(NotImplementedError, match="DenseDetector has no forward_inference"):
        DenseDetector(Strides(), nn.Identity(), **NORM)([{"image": torch.zeros(1, 16, 24)}])
