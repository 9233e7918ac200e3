import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litepred.structures import (
    Boxes,
    BoxMode,
    Instances,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
)

ROWS = [[0.0, 0.0, 2.0, 4.0], [1.0, 1.0, 3.0, 2.0], [5.0, 5.0, 5.0, 9.0]]


def boxes(rows=ROWS):
    return Boxes(torch.tensor(rows))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], torch.zeros(0, 4)),
        (torch.zeros(0), torch.zeros(0, 4)),
        (torch.zeros(3, 0), torch.zeros(0, 4)),
        (torch.zeros(0, 5, 2), torch.zeros(0, 4)),
        (np.zeros((0, 4)), torch.zeros(0, 4)),
        ([[1, 2, 3, 4]], torch.tensor([[1.0, 2.0, 3.0, 4.0]])),
        (np.array([[1, 2, 3, 4]], dtype=np.float64), torch.tensor([[1.0, 2.0, 3.0, 4.0]])),
        (torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])),
        (torch.tensor([[1, 2, 3, 4]], dtype=torch.float16), torch.tensor([[1.0, 2.0, 3.0, 4.0]])),
    ],
)
def test_constructor(value, expected):
    result = Boxes(value).tensor
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 5), (1, 2, 4), (2, 2)])
def test_constructor_refuses_other_shapes(shape):
    with pytest.raises(AssertionError, match=r"expected \(N, 4\)"):
        Boxes(torch.zeros(shape))


def test_constructor_shares_float32_storage_only():
    floats, doubles = torch.ones(2, 4), torch.ones(2, 4, dtype=torch.float64)
    Boxes(floats).scale(3, 5)
    Boxes(doubles).scale(3, 5)
    assert torch.equal(floats, torch.tensor([[3.0, 5.0, 3.0, 5.0]] * 2))
    assert torch.equal(doubles, torch.ones(2, 4, dtype=torch.float64))


def test_clone_is_independent():
    original = boxes()
    original.clone().scale(2, 2)
    assert torch.equal(original.tensor, torch.tensor(ROWS))


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        ([], []),
        (slice(0, 0), []),
        (torch.tensor([False, False, False]), []),
        (0, [0]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (torch.tensor([1, 1]), [1, 1]),
        (np.array([False, True, True]), [1, 2]),
        (np.array([2]), [2]),
    ],
)
def test_getitem(item, rows):
    selected = boxes()[item]
    assert isinstance(selected, Boxes)
    assert torch.equal(selected.tensor, torch.tensor(ROWS)[rows])


@pytest.mark.parametrize(
    ("item", "error"),
    [(3, IndexError), (np.int64(-4), IndexError), (torch.tensor([[1]]), AssertionError), ((0, 1), AssertionError)],
)
def test_getitem_refuses(item, error):
    with pytest.raises(error):
        boxes()[item]


def test_slices_share_storage():
    original = boxes()
    original[1:].scale(10, 1)
    assert original.tensor[1].tolist() == [10.0, 1.0, 30.0, 2.0]


def test_iteration_and_len():
    assert len(Boxes([])) == 0
    assert list(Boxes([])) == []
    assert [row.tolist() for row in boxes()] == ROWS
    assert len(boxes()) == 3


def test_to_takes_a_device_only():
    moved = boxes().to("meta")
    assert moved.device.type == "meta"
    assert boxes().to(device=torch.device("cpu")).device.type == "cpu"
    with pytest.raises(TypeError):
        boxes().to(torch.device("cpu"), torch.float16)


def test_area_keeps_the_sign_of_inverted_boxes():
    assert Boxes([]).area().shape == (0,)
    assert boxes([*ROWS, [4.0, 0.0, 1.0, 2.0]]).area().tolist() == [8.0, 2.0, 0.0, -6.0]


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.0, [True, True, False]), (1.0, [True, False, False]), (2.0, [False, False, False])]
)
def test_nonempty_is_strict(threshold, expected):
    assert boxes().nonempty(threshold).tolist() == expected
    assert Boxes([]).nonempty(threshold).tolist() == []


def test_clip_rebinds_a_new_tensor():
    tensor = torch.tensor([[-1.0, -2.0, 50.0, 60.0], [3.0, 4.0, 5.0, 6.0], [30.0, 30.0, 40.0, 40.0]])
    original, clipped = tensor.clone(), Boxes(tensor)
    assert clipped.clip((10, 20)) is None
    assert clipped.tensor.tolist() == [[0.0, 0.0, 20.0, 10.0], [3.0, 4.0, 5.0, 6.0], [20.0, 10.0, 20.0, 10.0]]
    assert torch.equal(tensor, original)


