"""Images and what is known of data sets."""

from .images import ResizeShortestEdge, ResizeTransform, as_array, read_image
from .metadata import DatasetCatalog, Metadata, MetadataCatalog, class_name

__all__ = [
    "DatasetCatalog",
    "Metadata",
    "MetadataCatalog",
    "ResizeShortestEdge",
    "ResizeTransform",
    "as_array",
    "class_name",
    "read_image",
]
