"""Data sets as torch has them, and the loaders that make a model's inputs of them. H × W pixels, C channels."""

from __future__ import annotations

import logging
import operator
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from copy import deepcopy
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from ..config import CfgNode, configurable
from ..errors import LitepredError, package
from .datasets import DatasetCatalog, build_augmentation, check_image_size, read_image
from .names import ABSENT, NotInLitepredError
from .process import get_rank, get_world_size
from .transforms import AugInput, AugmentationList

_logger = logging.getLogger("detectron2.data.common")
_MOST_QUIET_TRIES = 2


class PicklableWrapper:
    """A function that can be sent to other processes: by the package cloudpickle where pickle cannot, as a lambda."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._obj(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return pickle.loads, (pickle.dumps(self._obj),)
        except (AttributeError, TypeError, pickle.PicklingError):
            cloudpickle = package("cloudpickle", "sending a lambda to another process", "cloudpickle")
            return pickle.loads, (cloudpickle.dumps(self._obj),)


class _MapIterableDataset(IterableDataset):
    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]) -> None:
        self._dataset, self._map_func = dataset, PicklableWrapper(map_func)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        return (one for one in map(self._map_func, self._dataset) if one is not None)


class MapDataset(Dataset):
    """A data set whose elements go through a function, which returns ``None`` for those to leave out.

    One that is iterated leaves them out; one that is indexed returns another element in their place, drawn at random.
    """

    def __new__(cls, dataset: Any, map_func: Callable[[Any], Any]) -> Any:
        """Return a data set that is iterated for one that is iterated."""
        return _MapIterableDataset(dataset, map_func) if isinstance(dataset, IterableDataset) else super().__new__(cls)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self._dataset, self._map_func

    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]) -> None:
        self._dataset, self._map_func = dataset, PicklableWrapper(map_func)
        self._rng, self._left_out = random.Random(42), set[int]()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        current, tries = int(idx), 0
        while (element := self._map_func(self._dataset[current])) is None:
            tries += 1
            self._left_out.add(current)
            others = [one for one in range(len(self)) if one not in self._left_out]
            if not others:
                raise LitepredError(f"the function of a MapDataset returned None for all {len(self)} elements")
            if tries > _MOST_QUIET_TRIES:
                _logger.warning("the element %d and %d in its place were left out", idx, tries - 1)
            current = self._rng.choice(others)
        return element


class DatasetFromList(Dataset):
    """A list as a data set; with ``copy``, each element is a copy of its own.

    ``serialize`` may be a function that returns what stands for the list; as a bool it has no effect.
    """

    def __init__(self, lst: Any, copy: bool = True, serialize: bool | Callable[[Any], Any] = True) -> None:
        self._lst, self._copy = serialize(lst) if callable(serialize) else lst, copy

    def __len__(self) -> int:
        return len(self._lst)

    def __getitem__(self, idx: int) -> Any:
        return deepcopy(self._lst[idx]) if self._copy else self._lst[idx]


class ToIterableDataset(IterableDataset):
    """The elements of a data set in the order of a sampler.

    Args:
        dataset: one that is indexed.
        sampler: the indices.
        shard_sampler: whether each worker of a loader takes its share of the indices, instead of all of them.
        shard_chunk_size: how many that follow one another go to one worker.
    """

    def __init__(
        self, dataset: Any, sampler: Iterable[int], shard_sampler: bool = True, shard_chunk_size: int = 1
    ) -> None:
        self.dataset, self.sampler = dataset, sampler
        self.shard_sampler, self.shard_chunk_size = shard_sampler, shard_chunk_size

    def __len__(self) -> int:
        return len(self.sampler) if isinstance(self.sampler, Sized) else len(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info() if self.shard_sampler else None
        for i, index in enumerate(self.sampler):
            if worker is None or i // self.shard_chunk_size % worker.num_workers == worker.id:
                yield self.dataset[index]


class InferenceSampler(Sampler):
    """All indices below ``size``, in order."""

    def __init__(self, size: int) -> None:
        self._local_indices = self._get_local_indices(size, get_world_size(), get_rank())

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        """Return the indices of one of several processes, whose numbers differ by one at most."""
        least, more = divmod(total_size, world_size)
        ends = [0, *accumulate(least + (i < more) for i in range(world_size))]
        return range(ends[rank], ends[rank + 1])

    def __iter__(self) -> Iterator[int]:
        return iter(self._local_indices)

    def __len__(self) -> int:
        return len(self._local_indices)


class DatasetMapper:
    """A record of a data set to a model's input: image and labels are read and resized, annotations are left out.

    Args:
        is_train: changes nothing.
        augmentations: what is done to the image; from a config, the resizing of ``cfg.INPUT``.
        image_format: the order of the channels, such as "BGR"; from a config, ``cfg.INPUT.FORMAT``.
        **for_annotations: what Detectron2's mapper takes for annotations, such as ``use_instance_mask``.
    """

    @configurable
    def __init__(
        self, is_train: bool = False, *, augmentations: Sequence[Any], image_format: str, **for_annotations: Any
    ) -> None:
        self.augmentations = AugmentationList(augmentations)
        self.image_format, self.is_train = image_format, False

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = False) -> dict[str, Any]:
        """Translate ``cfg.INPUT`` into arguments."""
        return {"augmentations": build_augmentation(cfg, is_train), "image_format": cfg.INPUT.FORMAT}

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Return the record with ``image``, (C, H, W) in the type of the file, and without annotations.

        Where it has ``sem_seg_file_name``, ``sem_seg`` comes in its place: the labels, (H, W) int64.

        Raises:
            ImageError: the image or the file of the labels cannot be read, or has another size than the record says.
        """
        record = deepcopy(dataset_dict)
        image = read_image(record["file_name"], self.image_format)
        check_image_size(record, image)
        labels = record.pop("sem_seg_file_name", None)
        inputs = AugInput(image, sem_seg=None if labels is None else read_image(labels, "L")[:, :, 0])
        self.augmentations(inputs)
        record["image"] = torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))
        if inputs.sem_seg is not None:
            record["sem_seg"] = torch.from_numpy(inputs.sem_seg.astype(np.int64))
        record.pop("annotations", None)
        return record


