"""Images and what is known of data sets."""

from .augmentations import ResizeShortestEdge
from .images import as_array, read_image
from .metadata import DatasetCatalog, Metadata, MetadataCatalog, class_name, dataset_ids
from .resampling import ResizeTransform
from .video import VideoReader, video_file

__all__ = [
    "DatasetCatalog",
    "Metadata",
    "MetadataCatalog",
    "ResizeShortestEdge",
    "ResizeTransform",
    "VideoReader",
    "as_array",
    "class_name",
    "dataset_ids",
    "read_image",
    "video_file",
]
