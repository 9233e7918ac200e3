"""Detectron2's lazy configs: Python files that describe a model as calls, read as data, without running them.

``LazyConfig.load`` evaluates the small language that such files are written in (see `language`), ``LazyCall`` describes
a call, and ``instantiate`` makes the described objects. They need ``pip install litepred[lazy]``, which brings
omegaconf; without it they can be imported, as programs do that use them for some of their models only, and not used.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..names import stand_in

__all__ = ["LazyCall", "LazyConfig", "allow_targets", "get_config", "instantiate", "locate", "name_of"]

if TYPE_CHECKING or find_spec("omegaconf") is not None:
    from .config import LazyCall, LazyConfig, get_config
    from .targets import allow_targets, instantiate, locate, name_of
else:
    for _name in __all__:
        globals()[_name] = stand_in(f"litepred.{_name}", "needs omegaconf: pip install 'litepred[lazy]'")
