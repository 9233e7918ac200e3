"""DensePose's tool ``apply_net``, which draws results or stores them in a file.

The arguments are those of DensePose's own ``apply_net.py``, and of the copy of it that the try-on demo IDM-VTON calls.
"""

from __future__ import annotations

import argparse
import functools
import glob
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, LitepredError
from ..files import as_stored, check_targets, whole_file

if TYPE_CHECKING:
    import numpy as np

    from ..predictor import Predictor
    from .vis import ImageLike

__all__ = [
    "add_actions",
    "create_argument_parser",
    "dump",
    "dumped_files",
    "load_predictor",
    "main",
    "show",
    "shown_files",
    "start_logging",
    "verbosity_to_level",
]

logger = logging.getLogger("apply_net")


def create_argument_parser() -> argparse.ArgumentParser:
    """Return the tool's parser, after whose ``parse_args`` the program calls ``args.func(args)``.

    A program such as IDM-VTON, which has the image already, calls ``args.func(args, image)``; see `show`.
    """
    parser = argparse.ArgumentParser(prog="apply_net", description="Draw DensePose results, or store them.")
    parser.set_defaults(func=lambda *_: parser.print_help(sys.stdout))
    add_actions(parser.add_subparsers(title="actions", metavar="ACTION"))
    return parser


def add_actions(actions: argparse._SubParsersAction) -> None:
    """Add ``show`` and ``dump`` to subparsers; each sets ``func`` to the function that runs it."""
    shown = actions.add_parser(
        "show",
        help="draw what is found, a picture for each image",
        description="Draw what a DensePose model finds. Image number 1 becomes NAME.0001.png if --output is NAME.png.",
    )
    dumped = actions.add_parser(
        "dump",
        help="store what is found in one file",
        description="Store what a DensePose model finds: a list with a dict for each image, as torch.load reads it "
        "after import litepred.densepose.structures. The config's score threshold holds, which is mostly 0.05.",
    )
    for parser in (shown, dumped):
        add = parser.add_argument
        add("-v", "--verbosity", action="count", help="say more on standard error: -v, -vv")
        add("cfg", metavar="<config>", help="YAML file, or a model of the zoo: DensePose/densepose_rcnn_…")
        add("model", metavar="<model>", help="checkpoint: a file or an address")
        number = "?" if parser is shown else None  # a program that calls `show` may have the image already
        add("input", nargs=number, type=as_stored, metavar="<input>", help="image file, folder or glob pattern")
    shown.add_argument(
        "visualizations",
        metavar="<visualizations>",
        help="comma-separated, in the order of drawing: dp_segm (body parts), dp_u, dp_v (coordinates on them), bbox",
    )
    shown.add_argument(
        "--min_score",
        metavar="<score>",
        type=float,
        default=0.8,
        help="leave out what scores less; stands above MODEL.ROI_HEADS.SCORE_THRESH_TEST of --opts; default: 0.8",
    )
    shown.add_argument("--nms_thresh", metavar="<threshold>", type=float, help="likewise for NMS_THRESH_TEST")
    shown.add_argument(
        "--output", metavar="<image_file>", default="outputres.png", help="the pictures; default: %(default)s"
    )
    shown.add_argument(
        "--style",
        choices=("densepose", "idm-vton"),
        help="idm-vton: dp_segm opaque on black, of the instance with the lowest score alone; default: densepose",
    )
    dumped.add_argument("--output", metavar="<dump_file>", default="results.pkl", help="default: %(default)s")
    for parser, run in ((shown, show), (dumped, dump)):
        parser.set_defaults(func=run)
        parser.add_argument(
            "--opts",
            nargs=argparse.REMAINDER,
            default=[],
            metavar="KEY VALUE",
            help="config keys and their values, to the end of the line: it must come last",
        )


def show(args: argparse.Namespace, image: ImageLike | None = None) -> np.ndarray | None:
    """Draw what is found in a given image, or in the files that ``args.input`` names.

    Args:
        args: the arguments of ``show``, as `create_argument_parser` parses them.
        image: an array (H, W, 3) uint8, BGR, of any strides, or what else `Predictor` takes. With ``None``, the files
            are read.

    Returns:
        For a given image, the picture: a new array (H, W, 3) uint8, BGR, in the style of IDM-VTON unless
        ``args.style`` says otherwise. Where nobody is found it is the grey photo. For files, ``None``; their pictures
        become files, in DensePose's own style.

    Raises:
        LitepredError: A config, a checkpoint or an image cannot be read, or ``args`` do not go together.
    """
    if image is not None:
        return _picture(args, _show_predictor(args), image, args.style or "idm-vton")
    _finish(shown_files(args))
    return None


