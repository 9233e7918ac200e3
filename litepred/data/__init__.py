"""Images and videos, their resizing, and what is known of data sets."""

from .images import as_array, read_image
from .metadata import Metadata, MetadataCatalog, class_name
from .resize import ResizeShortestEdge, ResizeTransform
from .video import VideoReader, video_file

__all__ = [
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
