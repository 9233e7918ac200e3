"""What is found in an image, and the images of a batch: boxes, instances, masks, keypoints, padded images."""

from .boxes import Boxes, BoxMode, pairwise_intersection, pairwise_ioa, pairwise_iou
from .image_list import ImageList
from .instances import Instances, Origin, Outputs, SegmentInfo, origin_of, set_origin
from .keypoints import heatmaps_to_keypoints
from .mask_formats import instance_mask, mask_to_polygons, mask_to_rle, polygons_to_mask, rle_to_mask
from .masks import BitMasks, ROIMasks, polygons_to_bitmask
from .rotated_boxes import RotatedBoxes, boxes_of

__all__ = [
    "BitMasks",
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "Origin",
    "Outputs",
    "ROIMasks",
    "RotatedBoxes",
    "SegmentInfo",
    "boxes_of",
    "heatmaps_to_keypoints",
    "instance_mask",
    "mask_to_polygons",
    "mask_to_rle",
    "origin_of",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "polygons_to_bitmask",
    "polygons_to_mask",
    "rle_to_mask",
    "set_origin",
]
