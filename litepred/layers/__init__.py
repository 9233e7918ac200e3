"""The layers that torch and torchvision do not already have. What each file has in its ``__all__`` is public here."""

from .aspp import *
from .block import *
from .conv import *
from .linear import *
from .module import *
from .nms import *
from .norm import *
from .operators import *
from .paste import *
from .rotated import *
from .shape_spec import *
from .winograd import *
