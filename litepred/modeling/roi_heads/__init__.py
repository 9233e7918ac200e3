"""Heads that work on regions of interest. What each file has in its ``__all__`` is public here."""

from .box_head import *
from .cascade import *
from .fast_rcnn import *
from .keypoint_head import *
from .mask_head import *
from .res5 import *
from .standard import *
