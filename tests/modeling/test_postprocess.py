"""From the network's pixels to the wanted ones."""

import pytest
import torch
from torch.nn import functional as F

from litepred.errors import LitepredError
from litepred.modeling import detector_postprocess, sem_seg_postprocess
from litepred.modeling.postprocess import MASK_FORMATS
from litepred.structures import Boxes, Instances, ROIMasks, instance_mask


def results(boxes, size=(10, 20), **fields):
    return Instances(size, pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)), **fields)


@pytest.mark.parametrize("size", [(1, 1), (10, 20), (33, 7)])
def test_nothing_found(size):
    raw = results(
        [],
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
        pred_masks=torch.zeros(0, 1, 28, 28),
        pred_keypoints=torch.zeros(0, 17, 3),
        pred_keypoint_heatmaps=torch.zeros(0, 17, 56, 56),
    )
    scaled = detector_postprocess(raw, *size)
    assert scaled.image_size == size
    assert len(scaled) == 0
    assert scaled.pred_boxes.tensor.shape == (0, 4)
    assert (scaled.pred_masks.shape, scaled.pred_masks.dtype) == ((0, *size), torch.bool)
    assert scaled.pred_keypoints.shape == (0, 17, 3)
    assert list(scaled.get_fields()) == list(raw.get_fields())


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((10, 20), [1, 2, 3, 4], [1, 2, 3, 4]),
        ((20, 20), [1, 2, 3, 4], [1, 4, 3, 8]),  # the two axes have scales of their own
        ((5, 60), [1, 2, 3, 4], [3, 1, 9, 2]),
        ((20, 40), [-3, -2, 30, 30], [0, 0, 40, 20]),
        ((10, 20), [19, 9, 21, 11], [19, 9, 20, 10]),
        ((10, 20), [20, 0, 30, 5], None),  # nothing is left of it
        ((10, 20), [3, 3, 3, 5], None),  # no area
        ((10, 20), [3, 5, 9, 5], None),
        ((10, 20), [5, 5, 3, 9], None),  # inverted
    ],
)
@pytest.mark.parametrize("field", ["pred_boxes", "proposal_boxes"])
def test_boxes(field, size, box, expected):
    raw = Instances((10, 20), **{field: Boxes([[0, 0, 20, 10], box]), "scores": torch.tensor([0.25, 0.5])})
    scaled = detector_postprocess(raw, *size)
    whole = [0, 0, size[1], size[0]]
    assert scaled.image_size == size
    assert scaled.get(field).tensor.tolist() == ([whole, expected] if expected else [whole])
    assert scaled.scores.tolist() == ([0.25, 0.5] if expected else [0.25])


@pytest.mark.parametrize("form", [lambda masks: masks, lambda masks: ROIMasks(masks[:, 0])])
def test_masks_are_pasted_into_the_scaled_and_clipped_box(form):
    left_half = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    raw = results([[4, 0, 12, 10], [3, 3, 3, 3], [16, 5, 24, 10]], pred_masks=form(left_half.expand(3, 1, 2, 2)))
    scaled = detector_postprocess(raw, 20, 40)  # boxes 8…24 × 0…20 and, clipped, 32…40 × 10…20
    assert (scaled.pred_masks.shape, scaled.pred_masks.dtype) == ((2, 20, 40), torch.bool)
    # The mask falls from 1 to 0 between a quarter and three quarters of the box, past 1/2 in its middle.
    columns = torch.arange(40) + 0.5
    assert torch.equal(scaled.pred_masks[0, 10], (columns > 8) & (columns < 16))
    assert torch.equal(scaled.pred_masks[1, 15], (columns > 32) & (columns < 36))


@pytest.mark.parametrize(("threshold", "pixels"), [(0.7, 0), (0.6, 16)])
def test_mask_threshold(threshold, pixels):
    raw = results([[2, 2, 6, 6]], pred_masks=torch.full((1, 1, 8, 8), 0.65))
    assert detector_postprocess(raw, 10, 20, mask_threshold=threshold).pred_masks.sum() == pixels