class NoRecordsError(LitepredError, AssertionError):
    """There is no data set, or nothing in one."""


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> Any:
    """Return the records of one or several registered data sets.

    They are a list, unless a data set of torch is registered, of which nothing is filtered out.

    Args:
        names: of the data sets.
        filter_empty: leave out images of which all annotations are crowds, or that have none, if the first one has
            annotations.
        min_keypoints: how many visible keypoints an image needs that counts.
        proposal_files: must be ``None`` or empty.
        check_consistency: has no effect: Detectron2 checks the names of classes and prints their numbers.

    Raises:
        LitepredError: ``proposal_files`` came; as an AssertionError, too: there are no records.
    """
    if proposal_files:
        raise LitepredError(
            f"proposal_files is {proposal_files!r:.100}, but litepred does not read them: leave it out, in "
            "the config cfg.DATASETS.PROPOSAL_FILES_TEST, and put 'proposals' into the model's inputs"
        )
    names = [names] if isinstance(names, str) else names
    if not names:
        raise NoRecordsError("no data set came: name one, such as in cfg.DATASETS.TEST = ('my_val',)")
    found = [DatasetCatalog.get(name) for name in names]
    if isinstance(found[0], Dataset):
        return reduce(operator.add, found)
    if empty := [name for name, records in zip(names, found) if not len(records)]:
        raise NoRecordsError(f"the data set {empty[0]!r} has no records: the function registered for it returned none")
    records = [record for records in found for record in records]
    if records and "annotations" in records[0]:
        if filter_empty:
            records = [one for one in records if any(not a.get("iscrowd", 0) for a in one["annotations"])]
        if min_keypoints > 0:
            records = [one for one in records if _visible_keypoints(one) >= min_keypoints]
    if not records:
        raise NoRecordsError(f"no image of {', '.join(names)} has annotations that count: pass filter_empty=False")
    return records


