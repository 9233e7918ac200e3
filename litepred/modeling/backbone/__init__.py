"""Backbones: images to feature maps. What each file has in its ``__all__`` is public here."""

from .base import *
from .fpn import *
from .mvit import *
from .regnet import *
from .resnet import *
from .swin import *
from .transformer import *
from .vit import *
