"""Images and what is known of data sets."""

from .augmentations import ResizeShortestEdge
from .images import ImageLike, image_to_array, read_image
from .metadata import DatasetCatalog, Metadata, MetadataCatalog, class_name, dataset_ids
from .resampling import ResizeTransform
from .video import VideoReader, video_file

__all__ = [
    "DatasetCatalog",
    "ImageLike",
    "Metadata",
    "MetadataCatalog",
    "ResizeShortestEdge",
    "ResizeTransform",
    "VideoReader",
    "class_name",
    "dataset_ids",
    "image_to_array",
    "read_image",
    "video_file",
]