def _visible_keypoints(record: dict[str, Any]) -> int:
    points = (one["keypoints"] for one in record["annotations"] if "keypoints" in one)
    return sum(int((np.asarray(flat)[2::3] > 0).sum()) for flat in points)


def build_detection_test_loader(
    cfg_or_dataset: Any = None,
    dataset_name: str | Sequence[str] | None = None,
    mapper: Callable[[Any], Any] | None = None,
    *,
    dataset: Any = None,
    cfg: Any = None,
    **options: Any,
) -> DataLoader:
    """Return a loader of lists of model inputs, in order.

    Args:
        cfg_or_dataset: a config, or the records themselves.
        dataset_name: the registered data sets, by default ``cfg.DATASETS.TEST``.
        mapper: from record to input; a `DatasetMapper` of the config by default, and records need one.
        dataset: the records, by this name; with a config, instead of the registered ones.
        cfg: the config, by this name.
        **options: of torch's ``DataLoader``, such as ``sampler``, ``batch_size`` (1) and ``num_workers`` (0).

    Raises:
        LitepredError: there are no records, no mapper for them, or the config names files of proposals.
    """
    records, source = dataset, cfg_or_dataset if cfg is None else cfg
    if not hasattr(source, "DATASETS"):
        records = dataset if source is None else source
    else:
        mapper = mapper or DatasetMapper(source, False)
        if dataset is None:
            names = source.DATASETS.TEST if dataset_name is None else dataset_name
            proposals = source.DATASETS.PROPOSAL_FILES_TEST if source.MODEL.LOAD_PROPOSALS else None
            records = get_detection_dataset_dicts(names, filter_empty=False, proposal_files=proposals)
    if records is None or mapper is None:
        raise LitepredError("build_detection_test_loader takes a config, or records with mapper=DatasetMapper(cfg)")
    if isinstance(records, list):
        records = DatasetFromList(records)  # so that a mapper may change what it gets
    collate_fn = options.pop("collate_fn", None) or list
    return DataLoader(MapDataset(records, mapper), collate_fn=collate_fn, **options)


def build_batch_data_loader(
    dataset: Any,
    sampler: Any,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    collate_fn: Callable[[Any], Any] | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    seed: int | None = None,
    **options: Any,
) -> DataLoader:
    """Return a loader of lists of elements.

    Args:
        dataset: a data set of torch.
        sampler: the indices of its elements; ``None`` where it is iterated.
        total_batch_size: how many go together; or ``single_gpu_batch_size``, which is the same with one process.
        aspect_ratio_grouping: must be false: which images go together matters for training alone.
        collate_fn: what makes a batch of a list; by default it is the list.
        drop_last: leave out a last list that is shorter.
        single_gpu_batch_size: see ``total_batch_size``.
        seed: of random numbers.
        **options: of torch's ``DataLoader``, such as ``num_workers`` (0).

    Raises:
        NotInLitepredError: images are to be grouped by their aspect ratio.
        ValueError: there is not one size of batches but none or two.
    """
    if aspect_ratio_grouping:
        raise NotInLitepredError(f"build_batch_data_loader cannot group by aspect ratio: {ABSENT['training']}")
    if bool(total_batch_size) == bool(single_gpu_batch_size):
        raise ValueError(f"total_batch_size is {total_batch_size} and single_gpu_batch_size is {single_gpu_batch_size}")
    return DataLoader(
        dataset,
        batch_size=total_batch_size or single_gpu_batch_size,
        sampler=sampler,
        collate_fn=collate_fn or list,
        drop_last=drop_last,
        generator=None if seed is None else torch.Generator().manual_seed(seed),
        **options,
    )
