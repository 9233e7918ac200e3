from __future__ import annotations

import pytest
import torch

from litepred import Boxes, Instances
from litepred.densepose.extractor import (
    CompoundExtractor,
    DensePoseOutputsExtractor,
    DensePoseResultExtractor,
    create_extractor,
    extract_boxes_xywh_from_instances,
    extract_scores_from_instances,
)
from litepred.densepose.structures import DensePoseChartPredictorOutput
from litepred.densepose.vis import VISUALIZERS, CompoundVisualizer

BOXES = [[1.5, 2, 11.5, 22], [0, 0, 5, 5], [4, 4, 8, 9]]


def people(number: int) -> Instances:
    maps = [torch.randn(number, channels, 8, 8) for channels in (2, 25, 25, 25)]
    return Instances(
        (30, 40),
        pred_boxes=Boxes(torch.tensor(BOXES[:number]).reshape(-1, 4)),
        scores=torch.tensor([0.9, 0.8, 0.7][:number]),
        pred_densepose=DensePoseChartPredictorOutput(*maps),
    )


@pytest.mark.parametrize("number", [0, 1, 3])
def test_results_with_their_boxes(number):
    results, boxes = DensePoseResultExtractor()(people(number))
    assert len(results) == number and tuple(boxes.shape) == (number, 4)
    assert boxes.tolist() == [[1.5, 2, 10, 20], [0, 0, 5, 5], [4, 4, 4, 5]][:number]
    assert [tuple(result.labels.shape) for result in results] == [(20, 10), (5, 5), (5, 4)][:number]


@pytest.mark.parametrize("missing", ["pred_densepose", "pred_boxes"])
def test_nothing_without_maps_or_boxes(missing):
    instances = people(2)
    instances.remove(missing)
    assert DensePoseResultExtractor()(instances) == (None, None)


@pytest.mark.parametrize("select", [torch.tensor([False, True, True]), slice(1, None), [1, 2], torch.tensor([1, 2])])
def test_selected_results_come_with_their_own_boxes(select):
    results, boxes = DensePoseResultExtractor()(people(3), select)
    assert [tuple(result.labels.shape) for result in results] == [(5, 5), (5, 4)]
    assert boxes.tolist() == [[0, 0, 5, 5], [4, 4, 4, 5]]
    assert extract_scores_from_instances(people(3), select).tolist() == pytest.approx([0.8, 0.7])


def test_maps_as_they_are():
    maps, boxes, classes = DensePoseOutputsExtractor()(people(3), [2])
    assert len(maps) == 1 and boxes.tolist() == [[4, 4, 4, 5]] and classes is None
    instances = people(2)
    instances.pred_classes = torch.tensor([0, 0])
    assert DensePoseOutputsExtractor()(instances)[2] == [0, 0]
    instances.remove("pred_densepose")
    assert DensePoseOutputsExtractor()(instances) == (None, None, None)


def test_boxes_and_scores():
    assert extract_boxes_xywh_from_instances(Instances((3, 3))) is None
    assert extract_scores_from_instances(Instances((3, 3))) is None


def test_the_instances_are_left_as_they_are():
    instances = people(2)
    extract_boxes_xywh_from_instances(instances)
    assert instances.pred_boxes.tensor.tolist() == BOXES[:2]


def test_an_extractor_for_each_visualiser():
    compound = create_extractor(CompoundVisualizer([kind() for kind in VISUALIZERS.values()]))
    assert isinstance(compound, CompoundExtractor)
    *maps, (boxes, scores) = compound(people(2))
    assert all(len(results) == len(those) == 2 for results, those in maps)
    assert len(boxes) == len(scores) == 2
    with pytest.raises(AttributeError, match="extractor"):
        create_extractor(object())
