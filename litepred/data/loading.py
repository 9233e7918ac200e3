"""Records of a data set as a model's inputs, image by image."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import LitepredError
from .augmentations import AugInput, AugmentationList
from .detection_utils import build_augmentation, check_image_size
from .images import read_image
from .metadata import DatasetCatalog

__all__ = [
    "DatasetFromList",
    "DatasetMapper",
    "InferenceSampler",
    "MapDataset",
    "build_detection_test_loader",
    "get_detection_dataset_dicts",
    "trivial_batch_collator",
]


class DatasetFromList(Dataset):
    """A list as a data set of torch; with ``copy``, each element is a copy of its own. ``serialize`` is ignored."""

    def __init__(self, lst: Sequence[Any], copy: bool = True, serialize: bool = True) -> None:
        self._list, self._copy = lst, copy

    def __len__(self) -> int:
        return len(self._list)

    def __getitem__(self, index: int) -> Any:
        return copy.deepcopy(self._list[index]) if self._copy else self._list[index]


class MapDataset(Dataset):
    """A data set whose elements go through a function."""

    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]) -> None:
        self._dataset, self._map = dataset, map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        return self._map(self._dataset[index])


class InferenceSampler(Sampler):
    """The indices below ``size`` in order."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._size))

    def __len__(self) -> int:
        return self._size


class DatasetMapper:
    """A record of a data set to a model's input: the image is read and resized, annotations are left out.

    Args:
        cfg: its ``INPUT`` says how images are resized, and the order of their channels.
        is_train: must be false.
        augmentations: instead of those of the config.

    Raises:
        LitepredError: ``is_train`` is true.
    """

    def __init__(self, cfg: Any, is_train: bool = False, *, augmentations: Sequence[Any] | None = None) -> None:
        if is_train:
            raise LitepredError(
                "DatasetMapper(is_train=True) prepares training data, but litepred only infers: pass False"
            )
        self.augmentations = AugmentationList(
            build_augmentation(cfg, False) if augmentations is None else augmentations
        )
        self.image_format = cfg.INPUT.FORMAT
        self.is_train = False

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Return the record with ``image``, (C, H, W) in the type of the file, and without annotations.

        Raises:
            ImageError: the image cannot be read, or has another size than the record says.
        """
        record = copy.deepcopy(dataset_dict)
        image = read_image(record["file_name"], self.image_format)
        check_image_size(record, image)
        inputs = AugInput(image)
        self.augmentations(inputs)
        record["image"] = torch.as_tensor(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))
        for key in ("annotations", "sem_seg_file_name", "pan_seg_file_name"):
            record.pop(key, None)
        return record


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """Return the batch as it is."""
    return batch


def get_detection_dataset_dicts(names: str | Sequence[str], *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """Return the records of one or several registered data sets; none is filtered out, as for testing.

    Raises:
        KeyError: a name is not registered.
    """
    return [record for name in ([names] if isinstance(names, str) else names) for record in DatasetCatalog.get(name)]


def build_detection_test_loader(
    cfg_or_dataset: Any = None,
    dataset_name: str | Sequence[str] | None = None,
    *,
    dataset: Any = None,
    mapper: Callable[[Any], Any] | None = None,
    sampler: Any = None,
    batch_size: int = 1,
    num_workers: int = 0,
    **ignored: Any,
) -> DataLoader:
    """Return a loader of lists of model inputs, in order.

    Args:
        cfg_or_dataset: a config, or the records themselves.
        dataset_name: of registered data sets, by default ``cfg.DATASETS.TEST``.
        dataset: the records, where there is no config.
        mapper: from record to input, by default a `DatasetMapper` of the config; records need one.
        sampler: the indices of the records in another order.
        batch_size: inputs per list.
        num_workers: processes that read ahead.
        **ignored: further arguments of Detectron2's.

    Raises:
        LitepredError: there are no records, or no mapper for them.
    """
    if hasattr(cfg_or_dataset, "DATASETS"):
        cfg = cfg_or_dataset
        records: Any = get_detection_dataset_dicts(cfg.DATASETS.TEST if dataset_name is None else dataset_name)
        mapper = mapper or DatasetMapper(cfg, False)
    else:
        records = dataset if cfg_or_dataset is None else cfg_or_dataset
    if records is None or mapper is None:
        raise LitepredError("build_detection_test_loader takes a config, or records with mapper=DatasetMapper(cfg)")
    mapped = MapDataset(DatasetFromList(records, copy=False) if isinstance(records, list) else records, mapper)
    return DataLoader(mapped, batch_size, sampler=sampler, num_workers=num_workers, collate_fn=trivial_batch_collator)
