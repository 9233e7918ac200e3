"""Data sets as torch has them, and the loaders of lists of their elements."""

from __future__ import annotations

import itertools
import logging
import pickle
from typing import Any

import pytest
import torch
from torch.utils.data import ConcatDataset, IterableDataset

from litepred.drop_in.datasets import DatasetCatalog
from litepred.drop_in.loaders import (
    DatasetFromList,
    InferenceSampler,
    MapDataset,
    ToIterableDataset,
    build_batch_data_loader,
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from litepred.drop_in.names import NotInLitepredError
from litepred.errors import LitepredError


class Stream(IterableDataset):
    """Numbers that are not indexed."""

    def __init__(self, number):
        self.number = number

    def __iter__(self):
        return iter(range(self.number))


def odd(number):
    return number if number % 2 else None


def test_nothing():
    assert list(build_batch_data_loader(DatasetFromList([]), range(0), 2)) == []
    assert list(build_detection_test_loader(dataset=Stream(0), mapper=odd)) == []
    assert list(MapDataset(Stream(0), odd)) == list(InferenceSampler(0)) == []


def test_lists():
    items = [{"a": 1}]
    assert DatasetFromList(items)[0] == items[0]
    assert DatasetFromList(items)[0] is not items[0]
    assert DatasetFromList(items, copy=False)[0] is items[0]
    assert DatasetFromList([1, 2], serialize=torch.tensor)[1] == torch.tensor(2)


class TestMapDataset:
    def test_indexed(self):
        mapped = MapDataset([1, 2, 3], str)
        assert (len(mapped), mapped[2]) == (3, "3")

    def test_another_element_comes_for_one_that_is_left_out(self, caplog, monkeypatch):
        monkeypatch.setattr(logging.getLogger("detectron2"), "propagate", True)  # which setup_logger ends
        mapped = MapDataset(range(4), odd)
        assert mapped[1] == 1
        assert {mapped[0], mapped[2]} <= {1, 3}
        assert not caplog.records
        few = MapDataset(range(40), lambda number: number if number == 7 else None)
        assert few[0] == 7
        assert "were left out" in caplog.text

    def test_all_are_left_out(self):
        with pytest.raises(LitepredError, match="returned None for all 2 elements"):
            MapDataset([0, 2], odd)[0]

    def test_iterated(self):
        mapped = MapDataset(Stream(5), odd)
        assert isinstance(mapped, IterableDataset)
        assert list(mapped) == [1, 3]

    @pytest.mark.parametrize("dataset", [[1, 3], Stream(4)])
    def test_pickled(self, dataset):
        mapped = pickle.loads(pickle.dumps(MapDataset(dataset, odd)))
        assert list(itertools.islice(mapped, 2)) == [1, 3]

    def test_pickled_with_a_lambda(self):
        pytest.importorskip("cloudpickle")
        assert pickle.loads(pickle.dumps(MapDataset([1], lambda number: number + 1)))[0] == 2


@pytest.mark.parametrize(
    ("size", "processes", "expected"), [(0, 2, [[], []]), (3, 2, [[0, 1], [2]]), (1, 3, [[0], [], []])]
)
def test_the_indices_of_each_process(size, processes, expected):
    assert list(InferenceSampler(size)) == list(range(size))
    assert [list(InferenceSampler._get_local_indices(size, processes, i)) for i in range(processes)] == expected


@pytest.mark.parametrize(("chunk", "shares"), [(1, [[10, 12, 14], [11, 13]]), (2, [[10, 11, 14], [12, 13]])])
def test_workers_take_their_shares(chunk, shares, monkeypatch):
    dataset = ToIterableDataset(range(10, 15), InferenceSampler(5), shard_chunk_size=chunk)
    assert (len(dataset), list(dataset)) == (5, [10, 11, 12, 13, 14])
    for number, share in enumerate(shares):
        worker = type("Worker", (), {"id": number, "num_workers": 2})
        monkeypatch.setattr("litepred.drop_in.loaders.get_worker_info", lambda worker=worker: worker)
        assert list(dataset) == share


def test_a_loader_of_records():
    mapped = build_detection_test_loader(dataset=[1, 2, 3], mapper=lambda one: one * 10, batch_size=2, sampler=range(3))
    assert list(mapped) == [[10, 20], [30]]
    stream = build_detection_test_loader(dataset=Stream(5), mapper=odd, batch_size=2)
    assert list(stream) == [[1, 3]]
    for wrong in ({"dataset": [1]}, {}):
        with pytest.raises(LitepredError, match="takes a config, or records with mapper"):
            build_detection_test_loader(**wrong)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 1], [2, 3]]),
        ({"drop_last": False}, [[0, 1], [2, 3], [4]]),
        ({"drop_last": False, "num_workers": 2}, [[0, 1], [2, 3], [4]]),
        ({"collate_fn": sum, "seed": 3}, [1, 5]),
    ],
)
def test_a_loader_of_batches(options, expected):
    loader = build_batch_data_loader(DatasetFromList(range(5)), InferenceSampler(5), 2, **options)
    assert (len(loader), list(loader)) == (len(expected), expected)


