"""Instances that a predictor returned print as a table; others as Detectron2's do."""

from __future__ import annotations

import base64
import copy
import io
import pickle
import re
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from litepred.structures import Boxes, Instances, Origin, RotatedBoxes

SIZE = (30, 40)


def found(number=2, image=None, **fields):
    one = Instances(
        SIZE,
        pred_boxes=Boxes(torch.tensor([[1.0, 2, 30, 20.25], [0, 0, 10, 9]])[:1].repeat(number, 1)),
        scores=torch.linspace(0.9, 0.6, number),
        pred_classes=torch.arange(number) % 3,
        **fields,
    )
    one._origin = Origin(["cat", "dog"], image)
    return one


def test_none():
    assert str(found(0)) == "0 instances in 30 × 40 pixels"
    assert "<table>" not in found(0)._repr_html_()


def test_a_few():
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    assert str(found(3, pred_masks=masks, track_ids=torch.tensor([7, -1, 12]))).splitlines() == [
        "3 instances in 30 × 40 pixels, with pred_masks",
        "   class    track  score   x1   y1    x2    y2",
        "0  cat          7  0.900  1.0  2.0  30.0  20.2",
        "1  dog             0.750  1.0  2.0  30.0  20.2",
        "2  class_2     12  0.600  1.0  2.0  30.0  20.2",
    ]


def test_many():
    lines = str(found(60)).splitlines()
    assert len(lines) == 23 and lines[-1] == "… and 40 more"
    assert found(60)._repr_html_().count("<tr>") == 21


def test_proposals_and_rotated_boxes():
    proposals = Instances(SIZE, proposal_boxes=Boxes(torch.zeros(1, 4)), objectness_logits=torch.tensor([2.5]))
    proposals._origin = Origin()
    assert str(proposals).splitlines()[:2] == ["1 proposal in 30 × 40 pixels", "   objectness   x1   y1   x2   y2"]
    turned = Instances(SIZE, pred_boxes=RotatedBoxes(torch.tensor([[5.0, 6, 7, 8, 45]])), scores=torch.ones(1))
    turned._origin = Origin()
    assert str(turned).endswith("0  1.000  5.0  6.0    7.0     8.0   45.0")


def test_what_no_model_sets_is_told_as_detectron2_does():
    other = Instances(SIZE, gt_boxes=Boxes(torch.zeros(1, 4)))
    other._origin = Origin()
    assert str(other) == repr(other) and "gt_boxes" in str(other)
    assert other._repr_html_() is None


@pytest.mark.parametrize(
    "derive",
    [
        lambda one: one[one.scores > 0.7],
        lambda one: one.to("cpu"),
        lambda one: Instances.cat([one, one]),
        copy.deepcopy,
        lambda one: pickle.loads(pickle.dumps(one)),
    ],
)
def test_names_go_along(derive):
    assert "cat" in str(derive(found(image=weakref.ref(torch.zeros(1)))))


def test_the_picture_is_there_while_its_image_is(tmp_path):
    image = np.full((*SIZE, 3), 200, np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    shown = [found(image=str(tmp_path / "image.png")), found(image=weakref.ref(image))]
    for one in shown:
        data = re.search('src="data:image/png;base64,([^"]+)"', one._repr_html_())[1]
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert picture.shape == (480, 640, 3)
        assert (picture != 200).any()
    del image
    (tmp_path / "image.png").unlink()
    assert not any("<img" in one._repr_html_() for one in shown)
    assert "<img" not in found(image=weakref.ref(other := np.zeros((5, 5, 3), np.uint8)))._repr_html_(), other.shape


def test_html_is_escaped():
    one = found(1)
    one._origin = Origin(["<b>"])
    assert "&lt;b&gt;" in one._repr_html_() and "<b>" not in one._repr_html_()
