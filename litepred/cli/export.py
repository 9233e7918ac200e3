"""Write a model as an ONNX file, for ONNX Runtime, OpenVINO, browsers and others.

The file is of one piece and takes images of any size. Config, class names and
resizing are in its metadata, so that Predictor("model.onnx") and the commands
predict, evaluate, benchmark, compare and serve run it as they run other models.

The file is run and compared with the predictor before it gets its name; the
largest differences are printed, and nothing is left behind if they are more
than rounding. Needs pip install 'litepred[onnx]'.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LitepredError
from ..files import check_targets
from .arguments import CommandParser, add, positive
from .common import add_class_names, check_file, check_model_arguments, check_output, make_predictor
from .evaluate import average_precision
from .inputs import expand, is_video, say_left_out

if TYPE_CHECKING:
    from ..evaluation import COCOEvaluator
    from ..predictor import Predictor

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred export page.onnx
  litepred export config.yaml model.onnx --weights model_final.pth
  litepred export COCO-Detection/retinanet_R_50_FPN_3x retinanet.onnx --half
  litepred export page.onnx --int8 --calibrate pages
  litepred predict photos --config model.onnx"""


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    told = "config, file of litepred convert, or name in the zoo; default: the document-page model"
    add(parser, "model MODEL", told, nargs="?")
    add(parser, "target OUT.onnx", "file to write, whole or not at all")
    model = parser.add_argument_group("the model")
    add(model, "--weights FILE", "checkpoint, instead of the config's MODEL.WEIGHTS")
    add_class_names(model)
    written = parser.add_argument_group("what is written")
    told = "take images of this size alone, in pixels after resizing; default: any size"
    add(written, "--size", told, action="store", metavar=("HEIGHT", "WIDTH"), nargs=2, type=positive)
    add(written, "--half", "store the weights in float16: half the size, and rounded")
    told = "version of ONNX's operators, from 18 on; default: the oldest that has all that the model needs"
    add(written, "--opset N", told, type=positive)
    told = "image to compare on, once for each; default: an example page, a part of it, and an empty image"
    add(written, "--check IMAGE", told, action="append")
    add(written, "--force", "replace OUT.onnx if it is there")
    bits = parser.add_argument_group("eight bits")
    told = "quantise convolutions and matrix products, and report what that costs; needs --calibrate"
    add(bits, "--int8", told)
    add(bits, "--calibrate DIR", "folder of images to quantise on, some ten to a hundred like the model's own")
    add(bits, "--annotations FILE", "COCO's JSON of the images in --calibrate: report AP before and after")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    target = Path(arguments.target)
    check_output("OUT.onnx", target, (".onnx",), arguments.force)
    arguments.config = arguments.model
    check_model_arguments(arguments)
    for image in arguments.check or ():
        check_file("--check", image)
    calibration = _calibration_images(arguments)
    sources = [one for one in (arguments.model, arguments.weights) if one is not None and Path(one).is_file()]
    check_targets([*sources, *calibration], [target])
    from ..export import export_onnx, quantize_onnx
    from ..export.onnx_file import check_export, graph_image
    from ..predictor import Predictor

    predictor = make_predictor(arguments, device="cpu")
    size_hw = None if arguments.size is None else (arguments.size[0], arguments.size[1])
    check_export(predictor, arguments.half, size_hw, arguments.opset)
    for image in calibration:
        graph_image(predictor, image, size_hw)
    for image in arguments.check or ():
        graph_image(predictor, image)
    evaluator = average_precision(arguments.annotations, predictor) if arguments.annotations is not None else None
    if evaluator is not None:  # first, since it is here that annotations prove to be of another kind of model
        print(f"AP before: {_figures(evaluator, predictor, Path(arguments.calibrate))}")
    with tempfile.TemporaryDirectory() as folder:
        written = str(Path(folder) / "model.onnx") if arguments.int8 else str(target)
        report = export_onnx(
            predictor, written, size_hw=size_hw, half=arguments.half, opset=arguments.opset, check=arguments.check
        )
        print(replace(report, path=str(target)) if not arguments.int8 else f"in float: {report}")
        if arguments.int8:
            print(quantize_onnx(written, target, calibration))
            if evaluator is not None:
                print(f"AP after: {_figures(evaluator, Predictor(str(target)), Path(arguments.calibrate))}")
    return 0


def _calibration_images(arguments: argparse.Namespace) -> list[str]:
    """Return the paths of the images to quantise on.

    Raises:
        LitepredError: the options contradict one another, or there is no image.
    """
    if not arguments.int8:
        if arguments.calibrate is not None or arguments.annotations is not None:
            raise LitepredError("--calibrate and --annotations are for --int8: pass it too, or leave them out")
        return []
    if arguments.half:
        raise LitepredError("--half and --int8 were given: choose one, what is stored in float16 is not quantised")
    if arguments.calibrate is None or not Path(arguments.calibrate).is_dir():
        raise LitepredError(
            f"--int8 came with --calibrate {arguments.calibrate}: expected a folder with some ten to a hundred images "
            "like those that the model will see"
        )
    if arguments.annotations is not None:
        from ..evaluation import COCOEvaluator

        evaluator = COCOEvaluator(arguments.annotations)
        return [str(Path(arguments.calibrate) / one["file_name"]) for one in evaluator.images]
    images: list[str] = []
    left_out: list[str] = []
    for one in expand([arguments.calibrate], left_out):
        if isinstance(one, str):
            (left_out if is_video(one) else images).append(one)
    say_left_out(left_out, are_patterns_taken=False)
    if not images:
        raise LitepredError(f"the folder {arguments.calibrate!r} has no image in it to quantise on")
    return images


def _figures(evaluator: COCOEvaluator, predictor: Predictor, folder: Path) -> str:
    """Measure a model on the annotated images, in COCO's AP of boxes, masks and keypoints."""
    evaluator.reset()
    for image in evaluator.images:
        outputs = predictor(str(folder / image["file_name"]))
        evaluator.process([{"image_id": image["id"]}], [outputs])
    return ", ".join(f"{task} {figures['AP']:.2f}" for task, figures in evaluator.evaluate().items())
