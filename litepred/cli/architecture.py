"""Tell which model it is, such as a Mask R-CNN, by the names and shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..checkpoint.hints import ShapesByName, is_backbone, read_numbers

__all__ = ["Architecture", "name_family", "recognise"]

_TRUNK = r"(?:backbone\.)?(?:bottom_up\.)?"
# What stands before the short names of converted Caffe2 files in Detectron2's names.
_PLACES = (
    (r"^(?=(?:cls_score|bbox_pred)\.)", "roi_heads.box_predictor."),
    (r"^(?=(?:box|mask)_head\.)", "roi_heads."),
    (r"^(?=fpn_)", "backbone."),
)
_WORDS = {"masks": "Mask", "keypoints": "Keypoint", "surfaces": "DensePose", "stuff": "Semantic FPN"}
# Heads of other kinds than usual: the word for them, what they find, and a pattern of their keys.
_OTHER_HEADS = (
    ("PointRend", "masks", r"roi_heads\.mask_(?:head\.)?(coarse_head)\."),
    ("Implicit PointRend", "masks", r"roi_heads\.mask_head\.(parameter_head)\."),
    ("PointRend Semantic FPN", "stuff", r"sem_seg_head\.(point_head)\."),
    ("DeepLab v3", "stuff", r"sem_seg_head\.(aspp)\."),
    ("DeepLab v3+", "stuff", r"sem_seg_head\.(decoder)\."),
)
# Transformers: the section of their settings, their name, and that of each size, which is channels and blocks.
_TRANSFORMERS: dict[str, tuple[str, dict[tuple[int, int], str]]] = {
    "VIT": ("ViT", {(768, 12): "B", (1024, 24): "L", (1280, 32): "H"}),
    "MVIT": ("MViTv2", {(96, 10): "T", (96, 16): "S", (96, 24): "B", (144, 48): "L", (192, 80): "H"}),
    "SWIN": ("Swin", {(96, 12): "T", (96, 24): "S", (128, 24): "B", (192, 24): "L"}),
}
# What a head finds; a text, or none for the head itself; and a pattern, whose group matches what the text counts.
_PARTS = (
    ("proposals", "", r"(proposal_generator)\."),
    ("boxes", "", r"(roi_heads)\.box_"),
    ("boxes", "{} stages", r"roi_heads\.box_predictor\.(\d)\."),
    ("boxes", "{} conv", r"roi_heads\.box_head\.(?:0\.)?(conv\d+)\."),
    ("boxes", "{} fc", r"roi_heads\.box_head\.(?:0\.)?(fc\d+)\."),
    ("boxes", "res5", r"roi_heads\.(res5)\."),
    ("boxes", "", r"head\.(cls_score)\."),  # RetinaNet's
    ("boxes", "{} conv", r"head\.cls_subnet\.(\d+)\.weight"),
    ("masks", "", r"(roi_heads)\.mask_(?:coarse_)?head\."),
    ("masks", "{} conv", r"roi_heads\.mask_head\.(mask_fcn\d+)\."),
    ("masks", "1 deconv", r"roi_heads\.mask_head\.(deconv)\."),
    ("masks", "{} fc", r"roi_heads\.mask_head\.(?:coarse|parameter)_head\.(fc\d+)\."),
    ("masks", "point head of {} fc", r"roi_heads\.mask_head\.point_head\.(fc\d+)\."),
    ("keypoints", "", r"(roi_heads)\.keypoint_head\."),
    ("keypoints", "{} conv", r"roi_heads\.keypoint_head\.(conv_fcn\d+)\."),
    ("surfaces", "", r"(roi_heads)\.densepose_head\."),
    ("surfaces", "DeepLab", r"roi_heads\.densepose_head\.(ASPP)\."),
    ("surfaces", "{} conv", r"roi_heads\.densepose_head\.(body_conv_fcn\d+)\."),
    ("surfaces", "decoder", r"roi_heads\.(decoder)\."),
    ("stuff", "", r"(sem_seg_head)\."),
    ("stuff", "{} levels", r"sem_seg_head\.(?:coarse_sem_seg_head\.)?(p\d)\."),
    ("stuff", "point head of {} fc", r"sem_seg_head\.point_head\.(fc\d+)\."),
    ("stuff", "ASPP", r"sem_seg_head\.(aspp)\."),
    ("stuff", "ASPP and decoder of {} steps", r"sem_seg_head\.decoder\.(\w+)\.fuse_conv\."),
)


@dataclass(frozen=True)
class Architecture:
    """A guess at a model, empty where nothing is recognised.

    Attributes:
        name: such as ``Mask R-CNN``.
        meta_architecture: what ``MODEL.META_ARCHITECTURE`` calls it.
        backbone: such as ``ResNet-50, FrozenBN, FPN of 256 channels``.
        heads: how each head is made, by what it finds: ``proposals``, ``boxes``, ``masks``, ``keypoints``,
            ``surfaces`` of bodies, ``stuff``.
        classes: the number of classes of ``things`` and of ``stuff``.
    """

    name: str
    meta_architecture: str
    backbone: str
    heads: dict[str, str]
    classes: dict[str, int]


def name_family(
    heads: Collection[str], *, cascade: bool = False, dense: bool = False, others: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Return the name of a model's family and its ``MODEL.META_ARCHITECTURE``, both empty where they are not known.

    Args:
        heads: what they find, in the words of `Architecture`.
        cascade: whether boxes are refined in stages.
        dense: whether boxes come straight from every cell of the feature maps, as in RetinaNet.
        others: the words for heads of other kinds than usual, by what they find.
    """
    words_of_heads = _WORDS | dict(others or {})
    if dense:
        return "RetinaNet", "RetinaNet"
    if "boxes" in heads:
        words = ["Cascade"] if cascade else []
        if "stuff" in heads:
            return " ".join([*words, "Panoptic FPN"]), "PanopticFPN"
        words += [word for head, word in words_of_heads.items() if head in heads]
        words = words or ["Faster" if "proposals" in heads else "Fast"]
        return f"{' '.join(words)} R-CNN", "GeneralizedRCNN"
    if "stuff" in heads:
        return words_of_heads["stuff"], "SemanticSegmentor"
    return ("RPN", "ProposalNetwork") if "proposals" in heads else ("", "")


