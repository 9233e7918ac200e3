"""Recognise a model by the names and shapes of its weights, without a config and without building anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..checkpoint.hints import ShapesByName, is_backbone, read_numbers
from .families import family_of_heads

__all__ = ["Architecture", "recognise"]

_TRUNK = r"(?:backbone\.)?(?:bottom_up\.)?"
# What stands before the short names of converted Caffe2 files in Detectron2's names.
_PLACES = (
    (re.compile(r"(?=(?:cls_score|bbox_pred)\.)"), "roi_heads.box_predictor."),
    (re.compile(r"(?=(?:box|mask)_head\.)"), "roi_heads."),
    (re.compile(r"(?=fpn_)"), "backbone."),
)


@dataclass(frozen=True)
class Architecture:
    """A guess at a model, empty where nothing is recognised.

    Attributes:
        name: such as ``Mask R-CNN``.
        meta_architecture: what ``MODEL.META_ARCHITECTURE`` calls it.
        backbone: such as ``ResNet-50, FrozenBN, FPN of 256 channels``.
        heads: for each head, by what it finds (see `Family`), how it is made.
        classes: the number of classes of ``things`` and of ``stuff``.
    """

    name: str = ""
    meta_architecture: str = ""
    backbone: str = ""
    heads: dict[str, str] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)


def recognise(shapes: ShapesByName) -> Architecture:
    """Guess the model from its state dict's shapes."""
    shapes = {_full_name(key): shape for key, shape in shapes.items()}
    numbers, heads = read_numbers(shapes), _heads(shapes)
    classes = {
        "things": numbers.get("MODEL.RETINANET.NUM_CLASSES", numbers.get("MODEL.ROI_HEADS.NUM_CLASSES")),
        "stuff": numbers.get("MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
    }
    stages = _found(shapes, r"roi_heads\.box_predictor\.(\d)\.")
    dense = _found(shapes, r"head\.(cls_score)\.")
    family = family_of_heads(heads, cascade=bool(stages), dense=bool(dense))
    return Architecture(
        family.name or ("a backbone alone, such as ImageNet weights" if is_backbone(shapes) else ""),
        family.meta_architecture,
        _backbone(shapes, heads, numbers.get("MODEL.RESNETS.DEPTH")),
        heads,
        {kind: number for kind, number in classes.items() if number is not None},
    )


def _full_name(key: str) -> str:
    return next((place + key for pattern, place in _PLACES if pattern.match(key)), key)


def _found(shapes: ShapesByName, pattern: str) -> list[str]:
    """Return what the group of a pattern matches at the start of the names: each text once, sorted."""
    return sorted({match[1] for key in shapes if (match := re.match(pattern, key))})


def _backbone(shapes: ShapesByName, heads: dict[str, str], depth: int | None) -> str:
    trunk = _trunk(shapes, depth)
    if not trunk:
        return ""
    parts = [trunk]
    kept = _found(shapes, _TRUNK + r"(?:stem\.conv1\.norm|stem\.bn)\.(num_batches_tracked|running_var|weight)$")
    if kept:
        parts.append({"num_batches_tracked": "BN", "running_var": "FrozenBN", "weight": "GN"}[kept[0]])
    deformable = _found(shapes, _TRUNK + r"(res\d)\.\d+\.conv2_offset\.")
    if deformable:
        parts.append(f"deformable {'+'.join(deformable)}")
    outputs = _found(shapes, r"(backbone\.fpn_output\d\.weight)$")
    if outputs and shapes[outputs[0]]:
        parts.append(f"FPN of {shapes[outputs[0]][0]} channels")
    elif "boxes" in heads or "proposals" in heads:
        parts.append("dilated C5" if _found(shapes, r"backbone\.(res5)\.") else "C4")
    return ", ".join(parts)


def _trunk(shapes: ShapesByName, depth: int | None) -> str:
    squeezed = _found(shapes, _TRUNK + r"s\d\.b\d+\.f\.(se)\.")
    blocks = [len(_found(shapes, rf"{_TRUNK}s{stage}\.(b\d+)\.")) for stage in range(1, 5)]
    if any(blocks):
        return f"RegNet{'Y' if squeezed else 'X'} of {'-'.join(map(str, filter(None, blocks)))} blocks"
    conv = _found(shapes, rf"({_TRUNK}res2\.0\.conv2\.weight)$")
    if not conv or len(shapes[conv[0]]) != 4:
        return ""
    channels, width = shapes[conv[0]][:2]  # of the bottleneck, and of each of its groups
    number = f"-{depth}" if depth else ""
    if channels > width > 0:
        return f"ResNeXt{number} {channels // width}x{width}d"
    return f"ResNet{number}" + (f" of width {width}" if width != 64 else "")


def _heads(shapes: ShapesByName) -> dict[str, str]:
    """Describe each head that there is; ``boxes`` are those of ROI heads or of RetinaNet."""

    def rows(key: str, axis: int = 0) -> int:
        return (*shapes.get(key, ()), 0, 0)[axis]

    def layers(pattern: str, word: str) -> str:
        number = len(_found(shapes, pattern))
        return f"{number} {word}" if number else ""

    def if_found(pattern: str, word: str) -> str:
        return word if _found(shapes, pattern) else ""

    box, predictor = r"roi_heads\.box_head\.(?:0\.)?", "roi_heads.box_predictor."
    predictor += "" if f"{predictor}bbox_pred.weight" in shapes else "0."
    several_classes = rows(f"{predictor}cls_score.weight") > 2
    agnostic_boxes = several_classes and rows(f"{predictor}bbox_pred.weight") == 4
    agnostic_masks = several_classes and rows("roi_heads.mask_head.predictor.weight") == 1
    heads = {  # by what they find: a pattern of their keys, and their parts
        "proposals": (
            r"(proposal_generator)\.",
            f"RPN of {rows('proposal_generator.rpn_head.objectness_logits.weight')} anchors per cell",
        ),
        "boxes": (
            r"(roi_heads)\.box_",
            layers(r"roi_heads\.box_predictor\.(\d)\.", "stages"),
            layers(box + r"(conv\d+)\.", "conv"),
            layers(box + r"(fc\d+)\.", "fc"),
            if_found(r"roi_heads\.(res5)\.", "res5"),
            "class-agnostic" if agnostic_boxes else "",
        ),
        "masks": (
            r"(roi_heads)\.mask_head\.",
            layers(r"roi_heads\.mask_head\.(mask_fcn\d+)\.", "conv"),
            "1 deconv",
            "class-agnostic" if agnostic_masks else "",
        ),
        "keypoints": (
            r"(roi_heads)\.keypoint_head\.",
            layers(r"roi_heads\.keypoint_head\.(conv_fcn\d+)\.", "conv"),
            f"{rows('roi_heads.keypoint_head.score_lowres.weight', 1)} keypoints",
        ),
        "surfaces": (
            r"(roi_heads)\.densepose_head\.",
            if_found(r"roi_heads\.densepose_head\.(ASPP)\.", "DeepLab"),
            layers(r"roi_heads\.densepose_head\.(body_conv_fcn\d+)\.", "conv"),
            if_found(r"roi_heads\.(decoder)\.", "decoder"),
        ),
        "stuff": (r"(sem_seg_head)\.", layers(r"sem_seg_head\.(p\d)\.", "levels")),
    }
    if _found(shapes, r"head\.(cls_score)\."):
        anchors = f"{rows('head.bbox_pred.weight') // 4} anchors per cell"
        heads["boxes"] = (r"(head)\.", layers(r"head\.cls_subnet\.(\d+)\.weight", "conv"), anchors)
    return {head: ", ".join(filter(None, parts)) for head, (key, *parts) in heads.items() if _found(shapes, key)}
