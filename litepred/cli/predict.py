"""``litepred predict``: images in, a line about each and a picture of what was found out."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, LitepredError

if TYPE_CHECKING:
    from ..predictor import Predictor

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``litepred``."""
    predict = commands.add_parser(
        "predict",
        help="find things in images, and write pictures of them",
        description="Find things in images. For each image, one line says what was found and a picture shows it.",
        epilog="Without arguments: the document-page model that comes with litepred, on the page that comes with it.",
        allow_abbrev=False,
    )
    predict.add_argument("images", nargs="*", metavar="IMAGE", help="image files; default: an example page")
    predict.add_argument(
        "--config",
        metavar="YAML",
        help="config of the model, or a file of litepred convert; default: the document-page model",
    )
    predict.add_argument("--weights", metavar="FILE", help="checkpoint, instead of the config's MODEL.WEIGHTS")
    predict.add_argument(
        "--output", metavar="DIR", default="litepred-output", help="folder for the pictures; default: %(default)s"
    )
    predict.add_argument("--device", help="such as cpu or cuda, instead of the config's MODEL.DEVICE")
    predict.add_argument(
        "--threshold",
        type=_share,
        default=0.5,
        metavar="SCORE",
        help="leave out what scores less; default: %(default)s",
    )
    predict.set_defaults(run=_predict)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a score: expected a number from 0 to 1")
    return value


def _predict(arguments: argparse.Namespace) -> int:
    from ..default_model import example_page
    from ..predictor import Predictor

    predictor = Predictor(arguments.config, weights=arguments.weights, device=arguments.device)
    output = Path(arguments.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LitepredError(f"cannot make the folder --output {str(output)!r}: {error.strerror}") from error
    failures = 0
    written: set[Path] = set()
    for path in [Path(p) for p in arguments.images] or [example_page()]:
        try:
            target = _free_name(output / f"{path.stem}.png", written)
            print(_predict_one(predictor, path, target, arguments.threshold), flush=True)
        except ImageError as error:
            failures += 1
            print(f"litepred: error: {error}", file=sys.stderr)
    return 1 if failures else 0


def _free_name(target: Path, written: set[Path]) -> Path:
    """Keep images of one name from different folders apart within a run."""
    candidate, number = target, 2
    while candidate in written:
        candidate, number = target.with_stem(f"{target.stem}-{number}"), number + 1
    written.add(candidate)
    return candidate


def _predict_one(predictor: Predictor, path: Path, target: Path, threshold: float) -> str:
    """Predict on one file, write its picture, and return the line that tells about it."""
    from PIL import Image

    from ..data import read_image
    from ..visualizer import draw

    image = read_image(path)
    start = time.perf_counter()
    outputs = predictor(image)
    elapsed_s = time.perf_counter() - start
    picture = Image.fromarray(draw(image, outputs, predictor.metadata, threshold)[:, :, ::-1])
    partial = target.with_name(f".{target.name}.part")
    try:
        picture.save(partial, format="PNG")
        partial.replace(target)
    except OSError as error:
        raise LitepredError(f"cannot write {str(target)!r}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return f"{path.name}: {_summary(outputs, predictor.metadata, threshold)} in {elapsed_s:.2f} s -> {target}"


def _summary(outputs: dict[str, Any], metadata: Any, threshold: float) -> str:
    from ..data import class_name

    if "instances" in outputs:
        instances = outputs["instances"]
        labels = instances.pred_classes[instances.scores >= threshold].tolist()
        counts = Counter(class_name(metadata, label) for label in labels)
        return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    if "proposals" in outputs:
        return f"{len(outputs['proposals'])} proposals"
    labels = outputs["sem_seg"].argmax(dim=0).unique().tolist()
    return ", ".join(class_name(metadata, label, "stuff") for label in labels)