def test_a_loader_of_batches_of_a_stream():
    assert list(build_batch_data_loader(Stream(5), None, None, single_gpu_batch_size=2)) == [[0, 1], [2, 3]]


def test_batches_that_cannot_be_made():
    with pytest.raises(NotInLitepredError, match="by aspect ratio: litepred only infers"):
        build_batch_data_loader([1], range(1), 1, aspect_ratio_grouping=True)
    for sizes in ({"total_batch_size": 2, "single_gpu_batch_size": 2}, {"total_batch_size": None}):
        with pytest.raises(ValueError, match="total_batch_size is"):
            build_batch_data_loader([1], range(1), **sizes)


def test_a_mapper_may_change_its_record():
    records = [{"file_name": "a", "annotations": []}]
    loader = build_detection_test_loader(dataset=records, mapper=lambda one: one.pop("file_name"))
    assert list(loader) == list(loader) == [["a"]]
    assert records == [{"file_name": "a", "annotations": []}]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1]),
        ({"filter_empty": False}, [0, 1, 2, 3]),
        ({"min_keypoints": 2}, [1]),
        ({"filter_empty": False, "min_keypoints": 1}, [0, 1]),
    ],
)
def test_images_that_do_not_count_for_training(options, expected):
    records: list[dict[str, Any]] = [
        {"image_id": 0, "annotations": [{"iscrowd": 0, "keypoints": [1, 1, 2, 0, 0, 0]}, {"iscrowd": 1}]},
        {"image_id": 1, "annotations": [{"keypoints": [1, 1, 1]}, {"keypoints": [1, 1, 2]}]},
        {"image_id": 2, "annotations": []},
        {"image_id": 3, "annotations": [{"iscrowd": 1}]},
    ]
    DatasetCatalog.register("filtered", lambda: records)
    try:
        assert [one["image_id"] for one in get_detection_dataset_dicts("filtered", **options)] == expected
        with pytest.raises(LitepredError, match=r"proposal_files is .*: leave it out"):
            get_detection_dataset_dicts(["filtered"], proposal_files=["p.pkl"])
    finally:
        DatasetCatalog.remove("filtered")


def test_no_records():
    DatasetCatalog.register("empty", list)
    DatasetCatalog.register("unannotated", lambda: [{"annotations": []}])
    try:
        for names, told in (
            ((), "no data set came"),
            ("empty", "'empty' has no records"),
            ("unannotated", "no image of"),
        ):
            with pytest.raises(AssertionError, match=told):
                get_detection_dataset_dicts(names)
    finally:
        DatasetCatalog.remove("empty")
        DatasetCatalog.remove("unannotated")


def test_records_that_are_data_sets_of_torch():
    registered = {"first": DatasetFromList([1]), "second": DatasetFromList([2, 3])}
    for name, dataset in registered.items():
        DatasetCatalog.register(name, lambda dataset=dataset: dataset)
    try:
        assert get_detection_dataset_dicts("first") is registered["first"]
        both = get_detection_dataset_dicts(list(registered))
    finally:
        for name in registered:
            DatasetCatalog.remove(name)
    assert isinstance(both, ConcatDataset)
    assert list(both) == [1, 2, 3]
