import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import SELECTIONS

from litepred import PolygonMasks
from litepred.structures import BitMasks, Boxes, ROIMasks, polygons_to_bitmask
from litepred.structures import masks as masks_module


def draw(rows):
    return np.array([[c == "#" for c in row] for row in rows])


SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]
TRIANGLE = [0, 0, 4, 0, 0, 4]
BITMAPS = np.stack([draw(["....", ".##.", "..#."]), draw(["...#", "....", "#..."]), draw(["...."] * 3)])


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(0, 3, 4),
        torch.tensor(BITMAPS),
        torch.tensor(BITMAPS) * 0.25,
        BITMAPS,
        BITMAPS.astype(np.uint8),
        BITMAPS.tolist(),
    ],
)
def test_bitmasks_become_bool(value):
    masks = BitMasks(value)
    assert masks.tensor.dtype == torch.bool
    assert torch.equal(masks.tensor, torch.as_tensor(np.asarray(value) != 0))
    assert masks.image_size == (3, 4)
    assert len(masks) == len(list(masks)) == len(value)
    assert repr(masks) == f"BitMasks(num_instances={len(value)})"


def test_bitmasks_share_bool_storage():
    tensor = torch.zeros(1, 2, 2, dtype=torch.bool)
    assert BitMasks(tensor).tensor.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("shape", [(0,), (3, 4), (1, 1, 3, 4)])
def test_bitmasks_refuse_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected \(N, H, W\)"):
        BitMasks(torch.zeros(shape))


@pytest.mark.parametrize(("item", "rows"), SELECTIONS)
def test_bitmasks_getitem(item, rows):
    assert torch.equal(BitMasks(BITMAPS)[item].tensor, torch.tensor(BITMAPS)[rows])


def test_bitmasks_to():
    moved = BitMasks(BITMAPS).to("meta")
    assert (moved.device.type, moved.tensor.dtype) == ("meta", torch.bool)


def test_bitmasks_nonempty_and_boxes():
    masks = BitMasks(BITMAPS)
    assert masks.nonempty().tolist() == [True, True, False]
    boxes = masks.get_bounding_boxes()
    assert isinstance(boxes, Boxes)
    assert boxes.tensor.tolist() == [[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 4.0, 3.0], [0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (1, 1, 1)])
def test_bitmasks_edge_sizes(shape):
    masks = BitMasks(torch.ones(shape))
    filled = masks.tensor.numel() > 0
    assert masks.nonempty().tolist() == [filled] * shape[0]
    assert (
        masks.get_bounding_boxes().tensor.tolist() == [[0.0, 0.0, *([1.0, 1.0] if filled else [0.0, 0.0])]] * shape[0]
    )


def test_bitmasks_cat():
    masks = BitMasks(BITMAPS)
    assert torch.equal(BitMasks.cat([masks[:1], masks[1:]]).tensor, masks.tensor)
    for wrong in ([], [masks.tensor]):
        with pytest.raises(AssertionError, match="list or tuple of BitMasks only, at least one"):
            BitMasks.cat(wrong)


# The expected pixels were made with pycocotools 2.0 (frPyObjects, merge, decode).
POLYGONS = [
    ([], ["...", "..."]),
    ([[0, 0, 3, 0, 3, 2, 0, 2]], ["###", "###"]),
    ([SQUARE], [".....", ".###.", ".###.", "....."]),
    ([TRIANGLE], ["###..", "##...", "#....", ".....", "....."]),
    ([[0, 0, 0, 0, 0, 0]], ["..", ".."]),
    ([[-9, -9, 9, -9, 9, 9, -9, 9]], ["##", "##"]),
    ([[-9, -9, -5, -9, -5, -5]], ["..", ".."]),
    ([SQUARE, TRIANGLE], ["###..", "####.", "####.", ".....", "....."]),
    ([[0, 0, 5, 5, 5, 0, 0, 5]], ["#...#", "##.##", "##.##", "#...#", "....."]),
    ([[0.4, 0.6, 3.7, 1.2, 2.2, 4.9]], [".....", ".###.", ".##..", "..#..", "....."]),
]


@pytest.mark.parametrize(("polygons", "rows"), POLYGONS)
def test_polygons_to_bitmask(polygons, rows):
    expected = draw(rows)
    mask = polygons_to_bitmask([np.array(p, dtype=float) for p in polygons], *expected.shape)
    assert mask.dtype == bool
    assert mask.tolist() == expected.tolist()


