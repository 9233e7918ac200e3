"""Name the family that a model belongs to, such as Mask R-CNN, and what its heads find."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import CfgNode

__all__ = ["Family", "family_of_config", "family_of_heads"]

_WORDS = {"masks": "Mask", "keypoints": "Keypoint", "surfaces": "DensePose"}


@dataclass(frozen=True)
class Family:
    """The family of a model.

    Attributes:
        name: such as ``Mask R-CNN``; empty where it is not known.
        meta_architecture: what ``MODEL.META_ARCHITECTURE`` calls it.
        heads: what each head finds: ``proposals``, ``boxes``, ``masks``, ``keypoints``, ``surfaces`` of bodies,
            ``stuff``.
    """

    name: str
    meta_architecture: str
    heads: tuple[str, ...]


def family_of_heads(heads: Collection[str], *, cascade: bool = False, dense: bool = False) -> Family:
    """Return the family of a model with such heads.

    Args:
        heads: what they find, in the words of `Family`.
        cascade: whether boxes are refined in stages.
        dense: whether boxes come straight from every cell of the feature maps, as in RetinaNet.
    """
    if dense:
        name, meta_architecture = "RetinaNet", "RetinaNet"
    elif "boxes" in heads and "stuff" in heads:
        name, meta_architecture = "Cascade Panoptic FPN" if cascade else "Panoptic FPN", "PanopticFPN"
    elif "boxes" in heads:
        words = ["Cascade"] if cascade else []
        words += [word for head, word in _WORDS.items() if head in heads]
        words = words or ["Faster" if "proposals" in heads else "Fast"]
        name, meta_architecture = f"{' '.join(words)} R-CNN", "GeneralizedRCNN"
    elif "stuff" in heads:
        name, meta_architecture = "Semantic FPN", "SemanticSegmentor"
    elif "proposals" in heads:
        name, meta_architecture = "RPN", "ProposalNetwork"
    else:
        name, meta_architecture = "", ""
    return Family(name, meta_architecture, tuple(heads))


def family_of_config(cfg: CfgNode) -> Family:
    """Return the family of the model that a config describes; one of an unknown kind is taken for an R-CNN."""
    model = cfg.MODEL
    if model.META_ARCHITECTURE == "RetinaNet":
        return family_of_heads(["boxes"], dense=True)
    if model.META_ARCHITECTURE == "SemanticSegmentor":
        return family_of_heads(["stuff"])
    if model.META_ARCHITECTURE == "ProposalNetwork":
        return family_of_heads(["proposals"])
    has = {
        "proposals": model.PROPOSAL_GENERATOR.NAME != "PrecomputedProposals",
        "boxes": True,
        "masks": model.MASK_ON,
        "keypoints": model.KEYPOINT_ON,
        "surfaces": model.get("DENSEPOSE_ON", False),
        "stuff": model.META_ARCHITECTURE == "PanopticFPN",
    }
    return family_of_heads([head for head, on in has.items() if on], cascade=model.ROI_HEADS.NAME == "CascadeROIHeads")
