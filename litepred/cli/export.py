"""Write a model as an ONNX file, for ONNX Runtime, OpenVINO, browsers and others.

The file is of one piece and takes images of any size. Config, class names and
resizing are in its metadata, so that Predictor("model.onnx") and every command
here run it as they run other models.

The file is run and compared with the predictor before it gets its name; the
largest differences are printed, and nothing is left behind if they are more
than rounding. Needs pip install 'litepred[onnx]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import LitepredError
from ..files import check_targets
from .common import CommandParser, positive

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred export page.onnx
  litepred export config.yaml model.onnx --weights model_final.pth
  litepred export COCO-Detection/retinanet_R_50_FPN_3x retinanet.onnx --half
  litepred predict photos --config model.onnx"""


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="config, file of litepred convert, or name in the zoo; default: the document-page model",
    )
    parser.add_argument("target", metavar="OUT.onnx", help="file to write, whole or not at all")
    parser.add_argument("--weights", metavar="FILE", help="checkpoint, instead of the config's MODEL.WEIGHTS")
    parser.add_argument(
        "--size",
        metavar=("HEIGHT", "WIDTH"),
        nargs=2,
        type=positive,
        help="take images of this size alone, in pixels after resizing; default: any size",
    )
    parser.add_argument("--half", action="store_true", help="store the weights in float16: half the size, and rounded")
    parser.add_argument("--opset", type=positive, default=18, help="version of ONNX's operators; default: %(default)s")
    parser.add_argument(
        "--check",
        metavar="IMAGE",
        nargs="+",
        help="images to compare on; default: an example page, a part of it, and an empty image",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT.onnx if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    target = Path(arguments.target)
    if target.suffix != ".onnx":
        raise LitepredError(f"OUT.onnx is {str(target)!r}: expected a name that ends in .onnx")
    if not target.parent.is_dir():
        raise LitepredError(
            f"OUT.onnx is {str(target)!r}, but there is no folder {str(target.parent)!r}: make it first"
        )
    if target.exists() and not (arguments.force and target.is_file()):
        advice = "choose another name" + (", or replace it with --force" if target.is_file() else "")
        raise LitepredError(f"OUT.onnx is {str(target)!r}, which is there already: {advice}")
    sources = [one for one in (arguments.model, arguments.weights) if one is not None and Path(one).is_file()]
    check_targets(sources, [target])
    from ..export import export_onnx
    from ..predictor import Predictor

    predictor = Predictor(arguments.model, weights=arguments.weights, device="cpu")
    size_hw = None if arguments.size is None else (arguments.size[0], arguments.size[1])
    print(
        export_onnx(
            predictor, target, size_hw=size_hw, half=arguments.half, opset=arguments.opset, check=arguments.check
        )
    )
    return 0
