"""Detectron2's lazy configs: Python files that describe a model as calls, read as data, without running them.

``LazyConfig.load`` evaluates the small language that such files are written in (see `language`), ``LazyCall`` describes
a call, and ``instantiate`` makes the described objects. Needs ``pip install litepred[lazy]``, which brings omegaconf.
"""

from __future__ import annotations

try:
    import omegaconf as _omegaconf  # noqa: F401 - asked for here, so that one message says what is missing
except ImportError as error:
    raise ImportError("lazy configs need omegaconf: pip install 'litepred[lazy]'") from error

from .config import LazyCall, LazyConfig, get_config
from .targets import allow_targets, instantiate

__all__ = ["LazyCall", "LazyConfig", "allow_targets", "get_config", "instantiate"]