def recognise(shapes: ShapesByName) -> Architecture:
    """Guess the model from its state dict's shapes, without building anything."""
    shapes = {_full_name(key): shape for key, shape in shapes.items()}
    numbers, heads = read_numbers(shapes), _heads(shapes)
    classes = {
        "things": numbers.get("MODEL.RETINANET.NUM_CLASSES", numbers.get("MODEL.ROI_HEADS.NUM_CLASSES")),
        "stuff": numbers.get("MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
    }
    stages, dense = _found(shapes, r"roi_heads\.box_predictor\.(\d)\."), _found(shapes, r"head\.(cls_score)\.")
    others = {head: word for word, head, keys in _OTHER_HEADS if _found(shapes, keys)}
    name, meta_architecture = name_family(heads, cascade=bool(stages), dense=bool(dense), others=others)
    return Architecture(
        name or ("a backbone alone, such as ImageNet weights" if is_backbone(shapes) else ""),
        meta_architecture,
        _backbone(shapes, heads, numbers),
        heads,
        {kind: number for kind, number in classes.items() if number is not None},
    )


def _full_name(key: str) -> str:
    return next((place + key for pattern, place in _PLACES if re.match(pattern, key)), key)


def _found(shapes: ShapesByName, pattern: str) -> list[str]:
    """Return what the group of a pattern matches at the start of the names: each text once, sorted."""
    return sorted({match[1] for key in shapes if (match := re.match(pattern, key))})


def _backbone(shapes: ShapesByName, heads: dict[str, str], numbers: dict[str, Any]) -> str:
    transformer = _transformer(numbers)
    trunk = transformer or _trunk(shapes, numbers.get("MODEL.RESNETS.DEPTH"))
    if not trunk:
        return ""
    parts = [trunk]
    kept = _found(shapes, _TRUNK + r"(?:stem\.conv1\.norm|stem\.bn)\.(num_batches_tracked|running_var|weight)$")
    if kept:
        parts.append({"num_batches_tracked": "BN", "running_var": "FrozenBN", "weight": "GN"}[kept[0]])
    if _found(shapes, _TRUNK + r"(stem\.conv3)\."):
        parts.append("DeepLab's stem")
    deformable = _found(shapes, _TRUNK + r"(res\d)\.\d+\.conv2_offset\.")
    if deformable:
        parts.append(f"deformable {'+'.join(deformable)}")
    outputs = _found(shapes, r"(backbone\.(?:fpn_output\d|simfp_\d\.\d)\.weight)$")
    if outputs and shapes[outputs[-1]]:
        pyramid = "simple feature pyramid" if "simfp" in outputs[-1] else "FPN"
        parts.append(f"{pyramid} of {shapes[outputs[-1]][0]} channels")
    elif not transformer and ("boxes" in heads or "proposals" in heads):
        parts.append("dilated C5" if _found(shapes, r"backbone\.(res5)\.") else "C4")
    return ", ".join(parts)


def _transformer(numbers: dict[str, Any]) -> str:
    for section, (name, sizes) in _TRANSFORMERS.items():
        if channels := numbers.get(f"MODEL.{section}.EMBED_DIM"):
            blocks = numbers.get(f"MODEL.{section}.DEPTH", 0) or sum(numbers.get(f"MODEL.{section}.DEPTHS", ()))
            size = sizes.get((channels, blocks))
            return f"{name}-{size}" if size else f"{name} of {blocks} blocks, {channels} channels"
    return ""


def _trunk(shapes: ShapesByName, depth: int | None) -> str:
    blocks = [len(_found(shapes, rf"{_TRUNK}s{stage}\.(b\d+)\.")) for stage in range(1, 5)]
    if any(blocks):
        squeezed = _found(shapes, _TRUNK + r"s\d\.b\d+\.f\.(se)\.")
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

    predictor = "roi_heads.box_predictor."
    predictor += "" if f"{predictor}bbox_pred.weight" in shapes else "0."
    several_classes = rows(f"{predictor}cls_score.weight") > 2
    last_parts = {
        "proposals": f"RPN of {rows('proposal_generator.rpn_head.objectness_logits.weight')} anchors per cell",
        "keypoints": f"{rows('roi_heads.keypoint_head.score_lowres.weight', 1)} keypoints",
    }
    if several_classes and rows(f"{predictor}bbox_pred.weight") == 4:
        last_parts["boxes"] = "class-agnostic"
    if several_classes and rows("roi_heads.mask_head.predictor.weight") == 1:
        last_parts["masks"] = "class-agnostic"
    if _found(shapes, r"head\.(cls_score)\."):
        last_parts["boxes"] = f"{rows('head.bbox_pred.weight') // 4} anchors per cell"
    heads: dict[str, list[str]] = {}
    for head, text, pattern in _PARTS:
        number = len(_found(shapes, pattern))
        if number and not text:
            heads[head] = []
        elif number and head in heads:
            heads[head].append(text.format(number))
    for head in heads.keys() & last_parts.keys():
        heads[head].append(last_parts[head])
    return {head: ", ".join(parts) for head, parts in heads.items()}
