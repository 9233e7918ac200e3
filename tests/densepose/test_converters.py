from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from litepred import Boxes, Instances, LitepredError
from litepred.densepose import ToChartResultConverter, ToChartResultConverterWithConfidences, ToMaskConverter
from litepred.densepose.converters import (
    CompoundExtractor,
    DensePoseOutputsExtractor,
    DensePoseResultExtractor,
    create_extractor,
    extract_boxes_xywh_from_instances,
    extract_scores_from_instances,
)
from litepred.densepose.structures import (
    DensePoseChartPredictorOutput,
    DensePoseChartPredictorOutputWithConfidences,
)
from litepred.densepose.vis import VISUALIZERS, CompoundVisualizer

BOXES = [[1.5, 2, 11.5, 22], [0, 0, 5, 5], [4, 4, 8, 9]]


def noise(
    number: int = 1, coarse: int = 2, side: int = 12, seed: int = 0
) -> DensePoseChartPredictorOutputWithConfidences:
    generator = torch.Generator().manual_seed(seed)

    def maps(channels: int) -> torch.Tensor:
        return torch.randn(number, channels, side, side, generator=generator)

    return DensePoseChartPredictorOutputWithConfidences(
        maps(coarse), *(maps(25) for _ in range(3)), sigma_2=maps(25), kappa_u=maps(25), fine_segm_confidence=maps(1)
    )


@pytest.mark.parametrize(
    ("box", "size_hw"),
    [
        ([5.0, 5, 5, 5], (1, 1)),
        ([5.0, 5, 5.9, 30.2], (25, 1)),
        ([5.9, 5.9, 25.8, 7.8], (1, 19)),  # the difference is cut, not each end
        ([0.5, 0.5, 10.5, 20.5], (20, 10)),
        ([3.0, 4, 43, 64], (60, 40)),
    ],
)
@pytest.mark.parametrize("coarse", [2, 15])
def test_labels_and_coordinates(box, size_hw, coarse):
    output = noise(coarse=coarse)
    result = ToChartResultConverterWithConfidences.convert(output, Boxes([box]))
    assert result.labels.dtype == torch.int64 and result.uv.dtype == torch.float32
    assert tuple(result.labels.shape) == size_hw and tuple(result.uv.shape) == (2, *size_hw)
    big = {
        name: F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)[0]
        for name, maps in vars(output).items()
        if maps is not None
    }
    labels = torch.where(big["coarse_segm"].argmax(0) > 0, big["fine_segm"].argmax(0), 0)
    assert torch.equal(result.labels, labels)
    for name, ours in (
        ("u", result.uv[0]),
        ("v", result.uv[1]),
        ("sigma_2", result.sigma_2),
        ("kappa_u", result.kappa_u),
    ):
        for part in range(25):
            wanted = big[name][part] if part else torch.zeros(size_hw)
            assert torch.equal(ours[labels == part], wanted[labels == part])
    assert torch.equal(result.fine_segm_confidence, big["fine_segm_confidence"][0])
    assert result.sigma_1 is result.kappa_v is result.coarse_segm_confidence is None
    plain = ToChartResultConverter.convert(output, Boxes([box]))
    assert torch.equal(plain.labels, result.labels) and torch.equal(plain.uv, result.uv)


def test_maps_without_confidences():
    whole = noise()
    plain = DensePoseChartPredictorOutput(whole.coarse_segm, whole.fine_segm, whole.u, whole.v)
    result = ToChartResultConverterWithConfidences.convert(plain, Boxes([[0.0, 0, 9, 9]]))
    assert result.labels.shape == (9, 9) and result.sigma_2 is None


@pytest.mark.parametrize(("outputs", "boxes"), [(0, 0), (2, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize("converter", [ToChartResultConverter, ToChartResultConverterWithConfidences])
def test_anything_but_one_instance_is_refused(outputs, boxes, converter):
    with pytest.raises(LitepredError, match=f"{outputs} instances came with {boxes} boxes: expected one of each"):
        converter.convert(noise(outputs), Boxes(torch.ones(boxes, 4)))


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[2.0, 3, 12, 18]],
        [[0.0, 0, 30, 20], [10.7, 5.2, 29.9, 19.9]],
        [[4.5, 4.5, 4.9, 9]],  # one pixel wide
        [[-3.0, -3, 40, 40]],  # beyond the image
    ],
)
def test_masks(boxes):
    outputs = noise(len(boxes))
    masks = ToMaskConverter.convert(outputs, Boxes(torch.tensor(boxes).reshape(-1, 4)), (20, 30)).tensor
    assert tuple(masks.shape) == (len(boxes), 20, 30) and masks.dtype == torch.bool
    for i, box in enumerate(boxes):
        labels = ToChartResultConverter.convert(outputs[i], Boxes([box])).labels
        x, y = max(int(box[0]), 0), max(int(box[1]), 0)
        wanted = torch.zeros(20, 30, dtype=torch.bool)
        body = labels[: 20 - y, : 30 - x] > 0
        wanted[y : y + body.shape[0], x : x + body.shape[1]] = body
        assert torch.equal(masks[i], wanted)


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