def shown_files(args: argparse.Namespace) -> Iterator[tuple[str, Path | ImageError]]:
    """Draw each file that ``args.input`` names, and yield it with the picture's path, or why it could not be read."""
    from PIL import Image

    files = _input_files(args)  # mistakes are found before the model is loaded
    output = Path(args.output)
    kind = Image.registered_extensions().get(output.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise LitepredError(
            f"--output {args.output!r} ends in {output.suffix!r}, which is no kind of image that is written: try .png"
        )
    from .vis import parse_names

    parse_names(args.visualizations)
    targets = [output.with_name(f"{output.stem}.{i + 1:04d}{output.suffix}") for i in range(len(files))]
    check_targets(files, targets)
    predictor = _show_predictor(args)
    for file in files:
        logger.info("Processing %s", file)
        try:
            picture = _picture(args, predictor, file, args.style or "densepose")
        except ImageError as error:
            yield file, error
            continue
        target = targets.pop(0)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as written:
            Image.fromarray(picture[:, :, ::-1]).save(written, format=kind)
        logger.info("Output saved to %s", target)
        yield file, target


def dump(args: argparse.Namespace) -> None:
    """Store what is found in the files that ``args.input`` names.

    The file ``args.output`` then has a list with a dict for each image: ``file_name``; ``scores`` (N,);
    ``pred_boxes_XYXY`` (N, 4) in pixels of the image; ``pred_densepose``, a list of N
    ``DensePoseChartResultWithConfidences`` on the CPU, which is missing where nobody was found.

    Raises:
        LitepredError: A config, a checkpoint or an image cannot be read, or the file cannot be written.
    """
    _finish(dumped_files(args))


def _finish(outcomes: Iterator[tuple[str, Path | ImageError]]) -> None:
    for _, outcome in outcomes:
        if isinstance(outcome, ImageError):
            raise outcome


def dumped_files(args: argparse.Namespace) -> Iterator[tuple[str, Path | ImageError]]:
    """Predict on each file that ``args.input`` names, and yield it with the path of the results, or why it is left out.

    The results are written at the end.
    """
    import torch

    from .converters import DensePoseResultExtractor

    results: list[dict[str, Any]] = []
    target, files = Path(args.output), _input_files(args)
    check_targets(files, [target])
    predictor = load_predictor(args.cfg, args.model, args.opts)
    for file in files:
        logger.info("Processing %s", file)
        try:
            instances = predictor(file)["instances"]
        except ImageError as error:
            yield file, error
            continue
        found = {"file_name": file, "scores": instances.scores.cpu()}
        found["pred_boxes_XYXY"] = instances.pred_boxes.tensor.cpu()
        if instances.has("pred_densepose"):
            converted, _ = DensePoseResultExtractor()(instances)
            found["pred_densepose"] = [result.to("cpu") for result in converted or []]
        results.append(found)
        yield file, target
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as written:
        torch.save(results, written)
    logger.info("Output saved to %s", target)


def _picture(args: argparse.Namespace, predictor: Predictor, image: ImageLike, style: str) -> np.ndarray:
    from ..data import image_to_array
    from .vis import draw

    array = image_to_array(image)
    return draw(array, predictor(array)["instances"], args.visualizations, style)


def _show_predictor(args: argparse.Namespace) -> Predictor:
    opts = [*args.opts, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", str(args.min_score)]
    if args.nms_thresh is not None:
        opts += ["MODEL.ROI_HEADS.NMS_THRESH_TEST", str(args.nms_thresh)]
    return load_predictor(args.cfg, args.model, opts)


def load_predictor(config: str, weights: str, opts: Sequence[str] = ()) -> Predictor:
    """Return a predictor: that of the last call if it was for the same files and options, else a new one.

    The last predictor, with its model, stays in memory until the process ends or another one is loaded, since programs
    such as IDM-VTON ask for it anew with each photo.

    Args:
        config: path of a YAML file, or name of a model of the zoo.
        weights: path or address of the checkpoint.
        opts: config keys, each followed by its value; later ones win.

    Raises:
        ConfigError: The config cannot be read, or does not describe a model.
        CheckpointError: The checkpoint cannot be read safely, or does not fit the model.
    """
    found = [os.stat(path) if os.path.exists(path) else None for path in (config, weights)]
    stamps = [status and (status.st_mtime_ns, status.st_size) for status in found]  # which change when the files do
    return _kept_predictor(os.getcwd(), config, weights, tuple(opts), *stamps)


@functools.lru_cache(maxsize=1)
def _kept_predictor(folder: str, config: str, weights: str, opts: tuple[str, ...], *stamps: object) -> Predictor:
    from ..predictor import Predictor
    from ..resolve import named_config
    from .config import add_densepose_config

    cfg = named_config(config)
    add_densepose_config(cfg)
    for key, value in zip(opts[::2], opts[1::2]):  # one by one, so that a key may come twice
        cfg.merge_from_list([key, value])
    if len(opts) % 2:
        raise LitepredError(f"--opts {' '.join(opts)}: {opts[-1]} has no value; expected KEY VALUE KEY VALUE …")
    return Predictor(cfg, weights=weights)


def _input_files(args: argparse.Namespace) -> list[str]:
    if args.input is None:
        raise LitepredError(
            f"no <input> was given: expected an image file, a folder or a glob pattern before {args.visualizations!r}"
        )
    if os.path.isdir(args.input):
        files = [os.path.join(args.input, name) for name in sorted(os.listdir(args.input))]
    else:
        files = [args.input] if os.path.isfile(args.input) else sorted(glob.glob(args.input))
    if files := [file for file in files if os.path.isfile(file)]:
        return files
    raise LitepredError(f"there are no files {args.input!r}: expected an image file, a folder or a glob pattern")


def verbosity_to_level(verbosity: int | None) -> int:
    """Return the logging level for a number of ``-v``: warnings for 0, information for 1, everything from 2 on."""
    return (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity or 0, 2)]


def start_logging(args: argparse.Namespace) -> None:
    """Log to standard error, as much as ``args.verbosity`` asks for."""
    logging.basicConfig(format="%(name)s: %(message)s")
    logger.setLevel(verbosity_to_level(getattr(args, "verbosity", None)))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool with ``argv`` (default: the process's own arguments)."""
    args = create_argument_parser().parse_args(argv)
    start_logging(args)
    args.func(args)
