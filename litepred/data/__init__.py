"""Images and what is known of data sets."""

from .images import ResizeShortestEdge, ResizeTransform, as_array, read_image
from .metadata import DatasetCatalog, Metadata, MetadataCatalog, class_name
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
    "read_image",
    "video_file",
]
