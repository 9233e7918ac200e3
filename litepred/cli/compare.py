"""Show where two models, or two ways of running one, differ.

An instance of A and one of B are the same thing if they are of one class and
their boxes overlap enough; the likest are paired first. Classes are one by name,
or by number where A and B have no name in common. A line for each image says
how many both found, how much boxes and masks of the pairs overlap, how far their
scores are apart, and what only one of the two found. Of models that label
pixels, it says how many have one label.

A and B are what --config is to other commands. An option whose text has a comma
gives A its first part and B its second one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from ..errors import ConfigError, ImageError, LitepredError
from ..files import as_stored
from .arguments import CommandParser, add, score
from .common import WAYS, add_class_names, check_model_arguments, make_predictor, print_json, progress_bar, say, ways
from .inputs import expand, images_or_page, is_video, predict_files, say_left_out

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Metadata
    from ..predictor import Predictor
    from ..structures import Boxes, Outputs

__all__ = ["EPILOG", "add_options", "differences", "run"]

EPILOG = """\
examples:
  litepred compare config.yaml model.onnx photos --weights model_final.pth
  litepred compare old.yaml new.yaml photos --weights old.pth,new.pth
  litepred compare config.yaml config.yaml photo.jpg --weights model_final.pth \\
      --ways exact,bfloat16"""
_NAMED = 5  # of the instances that only one model found


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    for name in "AB":
        add(parser, name, "config, file of litepred convert or litepred export, or name in the zoo")
    add(parser, "images IMAGE", "image, folder or pattern; default: the example page", nargs="*")
    model = parser.add_argument_group("the models")
    add(model, "--weights FILE", "checkpoint of those that do not have theirs with them; A's,B's if they differ")
    told = f"how both are run, or A's,B's, out of {', '.join(WAYS)}"
    add(model, "--ways WAYS", told, type=ways, action="extend")
    add_class_names(model)
    add(model, "--device DEVICE", "cpu, cuda or the like, instead of the config's MODEL.DEVICE")
    counts = parser.add_argument_group("what counts")
    add(counts, "--threshold SCORE", "an instance that scores less need not have its like", type=score, default=0.5)
    add(counts, "--iou IOU", "overlap of boxes from which on two are the same", type=score, default=0.5)
    add(parser.add_argument_group("what is printed"), "--json", "print all of it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    chosen = _choices(arguments)
    left_out: list[str] = []
    found = list(expand(images_or_page(arguments.images), left_out))
    say_left_out(left_out)
    for one in found:
        if isinstance(one, ImageError):
            raise one
    files = [name for name in found if isinstance(name, str) and not is_video(name)]
    if len(files) < len(found):
        raise LitepredError("a video came: expected images")
    predictors = [make_predictor(arguments, **options) for options in chosen]
    names = _names(predictors)
    images, failed = {}, 0
    with progress_bar(len(files), "image") as bar:
        for parts in zip(*(predict_files(predictor, files, str, 1) for predictor in predictors)):
            name, answers = parts[0][0], [answer for *_, answer in parts]
            bar.update()
            if errors := [answer for answer in answers if isinstance(answer, ImageError)]:
                failed += 1
                say(f"error: {errors[0]}")
                continue
            named = [_named(answer, known) for answer, known in zip(answers, names)]
            images[name] = differences(named[0], named[1], arguments.threshold, arguments.iou)
            if not arguments.json:
                bar.write(f"{name}: {_told(images[name])}", file=sys.stdout)
    if arguments.json:
        print_json(images)
    elif len(images) > 1:
        rows = [*images.values()]
        print(f"all {len(rows)}: {_told({key: [one for row in rows for one in row[key]] for key in rows[0]})}")
    return 1 if failed else 0


def _choices(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what `make_predictor` is to take for A and for B."""
    weights, chosen = arguments.weights or "", arguments.ways or ["float32"]
    files = weights.split(",")
    for option, given in (("--weights", files), ("--ways", chosen)):
        if len(given) > 2:
            raise LitepredError(f"{option} has {len(given)} parts: expected one, or A's and B's with a comma between")
    choices = []
    for config, file, way in zip((arguments.A, arguments.B), (files * 2)[:2], (chosen * 2)[:2]):
        arguments.config = as_stored(config)
        arguments.weights = None if len(files) == 1 and _is_whole(arguments.config) else file or None
        check_model_arguments(arguments)
        choices.append({"config": arguments.config, "weights": arguments.weights, **WAYS[way]})
    if weights and not any(one["weights"] for one in choices):
        raise LitepredError(f"--weights is {weights!r}, but A and B have theirs with them: leave it out, or give both")
    if choices[0] == choices[1]:
        raise LitepredError("A and B are one model, run in one way: give another one, or --ways exact,bfloat16")
    return choices


def _is_whole(config: str) -> bool:
    """Tell whether a model has its weights with it."""
    from .. import extensions, model_zoo

    if os.path.exists(config):
        return config.lower().endswith((".onnx", ".safetensors"))
    with suppress(ConfigError):
        return bool(model_zoo.get_checkpoint_url(config))
    return extensions.is_announced(config)


def _names(predictors: Sequence[Predictor]) -> list[Metadata]:
    """Return by whose names the classes of A and of B are compared; where they share none, it is their numbers."""
    known = [predictor.metadata for predictor in predictors]
    one, other = ({normalize("NFC", name) for name in metadata.get("thing_classes") or ()} for metadata in known)
    if one & other:
        return known
    if one and other:
        say("warning: A and B have no name of a class in common: classes of one number are taken for the same")
    return [known[0 if one else 1]] * 2