def test_keypoints_are_scaled_but_not_clipped():
    points = torch.tensor([[[1.0, 2.0, 0.5], [-4.0, 30.0, 1.5]], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    heatmaps = torch.rand(2, 2, 4, 4)
    raw = results([[0, 0, 9, 9], [3, 3, 3, 3]], pred_keypoints=points.clone(), pred_keypoint_heatmaps=heatmaps)
    scaled = detector_postprocess(raw, 20, 60)
    assert scaled.pred_keypoints.tolist() == [[[3, 4, 0.5], [-12, 60, 1.5]]]
    assert torch.equal(scaled.pred_keypoint_heatmaps, heatmaps[:1])
    assert torch.equal(raw.pred_keypoints, points)


def test_its_input_is_left_as_it_is():
    tensor = torch.tensor([[1.0, 2, 3, 4], [5, 5, 5, 5]])
    masks = torch.rand(2, 1, 4, 4)
    raw = Instances((10, 20), pred_boxes=Boxes(tensor), pred_masks=masks)
    scaled = detector_postprocess(raw, 100, 100)
    scaled.pred_boxes.tensor.zero_()
    assert raw.image_size == (10, 20)
    assert raw.pred_boxes.tensor is tensor
    assert tensor.tolist() == [[1, 2, 3, 4], [5, 5, 5, 5]]
    assert raw.pred_masks is masks
    assert len(raw) == 2


@pytest.mark.parametrize("fields", [{}, {"scores": torch.zeros(1)}])
def test_boxes_are_needed(fields):
    with pytest.raises(LitepredError, match="expected pred_boxes or proposal_boxes"):
        detector_postprocess(Instances((5, 5), **fields), 5, 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_boxes_that_are_not_finite_are_dropped(value):
    scaled = detector_postprocess(results([[0, 0, value, 1], [0, 0, 1, 1], [0, 0, 1, 3e38]]), 99, 99)
    assert len(scaled) == 1
    assert scaled.pred_boxes.tensor.isfinite().all()


@pytest.mark.parametrize(
    ("size", "wanted"), [((1, 1), (1, 1)), ((6, 8), (6, 8)), ((5, 7), (11, 3)), ((8, 8), (16, 16))]
)
def test_logits_are_cut_before_they_are_enlarged(size, wanted):
    logits = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    resized = sem_seg_postprocess(logits, size, *wanted)
    assert resized.shape == (3, *wanted)
    # half-pixel centres by hand: rows, then columns
    expected = logits[:, : size[0], : size[1]].double()
    for axis, (old, new) in enumerate(zip(size, wanted), 1):
        position = ((torch.arange(new) + 0.5) * old / new - 0.5).clamp(0, old - 1)
        low, share = position.floor().long(), position - position.floor()
        shape = [-1 if i == axis else 1 for i in range(3)]
        high = (low + 1).clamp(max=old - 1)
        expected = expected.index_select(axis, low) * (1 - share).view(shape) + expected.index_select(
            axis, high
        ) * share.view(shape)
    torch.testing.assert_close(resized, expected.float(), rtol=1e-5, atol=1e-5)


def test_padding_does_not_shine_through():
    logits = F.pad(torch.ones(1, 5, 5), (0, 3, 0, 3), value=99)
    torch.testing.assert_close(sem_seg_postprocess(logits, (5, 5), 9, 9), torch.ones(1, 9, 9))


@pytest.mark.parametrize("mask_format", MASK_FORMATS)
def test_no_masks_in_any_format(mask_format):
    pytest.importorskip("pycocotools")
    scaled = detector_postprocess(results([], pred_masks=torch.zeros(0, 1, 4, 4)), 5, 6, mask_format=mask_format)
    assert len(scaled) == len(scaled.pred_masks) == 0


@pytest.mark.parametrize("mask_format", MASK_FORMATS)
def test_masks_in_every_format_are_the_same_masks(mask_format):
    pytest.importorskip("pycocotools")
    raw = results([[1, 1, 9, 6], [5, 2, 19, 9], [3, 3, 3, 5]], pred_masks=torch.ones(3, 1, 4, 4))
    wanted, written = detector_postprocess(raw, 20, 40), detector_postprocess(raw, 20, 40, mask_format=mask_format)
    assert len(written.pred_masks) == 2  # the third box has no area
    for i in range(2):
        assert torch.equal(instance_mask(written, i), wanted.pred_masks[i])
