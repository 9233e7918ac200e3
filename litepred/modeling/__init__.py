"""Models and their parts, built by name from a config or directly from plain arguments.

What each file has in its ``__all__`` is public here.
"""

from .anchors import *
from .backbone.base import *
from .backbone.fpn import *
from .backbone.mvit import *
from .backbone.regnet import *
from .backbone.resnet import *
from .backbone.swin import *
from .backbone.transformer import *
from .backbone.vit import *
from .box_coding import *
from .build import *
from .dense_detector import *
from .fcos import *
from .panoptic import *
from .point_features import *
from .poolers import *
from .postprocess import *
from .rcnn import *
from .registry import *
from .retinanet import *
from .roi_heads.box_head import *
from .roi_heads.cascade import *
from .roi_heads.fast_rcnn import *
from .roi_heads.keypoint_head import *
from .roi_heads.mask_head import *
from .roi_heads.res5 import *
from .roi_heads.standard import *
from .rotated import *
from .rpn import *
from .semantic import *
from .torchvision_rcnn import *