@pytest.mark.parametrize("polygon", [[], [0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3], [[0, 0], [1, 1], [2, 2]]])
def test_polygons_of_other_lengths_are_refused(polygon):
    with pytest.raises(ValueError, match="at least 3 points"):
        polygons_to_bitmask([polygon], 4, 4)


coordinate = st.one_of(st.integers(-8, 40), st.floats(-8, 40, allow_nan=False, width=32))
vector = st.integers(3, 7).flatmap(lambda n: st.lists(coordinate, min_size=2 * n, max_size=2 * n))


@settings(max_examples=60, deadline=None)
@given(st.lists(vector, min_size=1, max_size=3), st.integers(1, 33), st.integers(1, 33))
def test_polygons_equal_pycocotools(polygons, height, width):
    api = pytest.importorskip("pycocotools.mask")
    polygons = [np.array(polygon, dtype=np.float64) for polygon in polygons]
    expected = api.decode(api.merge(api.frPyObjects(polygons, height, width))).astype(bool)
    assert np.array_equal(polygons_to_bitmask(polygons, height, width), expected)


def test_from_polygon_masks():
    assert BitMasks.from_polygon_masks([], 5, 6).tensor.shape == (0, 5, 6)
    polygons = [[np.array(SQUARE)], [], [np.array(TRIANGLE)]]
    for value in (polygons, PolygonMasks(polygons)):
        masks = BitMasks.from_polygon_masks(value, 5, 6)
        assert masks.image_size == (5, 6)
        assert masks.tensor.sum((1, 2)).tolist() == [6, 0, 6]


@pytest.mark.parametrize("shape", [(0,), (28, 28), (1, 1, 28, 28)])
def test_roi_masks_refuse_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected \(N, M, M\)"):
        ROIMasks(torch.zeros(shape))


@pytest.mark.parametrize(("item", "rows"), SELECTIONS)
def test_roi_masks_getitem(item, rows):
    tensor = torch.rand(3, 2, 2)
    assert torch.equal(ROIMasks(tensor)[item].tensor, tensor[rows])


def test_roi_masks_to_and_repr():
    masks = ROIMasks(torch.rand(3, 2, 2))
    assert (len(masks), repr(masks)) == (3, "ROIMasks(num_instances=3)")
    assert (masks.device.type, masks.to("meta").device.type) == ("cpu", "meta")


def test_roi_masks_to_bitmasks():
    empty = ROIMasks(torch.zeros(0, 28, 28)).to_bitmasks(Boxes([]), 5, 6)
    assert (empty.tensor.shape, empty.tensor.dtype) == ((0, 5, 6), torch.bool)
    tensor = torch.full((2, 4, 4), 0.5)
    boxes = Boxes([[1, 1, 5, 5], [0, 0, 4, 2]])
    masks = ROIMasks(tensor).to_bitmasks(boxes, 5, 6)
    assert masks.image_size == (5, 6)
    assert masks.get_bounding_boxes().tensor.tolist() == boxes.tensor.tolist()  # 0.5 passes
    assert not ROIMasks(tensor).to_bitmasks(boxes, 5, 6, threshold=0.51).nonempty().any()


def test_roi_masks_are_pasted_on_the_cpu_when_memory_runs_out(monkeypatch):
    calls = []

    def paste_once_failing(masks, boxes, image_shape, threshold):
        calls.append(boxes.device.type)
        if len(calls) == 1:
            raise torch.cuda.OutOfMemoryError("no memory")
        return torch.ones(len(masks), *image_shape, dtype=torch.bool)

    monkeypatch.setattr(masks_module, "paste_masks_in_image", paste_once_failing)
    masks = ROIMasks(torch.rand(1, 4, 4)).to_bitmasks(Boxes([[0, 0, 1, 1]]), 5, 6)
    assert masks.image_size == (5, 6)
    assert calls == ["cpu", "cpu"]


@pytest.mark.parametrize("count", [0, 3])
def test_masks_cut_out_by_their_boxes(count):
    masks = BitMasks(torch.tensor(BITMAPS)[:count])
    boxes = torch.tensor([[1.0, 1, 3, 3], [3, 0, 4, 1], [0, 0, 4, 3]])[:count]
    cut = masks.crop_and_resize(boxes, 2)
    assert cut.dtype == torch.bool
    wanted = [[[1, 1], [0, 1]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]][:count]
    assert cut.int().tolist() == wanted
