"""Which of the instances that a model could report a caller asks for, call by call, without building the model anew.

K classes, N instances of one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Any, TypedDict
from unicodedata import normalize

import torch
from torch import Tensor, nn

from .data import Metadata, as_list, as_metadata
from .data.metadata import bare_name
from .errors import ConfigError, scalar, score, wording
from .layers import batched_nms
from .structures import Instances

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Choice", "Selection", "Way", "class_number"]

_NMS_IOU = 0.5  # of models that tell none of their own


class Choice(TypedDict, total=False):
    """Which instances a call of a predictor returns; what is left out stays as the model's config has it.

    Attributes:
        threshold: a score, which those of instances must exceed, or one for each class that has another than the
            config's, by name or number. It may be lower than the config's ``SCORE_THRESH_TEST``.
        classes: names or numbers of the classes that count.
        agnostic_nms: whether an instance goes that overlaps a better one of another class, as it does of its own.
        max_detections: the most instances of an image, the best ones.
    """

    threshold: float | Mapping[str | int, float] | None
    classes: Iterable[str | int] | None
    agnostic_nms: bool
    max_detections: int | None


class Way(Choice, total=False):
    """A choice, and how a call looks at its image.

    Attributes:
        tile: the side of tiles in pixels, or their (height, width): an image that is larger is predicted tile by tile,
            and what the tiles' edges cut is joined. See `litepred.tiles`.
        overlap: the share of a tile that its neighbour sees as well, 0.2 by default.
    """

    tile: int | tuple[int, int] | None
    overlap: float


@dataclass(frozen=True)
class Selection:
    """A `Choice` in numbers.

    Attributes:
        threshold: of the classes that are not in ``thresholds``; ``None`` for the model's own.
        thresholds: by class.
        classes: those that count; ``None`` for all.
        agnostic_nms: see `Choice`.
        max_detections: see `Choice`.
    """

    threshold: float | None
    thresholds: Mapping[int, float]
    classes: frozenset[int] | None
    agnostic_nms: bool
    max_detections: int | None

    @classmethod
    def of(
        cls,
        metadata: Metadata | None,
        threshold: float | Mapping[str | int, float] | None = None,
        classes: Iterable[str | int] | None = None,
        agnostic_nms: bool = False,
        max_detections: int | None = None,
        *,
        num_classes: int | None = None,
    ) -> Self | None:
        """Check a `Choice`, and return it in numbers; ``None`` where nothing is chosen.

        Classes that the metadata have no names for are numbers below ``num_classes``, where that is known.

        Raises:
            ConfigError: a score is not from 0 to 1, a class not one of the metadata, or a number of instances not one.
        """
        if threshold is None and classes is None and not agnostic_nms and max_detections is None:
            return None
        metadata, by_class = as_metadata(metadata), dict[int, float]()
        if isinstance(threshold, Mapping):
            numbers = {class_number(one, metadata, "threshold", num_classes): one for one in threshold}
            by_class = {number: score("threshold", threshold[one]) for number, one in numbers.items()}
            threshold = None
        elif threshold is not None:
            threshold = score("threshold", threshold)
        max_detections, classes = scalar(max_detections), scalar(classes)
        if max_detections is not None and (type(max_detections) is not int or max_detections < 0):
            raise ConfigError(f"max_detections is {max_detections!r}: expected a whole number, 0 or more")
        kept = None
        if classes is not None:
            given = classes if isinstance(classes, Iterable) and not isinstance(classes, str) else [classes]
            kept = frozenset(class_number(one, metadata, "classes", num_classes) for one in given)
        return cls(threshold, by_class, kept, bool(agnostic_nms), max_detections)

    def limit(self, label: int, own: float) -> float:
        """Return the score that instances of a class must exceed, where the model's own threshold is ``own``."""
        if self.classes is not None and label not in self.classes:
            return float("inf")
        return self.thresholds.get(label, own if self.threshold is None else self.threshold)

    def limited(self, model: nn.Module) -> Any:
        """Return a model of the same parts and weights that reports what is chosen.

        ``model`` itself, which other threads may be using, stays as it is. It is returned where none of its parts has
        limits by litepred's names: then `apply` alone chooses.
        """
        parts = {name: self.limited(part) for name, part in model._modules.items() if part is not None}
        changed = {name: part for name, part in parts.items() if part is not model._modules[name]}
        limits: dict[str, Any] = {}
        own = getattr(model, "test_score_thresh", None)
        if own is not None:
            values = [self.limit(label, own) for label in range(model.num_classes)]  # type: ignore[arg-type]
            limits["test_score_thresh"] = values[0]
            if len(set(values)) > 1:
                limits["test_score_thresh"] = torch.tensor(
                    values, dtype=torch.float32, device=next(model.parameters()).device
                )
        most = self.max_detections
        for name in ("test_topk_per_image", "max_detections_per_image"):
            most_of_model = getattr(model, name, None)
            if most is not None and most_of_model is not None:
                # what overlaps something of another class goes later, and others come up
                is_kept = self.agnostic_nms and (most_of_model < 0 or most_of_model > most)
                limits[name] = most_of_model if is_kept else most
        if not changed and not limits:
            return model
        copied = copy(model)
        copied._modules = {**model._modules, **changed}
        for name, value in limits.items():
            setattr(copied, name, value)
        return copied

    def check_exported(self, model: nn.Module) -> None:
        """Check that a model whose limits are part of its graph reports all that is chosen.

        Raises:
            ConfigError: it does not.
        """
        for part in model.modules():
            own, most = getattr(part, "test_score_thresh", None), getattr(part, "test_topk_per_image", -1)
            most = getattr(part, "max_detections_per_image", most)
            if own is None:
                continue
            least = min(self.limit(label, own) for label in range(part.num_classes))  # type: ignore[arg-type]
            if least < own:
                raise ConfigError(
                    f"the threshold {least:g} is below {own:g}, at which the exported file cuts off: export the model "
                    "anew with a lower SCORE_THRESH_TEST, or run it on torch"
                )
            if self.max_detections is not None and 0 <= most < self.max_detections:
                raise ConfigError(
                    f"max_detections is {self.max_detections}, but the exported file finds {most} at most: export the "
                    "model anew with another TEST.DETECTIONS_PER_IMAGE, or run it on torch"
                )

    def apply(self, instances: Instances, nms_iou: float = _NMS_IOU) -> Instances:
        """Return the chosen ones among instances that have ``scores`` and ``pred_classes``, in their order.

        Args:
            instances: of one image, the best first.
            nms_iou: the overlap above which the worse of two instances goes, for ``agnostic_nms``.
        """
        limits = [self.limit(label, float("-inf")) for label in instances.pred_classes.tolist()]
        found = instances
        if limits and max(limits) > float("-inf"):
            found = found[found.scores > torch.tensor(limits, dtype=torch.float32, device=found.scores.device)]
        if self.agnostic_nms and len(found):
            boxes: Tensor = found.pred_boxes.tensor.float()
            keep = batched_nms(boxes, found.scores, torch.zeros_like(found.pred_classes), nms_iou, 1)
            found = found[keep.sort().values]
        return found if self.max_detections is None else found[: self.max_detections]


