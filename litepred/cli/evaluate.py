"""Measure a model on annotated images, in COCO's figures.

They are COCO's average precision of boxes, masks and keypoints, and panoptic
quality, as Detectron2's evaluators give them for the same checkpoint (at most
100 instances per image, all scores that the config lets through), so that AP
before and after moving to litepred can be compared.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError, LitepredError
from ..files import as_stored
from .arguments import CommandParser, add
from .common import (
    add_model_arguments,
    check_file,
    check_model_arguments,
    fitting_metadata,
    make_predictor,
    print_json,
    progress_bar,
    say,
    table,
    told_now_and_then,
)
from .inputs import predict_files

if TYPE_CHECKING:
    from ..evaluation import COCOEvaluator, PanopticEvaluator
    from ..predictor import Predictor

__all__ = ["EPILOG", "add_options", "average_precision", "run"]

EPILOG = """\
examples:
  litepred evaluate --images val2017 --annotations instances_val2017.json \\
      --config COCO-Detection/retinanet_R_50_FPN_3x
  litepred evaluate --images pages --annotations pages.json \\
      --config config.yaml --weights model_final.pth --json > figures.json
  litepred evaluate --images val2017 \\
      --panoptic-annotations panoptic_val2017.json \\
      --config COCO-PanopticSegmentation/panoptic_fpn_R_50_3x

The k-th category id of the annotations, in ascending order, is the model's
class k, unless its data set is known to number otherwise. Average precision
needs pycocotools: pip install 'litepred[coco]'."""
_TITLES = {"bbox": "box", "segm": "mask", "keypoints": "keypoints"}
_PARTS = {"all": "", "things": "_th", "stuff": "_st"}


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    truth = parser.add_argument_group("what is compared with")
    add(truth, "--images DIR", "folder that the annotations' file names begin in", required=True)
    add(truth, "--annotations FILE", "COCO's JSON of instances or keypoints")
    add(truth, "--panoptic-annotations FILE", "COCO's panoptic JSON")
    told = "of the panoptic PNGs; default: the JSON's name without .json, else its folder"
    add(truth, "--panoptic-folder DIR", told)
    add_model_arguments(parser)
    add(parser.add_argument_group("what is printed"), "--json", "print JSON instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    folder = Path(arguments.images)
    if not folder.is_dir():
        kind = "which is a file: expected a folder" if folder.exists() else "but there is no such folder"
        raise LitepredError(f"--images is {str(folder)!r}, {kind}; the working folder is {os.getcwd()!r}")
    if arguments.annotations is None and arguments.panoptic_annotations is None:
        raise LitepredError("there is nothing to compare with: pass --annotations, --panoptic-annotations or both")
    check_file("--annotations", arguments.annotations)
    check_file("--panoptic-annotations", arguments.panoptic_annotations)
    check_model_arguments(arguments)
    from ..evaluation import PanopticEvaluator

    predictor = make_predictor(arguments)
    evaluators: list[COCOEvaluator | PanopticEvaluator] = []
    if arguments.annotations is not None:
        evaluators.append(average_precision(arguments.annotations, predictor))
    if arguments.panoptic_annotations is not None:
        metadata = fitting_metadata(predictor)
        evaluators.append(PanopticEvaluator(arguments.panoptic_annotations, arguments.panoptic_folder, metadata))
    of_each = [{one["id"]: str(folder / one["file_name"]) for one in evaluator.images} for evaluator in evaluators]
    images = of_each[-1] | of_each[0]
    if any(len(of_one) < len(images) for of_one in of_each):
        say(
            f"warning: --annotations has {len(of_each[0])} images and --panoptic-annotations {len(of_each[-1])}, not "
            "the same: each is measured on its own"
        )
    if images and not any(os.path.exists(as_stored(path)) for path in images.values()):
        raise LitepredError(
            f"none of the {len(images)} annotated images is in --images {str(folder)!r}: the first would be "
            f"{next(iter(images.values()))!r}"
        )
    missed: list[ImageError] = []
    with progress_bar(len(images), "image") as bar:
        answers = predict_files(predictor, images, lambda image_id: images[image_id], None)
        for image_id, _, answer in told_now_and_then(answers, len(images)):
            if isinstance(answer, ImageError):
                missed.append(answer)
            else:
                for evaluator in (one for one, of_one in zip(evaluators, of_each) if image_id in of_one):
                    evaluator.process([{"image_id": image_id}], [answer])
            bar.update()
    results = {task: figures for evaluator in evaluators for task, figures in evaluator.evaluate().items()}
    if arguments.json:
        print_json({"images": len(images), "unreadable": len(missed), "results": results})
    else:
        print("\n".join(_tables(results)))
    if missed:
        say(
            f"error: {len(missed)} of {len(images)} images could not be read, or are not such as the model takes: to "
            "average precision they are images in which nothing was found, and panoptic quality leaves them out. The "
            f"first: {missed[0]}"
        )
    return 1 if missed else 0


def average_precision(annotations: str, predictor: Predictor) -> COCOEvaluator:
    """Return what measures a model on COCO's annotations, by the classes and the sigmas of keypoints in its config."""
    from ..data import Metadata
    from ..evaluation import COCOEvaluator
    from ..resolve import class_kind, known_names

    kind, number = class_kind(predictor.cfg)
    metadata = fitting_metadata(predictor)
    if known_names(predictor.cfg, predictor.metadata) is None:  # they are of a data set with other classes
        metadata = Metadata(**{**metadata.as_dict(), "thing_classes": None})
    return COCOEvaluator(
        annotations,
        metadata,
        kpt_oks_sigmas=predictor.cfg.TEST.KEYPOINT_OKS_SIGMAS,
        num_classes=number if kind == "thing_classes" else None,
    )


def _tables(results: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield the lines of a table of AP, one of AP per class, and one of panoptic quality."""
    precision = {_TITLES[task]: row for task, row in results.items() if task in _TITLES}
    keys = list(dict.fromkeys(key for row in precision.values() for key in row))
    titles, classes = ([key for key in keys if key.startswith("AP-") == of_class] for of_class in (False, True))
    if precision:
        yield from _table("", titles, {name: [row.get(key) for key in titles] for name, row in precision.items()})
    if classes:
        yield ""
        rows = {key.removeprefix("AP-"): [row.get(key) for row in precision.values()] for key in classes}
        yield from _table("AP per class", list(precision), rows)
    if "panoptic_seg" in results:
        if precision:
            yield ""
        row, names = results["panoptic_seg"], ["PQ", "SQ", "RQ"]
        yield from _table("", names, {part: [row[name + end] for name in names] for part, end in _PARTS.items()})


def _table(corner: str, titles: list[str], rows: Mapping[str, list[float | None]]) -> Iterator[str]:
    def cell(value: float | None) -> str:
        return "" if value is None else "-" if math.isnan(value) else f"{value:.2f}"

    lines = [[corner, *titles], *([name, *map(cell, values)] for name, values in rows.items())]
    yield from table(lines, right=True)