def test_clip_without_boxes():
    empty = Boxes([])
    empty.clip((10, 20))
    assert empty.tensor.shape == (0, 4)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_clip_refuses_nonfinite(value):
    with pytest.raises(AssertionError, match="infinite or NaN"):
        boxes([[0.0, 0.0, value, 1.0]]).clip((10, 10))


@pytest.mark.parametrize(
    ("row", "threshold", "expected"),
    [
        ([0.0, 0.0, 19.0, 9.0], 0, True),
        ([0.0, 0.0, 20.0, 9.0], 0, False),
        ([0.0, 0.0, 19.0, 10.0], 0, False),
        ([-1.0, 0.0, 19.0, 9.0], 0, False),
        ([-1.0, -1.0, 20.5, 10.5], 1, True),
        ([-1.0, -1.5, 20.5, 10.5], 1, False),
    ],
)
def test_inside_box(row, threshold, expected):
    assert boxes([row]).inside_box((10, 20), threshold).tolist() == [expected]


def test_get_centers():
    assert Boxes([]).get_centers().shape == (0, 2)
    assert boxes().get_centers().tolist() == [[1.0, 2.0], [2.0, 1.5], [5.0, 7.0]]


def test_cat():
    assert Boxes.cat([]).tensor.shape == (0, 4)
    one = boxes()
    joined = Boxes.cat((one, Boxes([]), boxes([[1.0, 2.0, 3.0, 4.0]])))
    assert joined.tensor.tolist() == [*ROWS, [1.0, 2.0, 3.0, 4.0]]
    assert Boxes.cat([one]).tensor.data_ptr() != one.tensor.data_ptr()


@pytest.mark.parametrize("value", [[torch.zeros(1, 4)], [Boxes([]), torch.zeros(1, 4)], iter([])])
def test_cat_refuses_other_types(value):
    with pytest.raises(AssertionError, match="list or tuple of Boxes"):
        Boxes.cat(value)


def test_copies_and_repr():
    for copied in (pickle.loads(pickle.dumps(boxes())), copy.deepcopy(boxes())):
        assert torch.equal(copied.tensor, torch.tensor(ROWS))
    assert repr(boxes()) == f"Boxes({torch.tensor(ROWS)})"


PAIRS = [  # second box against [0, 0, 2, 2]: intersection, union
    ([0.0, 0.0, 2.0, 2.0], 4.0, 4.0),
    ([1.0, 0.0, 2.0, 2.0], 2.0, 4.0),
    ([1.0, 1.0, 3.0, 3.0], 1.0, 7.0),
    ([2.0, 0.0, 3.0, 3.0], 0.0, 7.0),
    ([8.0, 8.0, 9.0, 9.0], 0.0, 5.0),
    ([1.0, 1.0, 1.0, 1.0], 0.0, 4.0),
]


def test_pairwise_functions():
    first, second = boxes([[0.0, 0.0, 2.0, 2.0], [50.0, 50.0, 51.0, 51.0]]), boxes([row for row, _, _ in PAIRS])
    inter, union = torch.tensor([[i for _, i, _ in PAIRS], [u for _, _, u in PAIRS]])
    zeros = torch.zeros(len(PAIRS))
    area = second.area()
    assert torch.equal(pairwise_intersection(first, second), torch.stack((inter, zeros)))
    assert torch.equal(pairwise_iou(first, second), torch.stack((inter / union, zeros)))
    assert torch.equal(pairwise_ioa(first, second), torch.stack((torch.where(inter > 0, inter / area, zeros), zeros)))


@pytest.mark.parametrize("function", [pairwise_intersection, pairwise_iou, pairwise_ioa])
@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_pairwise_functions_without_boxes(function, n, m):
    assert function(Boxes(torch.zeros(n, 4)), Boxes(torch.zeros(m, 4))).shape == (n, m)


