import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litepred.structures import ImageList


def image(*shape):
    return torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape)


@pytest.mark.parametrize(
    ("shapes", "divisibility", "constraints", "expected"),
    [
        ([(3, 1, 1)], 0, None, (1, 1)),
        ([(3, 1, 1)], 32, None, (32, 32)),
        ([(3, 5, 7)], 0, None, (5, 7)),
        ([(3, 5, 7)], 1, None, (5, 7)),
        ([(5, 7)], 4, None, (8, 8)),
        ([(3, 8, 4)], 4, None, (8, 4)),
        ([(3, 5, 7), (3, 6, 2)], 0, None, (6, 7)),
        ([(3, 5, 7), (3, 6, 2)], 4, None, (8, 8)),
        ([(2, 3, 5, 7), (2, 3, 6, 2)], 4, None, (8, 8)),
        ([(3, 5, 7)], 4, {}, (8, 8)),
        ([(3, 5, 7)], 4, {"size_divisibility": 0}, (5, 7)),
        ([(3, 5, 7)], 0, {"size_divisibility": 3}, (6, 9)),
        ([(3, 5, 7)], 0, {"square_size": 10}, (10, 10)),
        ([(3, 5, 7), (3, 6, 2)], 4, {"square_size": 10}, (12, 12)),
        ([(3, 5, 7)], 0, {"square_size": 0}, (5, 7)),
    ],
)
def test_from_tensors_pads_right_and_bottom(shapes, divisibility, constraints, expected):
    images = [image(*shape) for shape in shapes]
    batch = ImageList.from_tensors(images, divisibility, -1.5, constraints)
    assert batch.tensor.shape == (len(images), *shapes[0][:-2], *expected)
    assert batch.tensor.is_contiguous()
    assert batch.image_sizes == [tuple(shape[-2:]) for shape in shapes]
    assert all(type(v) is int for size in batch.image_sizes for v in size)
    assert len(batch) == len(images)
    for i, original in enumerate(images):
        assert torch.equal(batch[i], original)
        padding = batch.tensor[i].numel() - original.numel()
        assert (batch.tensor[i] == -1.5).sum() == padding


def test_default_padding_is_zero():
    assert ImageList.from_tensors([image(1, 1), image(2, 1)]).tensor.tolist() == [[[1.0], [0.0]], [[1.0], [2.0]]]


@pytest.mark.parametrize(("divisibility", "shared"), [(0, True), (4, True), (32, False)])
def test_one_image_without_padding_is_not_copied(divisibility, shared):
    original = image(3, 8, 4)
    batch = ImageList.from_tensors([original], divisibility)
    assert (batch.tensor.data_ptr() == original.data_ptr()) is shared
    assert original.shape == (3, 8, 4)


def test_channels_last_becomes_contiguous():
    original = image(8, 4, 3).permute(2, 0, 1)
    assert ImageList.from_tensors([original]).tensor.is_contiguous()


def test_one_image_larger_than_the_square_is_cropped():
    original = image(3, 8, 4)
    batch = ImageList.from_tensors([original], padding_constraints={"square_size": 6})
    assert batch.tensor.shape == (1, 3, 6, 6)
    assert torch.equal(batch.tensor[0, :, :, :4], original[:, :6])
    assert batch.image_sizes == [(8, 4)]


@pytest.mark.parametrize(
    ("images", "constraints", "error"),
    [
        ([], None, AssertionError),
        ((), None, AssertionError),
        (torch.zeros(2, 3, 4, 4), None, TypeError),
        ([[1.0]], None, TypeError),
        ([torch.zeros(4)], None, ValueError),
        ([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)], None, ValueError),
        ([torch.zeros(3, 4, 4), torch.zeros(4, 4)], None, ValueError),
        ([torch.zeros(3, 4, 4), torch.zeros(3, 9, 4)], {"square_size": 8}, ValueError),
    ],
)
def test_from_tensors_refuses(images, constraints, error):
    with pytest.raises(error):
        ImageList.from_tensors(images, padding_constraints=constraints)


def test_items_are_views():
    batch = ImageList.from_tensors([image(2, 2), image(3, 1)])
    batch[1][:] = 7
    assert batch.tensor[1].tolist() == [[7.0, 0.0], [7.0, 0.0], [7.0, 0.0]]


def test_to_and_device():
    batch = ImageList.from_tensors([image(2, 2)])
    moved = batch.to("meta")
    assert (batch.device.type, moved.device.type) == ("cpu", "meta")
    assert moved.image_sizes == batch.image_sizes
    assert batch.to(torch.float16).tensor.dtype == torch.float16


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=4),
    st.integers(0, 9),
    st.sampled_from([(), (3,), (2, 3)]),
)
def test_every_image_comes_back_out_of_the_padding(sizes, divisibility, leading):
    images = [image(*leading, *size) for size in sizes]
    batch = ImageList.from_tensors(images, divisibility, pad_value=-1.0)
    height, width = batch.tensor.shape[-2:]
    assert len(batch) == len(images)
    assert batch.image_sizes == sizes
    for i, one in enumerate(images):
        assert torch.equal(batch[i], one)
        padding = height * width - one.shape[-2] * one.shape[-1]
        assert int((batch.tensor[i] == -1).sum()) == padding * one[..., 0, 0].numel()
    for side, largest in ((height, max(h for h, _ in sizes)), (width, max(w for _, w in sizes))):
        assert side % max(divisibility, 1) == 0
        assert largest <= side < largest + max(divisibility, 1)


@pytest.mark.parametrize("shapes", [[(3, 10, 10)], [(3, 12, 12)], [(10, 10)], [(3, 16, 10), (3, 13, 11)]])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_trace_holds_for_images_of_other_sizes(shapes):
    def pad(images):
        batch = ImageList.from_tensors(images, 4)
        return batch.tensor, batch.image_sizes

    traced = torch.jit.trace(pad, ([torch.ones(shape) for shape in shapes],))
    others = [torch.rand(*shape[:-2], shape[-2] + 5 + i, shape[-1] + 9) for i, shape in enumerate(shapes)]
    tensor, sizes = traced(others)
    expected = ImageList.from_tensors(others, 4)
    assert torch.equal(tensor, expected.tensor)
    assert [tuple(size.tolist()) for size in sizes] == expected.image_sizes
