"""Images and videos, their resizing, and what is known of data sets."""

from .decoders import DECODERS, IMAGE_FORMATS, is_old, open_image
from .images import ImageLike, bands_for_array, image_size, image_to_array, read_image
from .metadata import Metadata, MetadataCatalog, as_list, as_metadata, class_name, dataset_ids, segments_of
from .resize import ResizeShortestEdge, ResizeTransform
from .video import VideoReader, video_file

__all__ = [
    "DECODERS",
    "IMAGE_FORMATS",
    "ImageLike",
    "Metadata",
    "MetadataCatalog",
    "ResizeShortestEdge",
    "ResizeTransform",
    "VideoReader",
    "as_list",
    "as_metadata",
    "bands_for_array",
    "class_name",
    "dataset_ids",
    "image_size",
    "image_to_array",
    "is_old",
    "open_image",
    "read_image",
    "segments_of",
    "video_file",
]
