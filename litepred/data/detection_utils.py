"""Small functions around records of data sets and images, with Detectron2's names.

H × W pixels. A record is a dict with ``file_name``, ``height``, ``width`` and ``annotations``; an annotation has
``bbox``, ``bbox_mode``, ``category_id`` and perhaps ``segmentation`` and ``keypoints``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import ImageError
from ..structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
    polygons_to_bitmask,
    rle_to_mask,
)
from .augmentations import Augmentation, RandomFlip, ResizeShortestEdge
from .metadata import MetadataCatalog
from .transforms import CropTransform, HFlipTransform, TransformList

__all__ = [
    "SizeMismatchError",
    "annotations_to_instances",
    "annotations_to_instances_rotated",
    "build_augmentation",
    "check_image_size",
    "convert_PIL_to_numpy",
    "convert_image_to_rgb",
    "create_keypoint_hflip_indices",
    "filter_empty_instances",
    "gen_crop_transform_with_instance",
    "transform_instance_annotations",
    "transform_keypoint_annotations",
]

# ITU-R BT.601: luma from red, green and blue, and the two differences of colour, scaled.
_YUV_OF_RGB = np.array([[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]])
_RGB_OF_YUV = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])


class SizeMismatchError(ImageError):
    """An image has another size than its record says."""


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    """Turn a Pillow image upright as its EXIF data say; one without them is returned as it is."""
    return ImageOps.exif_transpose(image)


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """Return a Pillow image as an array (H, W, C) in the order ``format``: "BGR", "YUV-BT.601" or a mode of Pillow."""
    if format is not None:
        image = image.convert("RGB" if format in ("BGR", "YUV-BT.601") else format)
    array = np.asarray(image)
    if format == "L":
        return array[:, :, None]
    if format == "BGR":
        return array[:, :, ::-1]
    return array / 255.0 @ _YUV_OF_RGB.T if format == "YUV-BT.601" else array


def convert_image_to_rgb(image: np.ndarray | Tensor, format: str) -> np.ndarray:
    """Return an image (H, W, C) in the order ``format`` as RGB (H, W, 3), 0 to 255."""
    array = image.cpu().numpy() if isinstance(image, Tensor) else image
    if format == "BGR":
        return array[:, :, [2, 1, 0]]
    if format == "YUV-BT.601":
        return array @ _RGB_OF_YUV.T * 255.0
    array = array.astype(np.uint8)
    return np.asarray(Image.fromarray(array[:, :, 0] if format == "L" else array).convert("RGB"))


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare an image (H, W, …) with its record, which gets ``height`` and ``width`` where they are missing.

    Raises:
        SizeMismatchError: they differ.
    """
    size = {"width": image.shape[1], "height": image.shape[0]}
    for key, value in size.items():
        if dataset_dict.setdefault(key, value) != value:
            raise SizeMismatchError(
                f"the image {dataset_dict.get('file_name', '')} is {size['width']} pixels wide and {size['height']} "
                f"high, but its record says {key} {dataset_dict[key]}: correct the annotations"
            )


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Any,
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Change, in place, the box, the segmentation and the keypoints of one annotation with its image.

    Args:
        annotation: of one instance; returned with ``bbox`` as x1 y1 x2 y2, limited to the image.
        transforms: a `TransformList` or a list of transforms.
        image_size: (height, width) of the changed image.
        keypoint_hflip_indices: see `create_keypoint_hflip_indices`.

    Raises:
        ValueError: the segmentation is neither polygons nor run lengths, or keypoints are flipped without indices.
    """
    transforms = transforms if isinstance(transforms, TransformList) else TransformList(transforms)
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    height, width = image_size
    annotation["bbox"] = transforms.apply_box(np.array([box]))[0].clip(0, [width, height, width, height])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    segmentation = annotation.get("segmentation", ())
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon).reshape(-1, 2) for polygon in segmentation]
        annotation["segmentation"] = [polygon.reshape(-1) for polygon in transforms.apply_polygons(polygons)]
    elif isinstance(segmentation, dict):
        annotation["segmentation"] = transforms.apply_segmentation(rle_to_mask(segmentation).astype(np.uint8))
    elif "segmentation" in annotation:
        raise ValueError(
            f"a segmentation of type {type(segmentation).__name__} came: expected a list of polygons, or run lengths "
            "as a dict"
        )
    if "keypoints" in annotation:
        keypoints = annotation["keypoints"]
        annotation["keypoints"] = transform_keypoint_annotations(
            keypoints, transforms, image_size, keypoint_hflip_indices
        )
    return annotation


def transform_keypoint_annotations(
    keypoints: Any,
    transforms: TransformList,
    image_size: tuple[int, int],
    keypoint_hflip_indices: Sequence[int] | None = None,
) -> np.ndarray:
    """Return the changed keypoints of one instance, float64 (K, 3); those that left the image are zeros.

    Raises:
        ValueError: they are flipped, and there are no indices for it, or not as many as keypoints.
    """
    points = np.array(keypoints, float).reshape(-1, 3)
    points[:, :2] = transforms.apply_coords(points[:, :2])
    inside = (points[:, :2] >= 0) & (points[:, :2] <= np.array(image_size[::-1]))
    points[~inside.all(axis=1), 2] = 0
    if sum(isinstance(one, HFlipTransform) for one in transforms.transforms) % 2:
        if keypoint_hflip_indices is None or len(keypoint_hflip_indices) != len(points):
            raise ValueError(
                f"{len(points)} keypoints are flipped with the indices {keypoint_hflip_indices}: expected an index for "
                "each, from create_keypoint_hflip_indices()"
            )
        points = points[np.asarray(keypoint_hflip_indices)]
    points[points[:, 2] == 0] = 0
    return points


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """Put annotations into an `Instances`: ``gt_boxes``, ``gt_classes``, and ``gt_masks`` and ``gt_keypoints``.

    Args:
        annos: of one image; the first decides whether there are masks and keypoints.
        image_size: (height, width) of the image.
        mask_format: "polygon" for `PolygonMasks`, "bitmask" for `BitMasks`.

    Raises:
        ValueError: another format, or segmentations that are not of it.
    """
    boxes = [BoxMode.convert(one["bbox"], one["bbox_mode"], BoxMode.XYXY_ABS) for one in annos]
    instances = Instances(image_size, gt_boxes=Boxes(np.array(boxes, np.float64).reshape(-1, 4)))
    instances.gt_classes = torch.tensor([int(one["category_id"]) for one in annos], dtype=torch.int64)
    if annos and "segmentation" in annos[0]:
        if mask_format not in ("polygon", "bitmask"):
            raise ValueError(f"mask_format is {mask_format!r}: expected 'polygon' or 'bitmask'")
        segmentations = [one["segmentation"] for one in annos]
        if mask_format == "polygon":
            instances.gt_masks = PolygonMasks(segmentations)
        else:
            instances.gt_masks = BitMasks(np.stack([_as_bitmask(one, image_size) for one in segmentations]))
    if annos and "keypoints" in annos[0]:
        points = np.array([one.get("keypoints", []) for one in annos], np.float64)
        instances.gt_keypoints = Keypoints(points.reshape(len(annos), -1, 3))
    return instances


def _as_bitmask(segmentation: Any, image_size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    if isinstance(segmentation, dict):
        return rle_to_mask(segmentation).astype(bool)
    if isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
        return segmentation.astype(bool)
    raise ValueError(
        f"a segmentation of type {type(segmentation).__name__} came: expected a list of polygons, run lengths as a "
        "dict, or an array (H, W)"
    )


def annotations_to_instances_rotated(annos: Sequence[dict[str, Any]], image_size: tuple[int, int]) -> Instances:
    """Put annotations with rotated boxes (x y width height angle) into an `Instances`."""
    boxes = RotatedBoxes([one["bbox"] for one in annos])
    boxes.clip(image_size)
    classes = torch.tensor([one["category_id"] for one in annos], dtype=torch.int64)
    return Instances(image_size, gt_boxes=boxes, gt_classes=classes)


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Any:
    """Leave out the instances of ``annotations_to_instances`` whose box or mask is empty.

    Args:
        instances: with ``gt_boxes`` and perhaps ``gt_masks``.
        by_box: look at the boxes.
        by_mask: look at the masks.
        box_threshold: both sides must be longer than this, in pixels.
        return_mask: return which were kept, bool (N,), as well.
    """
    kept = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        kept &= instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        kept &= instances.gt_masks.nonempty()
    return (instances[kept], kept) if return_mask else instances[kept]


def create_keypoint_hflip_indices(dataset_names: str | Sequence[str]) -> list[int]:
    """Return, for each keypoint of a data set, the number of the one that is in its place in the mirror.

    Raises:
        AttributeError: the metadata have no keypoints.
    """
    name = dataset_names if isinstance(dataset_names, str) else dataset_names[0]
    metadata = MetadataCatalog.get(name)
    mirrored = dict(metadata.keypoint_flip_map)
    mirrored.update({right: left for left, right in metadata.keypoint_flip_map})
    names = list(metadata.keypoint_names)
    return [names.index(mirrored.get(one, one)) for one in names]


def gen_crop_transform_with_instance(
    crop_size: tuple[int, int], image_size: tuple[int, int], instance: dict[str, Any]
) -> CropTransform:
    """Draw a crop that has the centre of an instance in it; sizes are (height, width).

    Raises:
        AssertionError: the centre lies outside of the image, or the crop is larger than the image.
    """
    x1, y1, x2, y2 = BoxMode.convert(instance["bbox"], instance["bbox_mode"], BoxMode.XYXY_ABS)
    center, crop, size = np.array([y1 + y2, x1 + x2]) * 0.5, np.array(crop_size, int), np.array(image_size, int)
    if (center > size).any() or (crop > size).any():
        raise AssertionError(
            f"a crop of {tuple(crop_size)} around {tuple(center)} was asked for in an image of {tuple(image_size)}: "
            "expected both inside of it"
        )
    low = np.maximum(np.floor(center).astype(int) - crop, 0)
    high = np.minimum(size - crop, np.ceil(center).astype(int))
    y0, x0 = (int(np.random.randint(a, b + 1)) for a, b in zip(low, high))
    return CropTransform(x0, y0, int(crop[1]), int(crop[0]))


def build_augmentation(cfg: Any, is_train: bool) -> list[Augmentation]:
    """Return the augmentations of ``cfg.INPUT``: the resizing, and with ``is_train`` the random flip."""
    section = cfg.INPUT
    if not is_train:
        return [ResizeShortestEdge(section.MIN_SIZE_TEST, section.MAX_SIZE_TEST, "choice")]
    resize = ResizeShortestEdge(section.MIN_SIZE_TRAIN, section.MAX_SIZE_TRAIN, section.MIN_SIZE_TRAIN_SAMPLING)
    if section.RANDOM_FLIP == "none":
        return [resize]
    horizontal = section.RANDOM_FLIP == "horizontal"
    return [resize, RandomFlip(horizontal=horizontal, vertical=not horizontal)]
