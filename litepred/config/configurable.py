"""Constructors that take either a config or plain arguments."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from .node import CfgNode

__all__ = ["configurable"]

# What constructors of Detectron2 take for training alone. Litepred's leave them out wherever they come from: a lazy
# config, or a subclass that passes on what it was given.
_FOR_TRAINING = frozenset(
    (
        "anchor_boundary_thresh",
        "anchor_matcher",
        "batch_size_per_image",
        "box_reg_loss_type",
        "center_sampling_radius",
        "fed_loss_num_classes",
        "focal_loss_alpha",
        "focal_loss_gamma",
        "get_fed_loss_cls_weights",
        "ignore_value",
        "loss_normalizer",
        "loss_weight",
        "positive_fraction",
        "prior_prob",
        "proposal_append_gt",
        "proposal_matcher",
        "proposal_matchers",
        "smooth_l1_beta",
        "train_on_pred_boxes",
        "use_fed_loss",
        "vis_period",
    )
)


def configurable(
    init_func: Callable[..., Any] | None = None, *, from_config: Callable[..., dict[str, Any]] | None = None
) -> Callable[..., Any]:
    """Let an ``__init__`` or a function be called with a config in place of its arguments.

    On an ``__init__`` it stands without arguments, and the class has a classmethod ``from_config(cls, cfg, ...)`` that
    returns the keyword arguments of ``__init__``. A call whose first positional argument, or whose ``cfg=``, is a
    ``CfgNode``, or omegaconf's form of one, goes through ``from_config``; keyword arguments that ``from_config`` does
    not take override what it returned. Any other call is plain. On a function it works the same way with the given
    ``from_config(cfg, ...)``, which is also an attribute of the result. A constructor of litepred's may be given what
    Detectron2's takes for training alone, such as ``anchor_matcher``, and does not look at it.

    Raises:
        TypeError: It decorates something else, or (when called) ``from_config`` does not take ``cfg`` first, or is no
            classmethod.
        AttributeError: When called: the class has no ``from_config``.
    """
    if init_func is None:
        return configurable if from_config is None else functools.partial(_wrapped, from_config=from_config)
    if init_func.__name__ != "__init__" or from_config is not None:
        raise TypeError("@configurable decorates an __init__; on a function write @configurable(from_config=...)")
    return _wrapped(init_func)


def _as_node(cfg: Any) -> Any:
    """Return a config of omegaconf, as programs make one of a ``CfgNode``'s text, as a `CfgNode`."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is None or not isinstance(cfg, omegaconf.DictConfig):
        return cfg
    return CfgNode(omegaconf.OmegaConf.to_container(cfg, resolve=True))


def _wrapped(
    function: Callable[..., Any], from_config: Callable[..., dict[str, Any]] | None = None
) -> Callable[..., Any]:
    own = 1 if from_config is None else 0  # the ``self`` of an __init__
    is_ours = own and function.__module__.partition(".")[0] == __name__.partition(".")[0]
    left_out = _FOR_TRAINING - inspect.signature(function).parameters.keys() if is_ours else frozenset()

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        translate = from_config or type(args[0]).from_config
        if own and not inspect.ismethod(translate):
            name, takes = translate.__qualname__, ", ".join(inspect.signature(translate).parameters)
            raise TypeError(f"{name} takes ({takes}): it must take 'cfg' first, and be a classmethod in a class")
        is_first = len(args) > own
        cfg = _as_node(args[own] if is_first else kwargs.get("cfg"))
        if not isinstance(cfg, CfgNode):
            return function(*args, **{key: value for key, value in kwargs.items() if key not in left_out})
        parameters = inspect.signature(translate).parameters
        if next(iter(parameters), None) != "cfg":
            name, names = translate.__qualname__, ", ".join(parameters)
            raise TypeError(f"{name} takes ({names}): it must take 'cfg' first")
        given = (cfg, *args[own + 1 :]) if is_first else ()
        kwargs = kwargs if is_first else {**kwargs, "cfg": cfg}
        takes_any = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
        taken = {key: kwargs.pop(key) for key in list(kwargs) if takes_any or key in parameters}
        return function(*args[:own], **{**translate(*given, **taken), **kwargs})

    wrapped.from_config = from_config  # type: ignore[attr-defined]
    return wrapped
