"""Data sets and images as a model's inputs. H × W pixels, C channels.

A record of a data set is a dict with ``file_name``, ``height``, ``width``, ``image_id`` and ``annotations``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ..config import CfgNode
from ..data import ResizeShortestEdge, coco, open_image
from ..data import read_image as _read_image
from ..data.datasets import BUILTIN_NAMES
from ..data.metadata import Catalog
from ..errors import ImageError, LitepredError
from ..evaluation.panoptic import check_segments
from ..structures import BoxMode
from .builtin import MetadataCatalog, get_lvis_instances_meta
from .files import PathManager

_logger = logging.getLogger("detectron2.data")
_YUV = "YUV-BT.601"  # floats, Y from 0 to 1
_YUV_OF_RGB = np.array([[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]])
_RGB_OF_YUV = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.5806], [1.0, 2.03211, 0.0]])


class _NoRecordsError(LitepredError, KeyError):
    """Records were asked for that nobody has registered."""


class _DatasetCatalog(Catalog):
    """Functions that load a data set's records, by its name; litepred registers none that has records to give."""

    def __init__(self) -> None:
        super().__init__()
        self.data.update((name, partial(_records_of, name)) for name in BUILTIN_NAMES if "page_layout" not in name)

    def register(self, name: str, func: Callable[[], Any]) -> None:
        """Keep ``func``, which takes nothing and returns the records, a list of dicts, under a new name.

        Raises:
            AssertionError: when the name is taken or ``func`` cannot be called.
        """
        if not callable(func):
            raise AssertionError(f"{func!r} cannot be called: expected a function that returns the records of {name!r}")
        if name in self.data:
            raise AssertionError(f"{name!r} is already registered: use another name, or remove({name!r}) first")
        self.data[name] = func

    def get(self, name: str) -> Any:  # type: ignore[override]
        """Call the function of a data set and return its records.

        Raises:
            KeyError: when the name is not registered, or is well known, but only its metadata come with litepred.
        """
        return self.data.get(name, partial(_records_of, name))()


def _records_of(name: str) -> Any:
    """Return the records of a known data set whose file in COCO's format is where Detectron2 expects it."""
    facts = MetadataCatalog.get(name).as_dict() if name in BUILTIN_NAMES else {}
    json_file = facts.get("json_file", "")
    if facts.get("evaluator_type") == "coco" and os.path.isfile(json_file):
        return load_coco_json(json_file, facts["image_root"], name)
    where = f" ({json_file} does not exist)" if json_file else ""
    raise _NoRecordsError(
        f"there are no records of {name!r}{where}: litepred ships no data sets, only the metadata of known ones. To "
        f"load it yourself, DatasetCatalog.register({name!r}, func), after DatasetCatalog.remove({name!r}) if it is a "
        "known one"
    )


DatasetCatalog = _DatasetCatalog()


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a file in COCO's format; see `litepred.data.coco.load_coco_json`."""
    path = PathManager.get_local_path(json_file)
    records = coco.load_coco_json(path, image_root, dataset_name, extra_annotation_keys)
    for record in records:
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = BoxMode(annotation["bbox_mode"])
    return records


def load_sem_seg(gt_root: str, image_root: str, gt_ext: str = "png", image_ext: str = "jpg") -> list[dict[str, Any]]:
    """Pair the images of a folder with the files of labels in another one that are called alike but for the ending.

    Returns:
        A record per pair, with ``file_name`` and ``sem_seg_file_name``, ordered by name.

    Raises:
        LitepredError: there is no pair.
    """
    kinds = ((image_root, image_ext), (gt_root, gt_ext))
    images, labels = (
        {name[: -len(ending)]: os.path.join(folder, name) for name in PathManager.ls(folder) if name.endswith(ending)}
        for folder, ending in kinds
    )
    paired = sorted(images.keys() & labels.keys())
    if not paired:
        raise LitepredError(
            f"no file of {image_root} that ends in {image_ext} has labels of its name, ending in {gt_ext}, in {gt_root}"
        )
    if not len(images) == len(labels) == len(paired):
        _logger.warning("%d images and %d files of labels make %d pairs", len(images), len(labels), len(paired))
    return [{"file_name": images[name], "sem_seg_file_name": labels[name]} for name in paired]