def _named(outputs: Outputs, metadata: Metadata) -> dict[str, Any]:
    """Return what `differences` takes of an answer, on the CPU."""
    from ..data import class_name

    answer: dict[str, Any] = {}
    if "instances" in outputs:
        answer["instances"] = found = outputs["instances"].to("cpu")
        answer["categories"] = [normalize("NFC", class_name(metadata, label)) for label in found.pred_classes.tolist()]
    if "sem_seg" in outputs:
        answer["labels"] = outputs["sem_seg"].argmax(dim=0).cpu()
    return answer


def differences(one: Mapping[str, Any], other: Mapping[str, Any], threshold: float, iou: float) -> dict[str, list[Any]]:
    """Compare what two models found in an image.

    Args:
        one: what A found: ``instances`` and a name for the class of each as ``categories``, or ``labels`` of pixels
            (H, W), or both.
        other: the same of B.
        threshold: an instance that scores less need not have its like.
        iou: the overlap of boxes from which on two instances of a class are the same.

    Returns:
        For each pair of instances that are the same, and of which one scores enough, a number: ``iou`` of their boxes,
        ``mask_iou`` if there are masks, and ``score``, that of A less that of B. For each other instance that scores
        enough, in ``only_a`` and ``only_b``, its ``category``, ``score`` and ``box``, corners in pixels. If pixels are
        labelled, ``same_pixels`` has one number, the share of those that have one label in both.

    Raises:
        LitepredError: the models find nothing of one kind.
    """
    told: dict[str, list[Any]] = {}
    if "instances" in one and "instances" in other:
        first, second = one["instances"], other["instances"]
        matched = _pairs(one, other, iou)
        counted = [pair for pair in matched if max(first.scores[pair[0]], second.scores[pair[1]]) >= threshold]
        told["iou"] = [overlap for *_, overlap in counted]
        if first.has("pred_masks") and second.has("pred_masks"):
            masks = [(first.pred_masks[i], second.pred_masks[j]) for i, j, _ in counted]
            told["mask_iou"] = [float((a & b).sum() / (a | b).sum().clamp(min=1)) for a, b in masks]
        told["score"] = [float(first.scores[i] - second.scores[j]) for i, j, _ in counted]
        told["only_a"] = _alone(one, {i for i, *_ in matched}, threshold)
        told["only_b"] = _alone(other, {j for _, j, _ in matched}, threshold)
    if "labels" in one and "labels" in other:
        told["same_pixels"] = [float((one["labels"] == other["labels"]).double().mean())]
    if not told:
        raise LitepredError("A and B find nothing of one kind, of instances and of labels for pixels")
    return told


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any], iou: float) -> list[tuple[int, int, float]]:
    """Return the instances that are the same: their numbers in both, and the IoU of their boxes, the likest first."""
    from ..layers import pairwise_iou_rotated
    from ..structures import pairwise_iou

    boxes = [found["instances"].pred_boxes for found in (one, other)]
    if any(len(some.layout) == 5 for some in boxes):
        overlaps = pairwise_iou_rotated(*map(_rotated, boxes))
    else:
        overlaps = pairwise_iou(*boxes)
    near = [(i, j, float(overlaps[i, j])) for i, j in (overlaps >= iou).nonzero().tolist()]
    chosen: list[tuple[int, int, float]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for i, j, overlap in sorted(near, key=lambda pair: -pair[2]):
        if i not in taken[0] and j not in taken[1] and one["categories"][i] == other["categories"][j]:
            chosen.append((i, j, overlap))
            taken[0].add(i)
            taken[1].add(j)
    return chosen


def _rotated(boxes: Boxes) -> Tensor:
    """Return boxes as rotated ones, (N, 5), of which upright ones have an angle of 0."""
    from ..structures import BoxMode

    if len(boxes.layout) == 5:
        return boxes.tensor
    corner_and_size = BoxMode.convert(boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    turned: Tensor = BoxMode.convert(corner_and_size, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
    return turned


def _alone(found: Mapping[str, Any], matched: Container[int], threshold: float) -> list[dict[str, Any]]:
    instances = found["instances"]
    rows = zip(found["categories"], instances.scores.tolist(), instances.pred_boxes.tensor.tolist())
    named = [dict(zip(("category", "score", "box"), row)) for row in rows]
    return [row for number, row in enumerate(named) if number not in matched and row["score"] >= threshold]


def _told(figures: Mapping[str, list[Any]]) -> str:
    """Put figures into words."""
    parts = []
    if "iou" in figures:
        parts.append(f"{len(figures['iou'])} found by both")
        for key, word in (("iou", "boxes"), ("mask_iou", "masks")):
            if values := figures.get(key):
                parts.append(f"IoU of {word} {statistics.median(values):.3f} in the median, {min(values):.3f} at least")
        if values := figures["score"]:
            parts.append(f"scores differ by {max(map(abs, values)):.3f} at most")
        for key, name in (("only_a", "A"), ("only_b", "B")):
            alone = sorted(figures[key], key=lambda row: -row["score"])
            shown = [f"{row['category']} {row['score']:.2f}" for row in alone[:_NAMED]] + ["…"] * (len(alone) > _NAMED)
            parts.append(f"{len(alone)} by {name} alone" + (f" ({', '.join(shown)})" if alone else ""))
    if "same_pixels" in figures:
        parts.append(f"{statistics.mean(figures['same_pixels']):.2%} of pixels have one label")
    return ", ".join(parts)
