"""A model as one graph of tensors: an image in, the fields of what is found out, each a tensor with a name.

C channels, H × W pixels of the image as the model is to see it, N instances, P proposals.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from ..modeling.rcnn import MetaArch, RawOutputs
from ..structures import Boxes, Instances

__all__ = ["ImageGraph", "flatten", "plain_model", "unflatten"]

# What instances call a field, and what the graph calls it. Other fields keep their names.
_NAMES = {
    "pred_boxes": "boxes",
    "scores": "scores",
    "pred_classes": "classes",
    "pred_masks": "masks",
    "pred_keypoints": "keypoints",
    "pred_keypoint_heatmaps": "keypoint_heatmaps",
    "proposal_boxes": "proposals",
    "objectness_logits": "objectness_logits",
}
_FIELDS = {name: field for field, name in _NAMES.items()}
_DENSEPOSE = "densepose_"


class ImageGraph(nn.Module):
    """A model's way from one image to what is raw in it: normalising, padding, and its `MetaArch.network`.

    Args:
        model: in evaluation mode.
        names: those of `flatten` that the graph is to return, in this order.
    """

    def __init__(self, model: MetaArch, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def raw(self, image: Tensor, proposals: Tensor | None = None) -> dict[str, Tensor]:
        """Return all that is found in an image (C, H, W), given (P, 4) boxes where the model proposes none itself."""
        model = self.model
        images = model.pad([model.normalize(image.to(model.pixel_mean.dtype))])
        size_hw = (image.shape[1], image.shape[2])
        given = None if proposals is None else [Instances(size_hw, proposal_boxes=Boxes(proposals))]
        return flatten(model.network(images, given))

    def forward(self, image: Tensor, proposals: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the tensors of `raw` that have ``names``."""
        found = self.raw(image, proposals)
        return tuple(found[name] for name in self.names)


def flatten(raw: RawOutputs) -> dict[str, Tensor]:
    """Name the tensors of what a network found in one image.

    Returns:
        ``boxes`` (N, 4) in pixels of the image, ``scores`` (N,), ``classes`` (N,) int64; of some models ``masks``
        (N, M, M), ``keypoints`` (N, K, 3), ``keypoint_heatmaps``, ``densepose_…``; ``proposals`` (P, 4) and
        ``objectness_logits`` (P,); ``sem_seg`` (K, h, w), logits at the resolution of the semantic head.
    """
    named: dict[str, Tensor] = {}
    for instances in [*raw.get("instances", []), *raw.get("proposals", [])]:
        for field, value in instances.get_fields().items():
            if field == "pred_densepose":
                named |= {_DENSEPOSE + key: one for key, one in vars(value).items() if one is not None}
            elif field == "pred_masks":
                named["masks"] = value[:, 0]
            else:
                named[_NAMES.get(field, field)] = value.tensor if isinstance(value, Boxes) else value
    if "sem_seg" in raw:
        named["sem_seg"] = raw["sem_seg"][0]
    return named


def unflatten(named: Mapping[str, Tensor], size_hw: tuple[int, int]) -> RawOutputs:
    """Undo `flatten`, for an image of ``size_hw`` pixels."""
    raw: RawOutputs = {}
    values = dict(named)
    if "sem_seg" in values:
        raw["sem_seg"] = values.pop("sem_seg")[None]
    densepose = {name.removeprefix(_DENSEPOSE): values.pop(name) for name in named if name.startswith(_DENSEPOSE)}
    if not values:
        return raw
    instances = Instances(size_hw)
    for name, value in values.items():
        if name == "masks":
            value = value[:, None]
        instances.set(_FIELDS.get(name, name), Boxes(value) if name in ("boxes", "proposals") else value)
    if densepose and len(instances):  # DensePose sets no field where it finds nobody
        instances.pred_densepose = _densepose_output(densepose)
    raw["proposals" if "proposals" in values else "instances"] = [instances]
    return raw


def _densepose_output(values: dict[str, Tensor]) -> Any:
    from ..densepose import DensePoseChartPredictorOutput, DensePoseChartPredictorOutputWithConfidences

    plain = {field.name for field in fields(DensePoseChartPredictorOutput)}
    return (DensePoseChartPredictorOutput if values.keys() == plain else DensePoseChartPredictorOutputWithConfidences)(
        **values
    )


def plain_model(model: nn.Module) -> nn.Module:
    """Return ``model``, or a copy with torch's own modules where ``model`` has faster ones for torch on the CPU.

    Those have a method ``plain_module``. The copy shares all other weights.
    """
    if not any(hasattr(module, "plain_module") for module in model.modules()):
        return model
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    plain = copy.deepcopy(model, shared)
    for parent in plain.modules():
        for name, child in list(parent.named_children()):
            if hasattr(child, "plain_module"):
                setattr(parent, name, child.plain_module())  # type: ignore[operator]
    return plain