def register_coco_instances(
    name: str, metadata: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]
) -> None:
    """Register a file in COCO's format, and its folder of images, in the two catalogs under a new name.

    `load_coco_json` reads it when its records are asked for. ``metadata`` are what is known of the data set besides,
    such as ``{"thing_classes": [...]}``.

    Raises:
        AssertionError: the name is taken.
    """
    DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="coco", **(metadata or {}))


def load_coco_panoptic_json(
    json_file: str | os.PathLike[str],
    image_dir: str | os.PathLike[str],
    gt_dir: str | os.PathLike[str],
    meta: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Read a file of COCO's panoptic format.

    Args:
        json_file: the file.
        image_dir: the folder of the images, which end in .jpg.
        gt_dir: the folder of the annotated segments.
        meta: numbers the classes, in ``thing_dataset_id_to_contiguous_id`` and ``stuff_dataset_id_to_contiguous_id``.

    Returns:
        A record per image, whose ``segments_info`` have those numbers and ``isthing``.

    Raises:
        LitepredError: the file cannot be read, is of another format, or has a category without a number.
    """
    path = PathManager.get_local_path(json_file)
    content = coco.read_annotations(path, {"annotations": ("image_id", "file_name", "segments_info")})
    told = os.fspath(json_file)
    coco.check_unique(content["annotations"], "image_id", "annotations", told)
    check_segments(content["annotations"])
    things, stuff = (meta[f"{kind}_dataset_id_to_contiguous_id"] for kind in ("thing", "stuff"))
    number_of, records = {**stuff, **things}, []
    for annotation in content["annotations"]:
        unknown = {segment["category_id"] for segment in annotation["segments_info"]} - number_of.keys()
        if unknown:
            raise LitepredError(
                f"{told} has segments of the category {next(iter(unknown))!r}, which the metadata do not number"
            )
        try:
            image_id = int(annotation["image_id"])
        except (ValueError, OverflowError) as error:
            raise LitepredError(f"{told} has the image_id {annotation['image_id']!r}: expected a number") from error
        name = os.path.join(image_dir, os.path.splitext(annotation["file_name"])[0])
        records.append(
            {
                "file_name": f"{name}.jpg",
                "image_id": image_id,
                "pan_seg_file_name": os.path.join(gt_dir, annotation["file_name"]),
                "segments_info": [
                    {**one, "category_id": number_of[one["category_id"]], "isthing": one["category_id"] in things}
                    for one in annotation["segments_info"]
                ],
            }
        )
    return records


def merge_to_panoptic(
    detection_dicts: Sequence[dict[str, Any]], sem_seg_dicts: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Join records of instances with the records of labels that have the same ``file_name``."""
    labels = {one["file_name"]: one for one in sem_seg_dicts}
    return [{**one, **labels[one["file_name"]]} for one in detection_dicts]


def register_coco_panoptic(
    name: str,
    metadata: dict[str, Any],
    image_root: str,
    panoptic_root: str,
    panoptic_json: str,
    instances_json: str | None = None,
) -> None:
    """Register a file of COCO's panoptic format, see `load_coco_panoptic_json`, in the two catalogs under a new name.

    Raises:
        AssertionError: the name is taken.
    """
    DatasetCatalog.register(name, lambda: load_coco_panoptic_json(panoptic_json, image_root, panoptic_root, metadata))
    MetadataCatalog.get(name).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=255,
        label_divisor=1000,
        **metadata,
    )


