"""Pictures of what a model found, drawn with OpenCV and Pillow."""

from .colors import class_color, colormap, random_color, random_colors
from .image import VisImage, scale_to_look_at
from .masks import GenericMask
from .video import VideoVisualizer
from .visualizer import ColorMode, Visualizer, draw, show

__all__ = [
    "ColorMode",
    "GenericMask",
    "VideoVisualizer",
    "VisImage",
    "Visualizer",
    "class_color",
    "colormap",
    "draw",
    "random_color",
    "random_colors",
    "scale_to_look_at",
    "show",
]
