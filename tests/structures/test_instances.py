import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litepred import Keypoints, PolygonMasks
from litepred.structures import BitMasks, Boxes, Instances

SIZE = (30, 40)


class Chart:
    """A field type of someone else: has a length and an index, but neither ``to`` nor ``cat``."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, item):
        return Chart(self.values[item])


def instances(n=3):
    return Instances(
        SIZE,
        pred_boxes=Boxes(torch.arange(4.0 * n).reshape(n, 4)),
        scores=torch.arange(n) / 10,
        pred_classes=torch.arange(n),
        pred_masks=torch.ones(n, 2, 2, dtype=torch.bool),
        charts=Chart(np.arange(n)),
    )


def classes(inst):
    return inst.pred_classes.tolist()


def test_fields_by_attribute_and_method():
    inst = Instances(SIZE)
    assert not inst.has("scores")
    assert inst.get_fields() == {}
    inst.scores = torch.zeros(2)
    inst.set("names", ["a", "b"])
    assert inst.names is inst.get("names")
    assert inst.has("names")
    assert list(inst.get_fields()) == ["scores", "names"]
    inst.remove("scores")
    assert not inst.has("scores")
    assert not hasattr(inst, "scores")


def test_get_fields_is_live():
    inst = instances()
    inst.get_fields()["extra"] = [1, 2, 3]
    assert inst.extra == [1, 2, 3]
    assert inst.get_fields() is inst._fields


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (lambda inst: inst.pred_keypoints, AttributeError),
        (lambda inst: inst.get("pred_keypoints"), KeyError),
        (lambda inst: inst.remove("pred_keypoints"), KeyError),
        (lambda inst: setattr(inst, "image_size", (1, 2)), AttributeError),
        (lambda inst: setattr(inst, "scores", torch.zeros(2)), AssertionError),
        (lambda inst: inst.set("labels", ["a"]), AssertionError),
        (lambda inst: inst.set("count", 3), TypeError),
        (lambda inst: iter(inst), NotImplementedError),
        (lambda inst: "scores" in inst, NotImplementedError),
        (lambda inst: inst[3], IndexError),
        (lambda inst: inst[-4], IndexError),
        (lambda inst: len(Instances(SIZE)), NotImplementedError),
        (lambda inst: Instances(SIZE)[0], NotImplementedError),
        (lambda inst: Instances(SIZE, a=[1], b=[1, 2]), AssertionError),
    ],
)
def test_errors(action, error):
    with pytest.raises(error):
        action(instances())


def test_the_missing_field_message_lists_the_fields():
    with pytest.raises(AttributeError, match=r"no field 'pred_keypoints'.*'scores'"):
        instances().pred_keypoints  # noqa: B018


def test_underscore_names_are_plain_attributes():
    inst = instances()
    inst._note = 5
    assert inst._note == 5
    assert "_note" not in inst.get_fields()
    assert not hasattr(inst[0], "_note")


def test_image_size():
    assert Instances(SIZE).image_size == (30, 40)
    parts = [Instances(SIZE, names=["a"]), Instances(SIZE, names=["b"])]
    assert instances()[0].image_size == Instances.cat(parts).image_size == parts[0].to("cpu").image_size == SIZE


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ([], []),
        (slice(0, 0), []),
        (torch.zeros(3, dtype=torch.bool), []),
        (torch.zeros(0, dtype=torch.int64), []),
        (0, [0]),
        (2, [2]),
        (-1, [2]),
        (-3, [0]),
        (slice(None, None, 2), [0, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (torch.tensor([1, 1]), [1, 1]),
        (np.array([False, True, True]), [1, 2]),
        (np.array([2, 1]), [2, 1]),
    ],
)
def test_getitem_indexes_every_field(item, expected):
    selected = instances()[item]
    assert len(selected) == len(expected)
    assert classes(selected) == expected
    assert torch.equal(selected.pred_boxes.tensor, instances().pred_boxes.tensor[expected])
    assert selected.pred_masks.shape == (len(expected), 2, 2)
    assert selected.charts.values.tolist() == expected


@pytest.mark.parametrize("item", [0, -1, slice(1, 3)])
def test_list_fields_take_ints_and_slices(item):
    names = ["a", "b", "c"]
    expected = names[item] if isinstance(item, slice) else [names[item]]
    assert Instances(SIZE, names=names)[item].names == expected


@pytest.mark.parametrize(
    "item", [torch.tensor([True, False, True]), torch.tensor([0, 2]), [0, 2], np.array([0, 2]), slice(0, 3, 2)]
)
def test_list_fields_take_what_tensors_take(item):
    assert Instances(SIZE, names=["a", "b", "c"], x=torch.arange(3))[item].names == ["a", "c"]


def test_structures_as_fields():
    inst = Instances(
        SIZE,
        masks=BitMasks(torch.ones(2, 3, 3)),
        polygons=PolygonMasks([[[0, 0, 4, 0, 4, 4]], [[0, 0, 2, 0, 2, 2]]]),
        keypoints=Keypoints(torch.zeros(2, 5, 3)),
    )
    for item in (1, slice(1, 2), [1], torch.tensor([False, True])):
        one = inst[item]
        assert [len(value) for value in one.get_fields().values()] == [1, 1, 1]
        assert one.polygons.area().tolist() == [2.0]
    assert [len(value) for value in Instances.cat([inst, inst]).get_fields().values()] == [4, 4, 4]


def test_to_moves_what_can_move():
    inst = instances()
    moved = inst.to("meta")
    assert moved.pred_boxes.device.type == moved.scores.device.type == "meta"
    assert moved.charts is inst.charts
    assert inst.scores.device.type == "cpu"
    assert inst.to(device="cpu").pred_classes.tolist() == [0, 1, 2]
    assert Instances(SIZE).to("cpu").get_fields() == {}
    assert Instances(SIZE, scores=torch.zeros(1)).to(dtype=torch.float64).scores.dtype == torch.float64


def test_cat_joins_tensors_lists_and_types_with_cat():
    first = Instances(SIZE, scores=torch.zeros(0), names=[], boxes=Boxes([]))
    second = Instances(SIZE, boxes=Boxes([[1, 2, 3, 4]]), names=["a"], scores=torch.ones(1), extra=[0])
    joined = Instances.cat([first, second, second])
    assert list(joined.get_fields()) == ["scores", "names", "boxes"]
    assert joined.scores.tolist() == [1.0, 1.0]
    assert joined.names == ["a", "a"]
    assert joined.boxes.tensor.tolist() == [[1.0, 2.0, 3.0, 4.0]] * 2


def test_cat_of_one_returns_it():
    inst = instances()
    assert Instances.cat([inst]) is inst
    assert inst.cat((inst,)) is inst


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([], AssertionError),
        ([torch.zeros(1)], AssertionError),
        ([Instances((1, 2), a=[1]), Instances((2, 1), a=[1])], AssertionError),
        ([Instances(SIZE, a=[1], b=[1]), Instances(SIZE, a=[1])], KeyError),
        ([Instances(SIZE, a=np.zeros(1)), Instances(SIZE, a=np.zeros(1))], ValueError),
    ],
)
def test_cat_refuses(parts, error):
    with pytest.raises(error):
        Instances.cat(parts)


@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("n", [0, 3])
def test_pickle_and_copy(duplicate, n):
    copied = duplicate(instances(n))
    assert copied.image_size == SIZE
    assert list(copied.get_fields()) == list(instances().get_fields())
    assert torch.equal(copied.pred_boxes.tensor, instances(n).pred_boxes.tensor)
    assert len(duplicate(copied)) == n


def test_str():
    inst = Instances(SIZE, scores=torch.zeros(1), names=["a"])
    text = "Instances(num_instances=1, image_height=30, image_width=40, fields=[scores: tensor([0.]), names: ['a']])"
    assert str(inst) == repr(inst) == text
    assert str(Instances(SIZE)) == "Instances(num_instances=0, image_height=30, image_width=40, fields=[])"


def selections(length):
    """Whatever selects rows of a tensor: a slice, indices, or a mask; indices as a list, an array or a tensor."""
    containers = st.sampled_from([list, np.array, torch.tensor])
    slices = st.builds(slice, *[st.none() | st.integers(-9, 9)] * 2)
    masks = st.tuples(containers, st.lists(st.booleans(), min_size=length, max_size=length))
    choices = [slices, masks.filter(lambda pair: pair[1])]
    if length:
        choices.append(st.tuples(containers, st.lists(st.integers(-length, length - 1), min_size=1)))
    return st.one_of(choices).map(lambda one: one if isinstance(one, slice) else one[0](one[1]))


def rows(inst):
    """Each instance as one value, which all its fields must agree on."""
    ids = inst.pred_classes.tolist()
    assert inst.names == [f"name {i}" for i in ids]
    assert inst.pred_boxes.tensor[:, 0].tolist() == ids
    assert len(inst) == len(ids)
    return ids


def numbered(start, length):
    ids = list(range(start, start + length))
    boxes = Boxes(torch.tensor([[i, 0.0, 1, 1] for i in ids]))
    return Instances(
        SIZE, pred_boxes=boxes, pred_classes=torch.tensor(ids, dtype=torch.int64), names=[f"name {i}" for i in ids]
    )


@given(st.integers(0, 6).flatmap(lambda length: st.tuples(st.just(length), selections(length))))
def test_indexing_keeps_the_fields_of_an_instance_together(given_pair):
    length, item = given_pair
    expected = np.arange(length)[item if isinstance(item, slice) else np.asarray(item)]
    selected = numbered(0, length)[item]
    assert rows(selected) == expected.tolist()
    assert selected.image_size == SIZE


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_cat_is_undone_by_slices(lengths):
    starts = np.cumsum([0, *lengths]).tolist()
    parts = [numbered(start, length) for start, length in zip(starts, lengths)]
    joined = Instances.cat(parts)
    assert rows(joined) == list(range(sum(lengths)))
    for part, start, length in zip(parts, starts, lengths):
        assert rows(joined[start : start + length]) == rows(part)