XYXY, XYWH, XYWHA = BoxMode.XYXY_ABS, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS
CONVERSIONS = [
    (XYXY, XYWH, [5.0, 6.0, 10.0, 12.0], [5.0, 6.0, 5.0, 6.0]),
    (XYWH, XYXY, [5.0, 6.0, 10.0, 12.0], [5.0, 6.0, 15.0, 18.0]),
    (XYWH, XYWHA, [50.0, 40.0, 30.0, 20.0], [65.0, 50.0, 30.0, 20.0, 0.0]),
    (XYWHA, XYXY, [50.0, 50.0, 30.0, 20.0, 0.0], [35.0, 40.0, 65.0, 60.0]),
    (XYWHA, XYXY, [50.0, 50.0, 30.0, 20.0, 90.0], [40.0, 35.0, 60.0, 65.0]),
    (XYWHA, XYXY, [1.0, 1.0, math.sqrt(2), math.sqrt(2), -45.0], [0.0, 0.0, 2.0, 2.0]),
]


@pytest.mark.parametrize(("source", "target", "box", "expected"), CONVERSIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_convert(source, target, box, expected, dtype):
    tensor = torch.tensor([box, box], dtype=dtype)
    for value in (tensor, tensor.numpy()):
        before = value.copy() if isinstance(value, np.ndarray) else value.clone()
        result = BoxMode.convert(value, source, target)
        assert type(result) is type(value)
        assert result.dtype == value.dtype
        np.testing.assert_allclose(result, [expected, expected], atol=1e-6)
        assert (value == before).all()
        assert BoxMode.convert(value[:0], source, target).shape == (0, len(expected))
    for kind in (list, tuple):
        result = BoxMode.convert(kind(box), source, target)
        assert type(result) is kind
        assert result == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_convert_keeps_integers_and_takes_plain_ints_as_modes(kind):
    result = BoxMode.convert(kind([5, 5, 10, 12]), 0, 1)
    assert type(result) is type(kind([1]))
    assert [int(v) for v in result] == [5, 5, 5, 7]
    assert not isinstance(result[0], float)
    assert "float" not in str(getattr(result, "dtype", ""))


def test_convert_to_the_same_mode_returns_the_argument():
    box = [1, 2, 3, 4]
    assert BoxMode.convert(box, XYXY, XYXY) is box


def test_convert_takes_views_with_negative_strides():
    rows = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])[::-1]
    assert BoxMode.convert(rows, XYXY, XYWH).tolist() == [[5.0, 6.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0]]


@pytest.mark.parametrize(
    ("box", "source", "target", "error"),
    [
        ([], XYXY, XYWH, ValueError),
        ([1, 2, 3], XYXY, XYWH, ValueError),
        ([[1, 2, 3, 4]], XYXY, XYWH, ValueError),
        (torch.zeros(2, 4), XYWHA, XYXY, ValueError),
        ([1, 2, 3, 4], XYXY, XYWHA, NotImplementedError),
        ([1, 2, 3, 4, 5], XYWHA, XYWH, NotImplementedError),
        ([1, 2, 3, 4], XYXY, BoxMode.XYXY_REL, AssertionError),
        ([1, 2, 3, 4], BoxMode.XYWH_REL, XYXY, AssertionError),
        ([1, 2, 3, 4], 9, XYXY, ValueError),
    ],
)
def test_convert_refuses(box, source, target, error):
    with pytest.raises(error):
        BoxMode.convert(box, source, target)


def test_modes_are_the_integers_of_annotation_files():
    assert {mode.name: int(mode) for mode in BoxMode} == {
        "XYXY_ABS": 0,
        "XYWH_ABS": 1,
        "XYXY_REL": 2,
        "XYWH_REL": 3,
        "XYWHA_ABS": 4,
    }
    assert json.loads(json.dumps({"mode": BoxMode.XYWH_REL})) == {"mode": 3}


@given(st.lists(st.integers(-(10**6), 10**6), min_size=4, max_size=4))
def test_corner_and_size_modes_invert_each_other(box):
    assert BoxMode.convert(BoxMode.convert(box, XYXY, XYWH), XYWH, XYXY) == box


@pytest.mark.parametrize("index", [1, np.int64(1), np.array(1), torch.tensor(1), -1])
def test_a_single_number_of_any_type_selects_one_row(index):
    rows = torch.tensor([[0.0, 0, 1, 1], [2, 2, 3, 3]])
    assert torch.equal(Boxes(rows)[index].tensor, rows[1:])
    found = Instances((4, 4), pred_boxes=Boxes(rows), scores=torch.tensor([0.5, 0.75]), words=["a", "b"])[index]
    assert (len(found), found.words) == (1, ["b"])
    assert torch.equal(found.scores, torch.tensor([0.75]))