def class_number(
    given: str | int, metadata: Metadata | None, option: str = "classes", number: int | None = None
) -> int:
    """Return the number of a class that is given by its name or number.

    Raises:
        ConfigError: the model has no such class; ``option`` is what the message calls its place, and ``number``
            how many classes there are, where the metadata have no names.
    """
    # A member of an enumeration goes by the name that `as_names` gives it among the class names.
    given = str(bare_name(given)) if isinstance(given, Enum) else scalar(given)
    known_names = as_list(as_metadata(metadata).get("thing_classes"))
    names = [normalize("NFC", name) for name in known_names]  # macOS writes others
    text = normalize("NFC", str(given).strip())
    if isinstance(given, str) and text in names:
        return names.index(text)
    number = len(names) or number
    if text.isdecimal() and (number is None or int(text) < number):
        return int(text)
    known = "the names of its classes are not known: " + wording(
        "name them with class_names, or give their numbers", "name them with --class-names, or give their numbers"
    )
    if near := get_close_matches(text, names, n=3, cutoff=0.5) or names[:8]:
        known = f"it has {', '.join(near)}{' …' if len(near) < len(names) else ''}, or"
    known += "" if number is None else f" 0 to {number - 1}"
    where = wording(option, f"--{option}")
    raise ConfigError(f"{where} has {given!r}, which is no class of this model: {known}")