def register_coco_panoptic_separated(
    name: str,
    metadata: dict[str, Any],
    image_root: str,
    panoptic_root: str,
    panoptic_json: str,
    sem_seg_root: str,
    instances_json: str,
) -> None:
    """Register instances with labels of stuff as ``name_separated``, and the labels alone as ``name_stuffonly``.

    Raises:
        AssertionError: a name is taken.
    """
    whole, stuff = f"{name}_separated", f"{name}_stuffonly"
    known = {"sem_seg_root": sem_seg_root, "image_root": image_root, "ignore_label": 255, **metadata}
    DatasetCatalog.register(
        whole,
        lambda: merge_to_panoptic(
            load_coco_json(instances_json, image_root, whole), load_sem_seg(sem_seg_root, image_root)
        ),
    )
    MetadataCatalog.get(whole).set(
        panoptic_root=panoptic_root,
        panoptic_json=panoptic_json,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        **known,
    )
    DatasetCatalog.register(stuff, lambda: load_sem_seg(sem_seg_root, image_root))
    MetadataCatalog.get(stuff).set(evaluator_type="sem_seg", **known)


def load_lvis_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a file of LVIS, whose classes count from 1, and give the metadata of ``dataset_name`` their names.

    Args:
        json_file: the file.
        image_root: what comes before the last folder and the name in an image's ``coco_url``.
        dataset_name: the data set, such as ``lvis_v1_val``.
        extra_annotation_keys: what to keep of annotations besides box, category and polygons.

    Returns:
        A record per image, ordered by ``image_id``, with ``neg_category_ids`` and ``not_exhaustive_category_ids``.

    Raises:
        LitepredError: the file cannot be read, is not of this format, or contradicts itself.
    """
    content = coco.read_annotations(
        PathManager.get_local_path(json_file),
        {
            "images": ("id", "height", "width", "coco_url"),
            "annotations": ("image_id", "bbox", "category_id", "segmentation"),
        },
    )
    told = os.fspath(json_file)
    coco.check_unique(content["images"], "id", "images", told)
    coco.check_unique([one for one in content["annotations"] if "id" in one], "id", "annotations", told)
    for image in content["images"]:
        if not isinstance(image["coco_url"], str) or "/" not in image["coco_url"]:
            raise LitepredError(
                f"{told} has an image whose coco_url is {image['coco_url']!r:.100}: expected an address that ends in "
                "the image's folder and name, such as …/val2017/000000397133.jpg"
            )
    facts = get_lvis_instances_meta(dataset_name) if dataset_name is not None else {}
    if dataset_name is not None:
        MetadataCatalog.get(dataset_name).set(**facts)
    number_of = facts.get("thing_dataset_id_to_contiguous_id")
    records = {
        image["id"]: {
            "file_name": os.path.join(
                f"{image_root}{image['coco_url'].split('/')[-2]}", image["coco_url"].split("/")[-1]
            ),
            "height": image["height"],
            "width": image["width"],
            "not_exhaustive_category_ids": image.get("not_exhaustive_category_ids", []),
            "neg_category_ids": image.get("neg_category_ids", []),
            "image_id": image["id"],
            "annotations": [],
        }
        for image in sorted(content["images"], key=itemgetter("id"))
    }
    texts, who, elsewhere = set(map(str, records)), f"an annotation of {told}", 0
    for one in content["annotations"]:
        if not coco.is_listed(one["image_id"], records, texts, f"{who} has image_id"):
            elsewhere += 1
            continue
        shape = one["segmentation"]
        if not isinstance(shape, list) or not shape or not all(map(_is_polygon, shape)):
            raise LitepredError(
                f"{who} has the segmentation {shape!r:.100}: expected one or more polygons of three points or more"
            )
        if number_of is not None:
            coco.check_known(one["category_id"], number_of, f"{who} is of the category")
        elif not coco.is_number(one["category_id"]):
            raise LitepredError(f"{who} is of the category {one['category_id']!r:.100}: expected a number")
        number = one["category_id"] - 1 if number_of is None else number_of[one["category_id"]]
        kept = {key: one[key] for key in ("bbox", "segmentation", *(extra_annotation_keys or ()))}
        records[one["image_id"]]["annotations"].append({**kept, "bbox_mode": BoxMode.XYWH_ABS, "category_id": number})
    coco.tell_elsewhere(elsewhere, len(content["annotations"]), told, stacklevel=3)
    return list(records.values())


def _is_polygon(points: Any) -> bool:
    return isinstance(points, list) and len(points) >= 6 and len(points) % 2 == 0


def register_lvis_instances(
    name: str, metadata: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]
) -> None:
    """Register a file of LVIS, see `load_lvis_json`, in the two catalogs under a new name.

    Raises:
        AssertionError: the name is taken.
    """
    DatasetCatalog.register(name, lambda: load_lvis_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="lvis", **metadata)


def read_image(file_name: str | os.PathLike[str], format: str | None = None) -> np.ndarray:
    """Read an image file, turned upright as its EXIF data say.

    Args:
        file_name: a path, or an address, which is downloaded.
        format: "BGR", "RGB" or another mode of Pillow; ``None`` for the file's own mode.

    Returns:
        (H, W, C) uint8; (H, W, 1) for "L".

    Raises:
        ImageError: when there is no such file or it is not an image that can be read whole.
    """
    path = PathManager.get_local_path(file_name)
    if format is not None:
        return _read_image(path, format)
    with open_image(path) as image:
        return np.asarray(ImageOps.exif_transpose(image))


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """Return a Pillow image as an array (H, W, C) in the order ``format``: "BGR", "YUV-BT.601" or a mode of Pillow."""
    array = np.asarray(image if format is None else image.convert("RGB" if format in ("BGR", _YUV) else format))
    if format == "BGR":
        return array[:, :, ::-1]
    if format == _YUV:
        return array / 255.0 @ _YUV_OF_RGB.T
    return array[:, :, None] if format == "L" else array


def convert_image_to_rgb(image: np.ndarray | Tensor, format: str) -> np.ndarray:
    """Return an image (H, W, C) as RGB (H, W, 3), 0 to 255; ``format`` is what `convert_PIL_to_numpy` takes."""
    array = image.cpu().numpy() if isinstance(image, Tensor) else image
    if format == "BGR":
        return array[:, :, [2, 1, 0]]
    if format == _YUV:
        return array @ _RGB_OF_YUV.T * 255.0
    pixels = np.ascontiguousarray(array, np.uint8)
    return np.asarray(Image.frombytes(format, (pixels.shape[1], pixels.shape[0]), pixels.tobytes()).convert("RGB"))


class SizeMismatchError(ImageError):
    """An image has another size than its record says."""


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Refuse an image (H, W, …) of another size than its record says; one without a size gets the image's."""
    for key, value in (("width", image.shape[1]), ("height", image.shape[0])):
        if dataset_dict.setdefault(key, value) != value:
            raise SizeMismatchError(
                f"the image {dataset_dict.get('file_name', '')} has a {key} of {value} pixels, but its record says "
                f"{key} {dataset_dict[key]}: correct the annotations"
            )


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[Any]:
    """Return the augmentations of ``cfg.INPUT`` for prediction, which is the resizing; ``is_train`` must be false."""
    if is_train:
        raise LitepredError("training data were asked for with is_train=True, but litepred only infers: pass False")
    return [ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


def create_keypoint_hflip_indices(dataset_names: str | Sequence[str]) -> list[int]:
    """Return, for each keypoint of a registered data set, the index of that which a mirrored image has in its place.

    Raises:
        AttributeError: the data set has no keypoints.
    """
    metadata = MetadataCatalog.get(dataset_names if isinstance(dataset_names, str) else dataset_names[0])
    names, pairs = list(metadata.keypoint_names), metadata.keypoint_flip_map
    mirrored = {**dict(pairs), **{right: left for left, right in pairs}}
    return [names.index(mirrored.get(name, name)) for name in names]
