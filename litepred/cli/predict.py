"""``litepred predict``: images and videos in; a line about each, pictures and result files out."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, LitepredError
from .common import progress_bar
from .inputs import expand, is_video, predict_files
from .outputs import Item, NamedFile, RunFiles, Wanted, describe, naming_errors

if TYPE_CHECKING:
    import numpy as np

    from ..data import Metadata, VideoReader
    from ..predictor import Predictor

__all__ = ["add_parser"]

_DESCRIPTION = """\
Find things in images and videos. For each, a line says what was found, and a
picture (of a video, an MP4) shows it.

IMAGE is a file; a folder, for the images and videos in it; a pattern such as
'scans/**/*.tif'; a video; or camera:0, until Ctrl-C. Without one: the example
page that comes with litepred."""
_EPILOG = """\
examples:
  litepred predict
  litepred predict page.png photo.jpg --threshold 0.7
  litepred predict scans --classes table,figure --csv tables.csv
  litepred predict val2017 --config COCO-Detection/retinanet_R_50_FPN_3x \\
      --threshold 0 --no-save-images --coco results.json
  litepred predict street.mp4 --config config.yaml --weights model_final.pth

A file that cannot be read is reported, the rest goes on, and the exit status
is 1 at the end. Each file is written whole or not at all; the files of a whole
run (--coco, --csv, panoptic.json) appear at its end, not when it is broken off.

In COCO's files, an image whose name is a number, as COCO's own are, has that
number as its id, if all have such names; otherwise they are counted from 1.
"file_name" tells which is which: it is the path as given, here and in the other
files, if two images have the same name."""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``litepred``."""
    predict = commands.add_parser(
        "predict",
        help="find things in images and videos, and write pictures and result files",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    predict.add_argument("images", nargs="*", metavar="IMAGE", help="file, folder, pattern, video, or camera:0")
    model = predict.add_argument_group("the model")
    model.add_argument(
        "--config",
        metavar="YAML",
        help="config of the model, a file of litepred convert, or a name in the zoo; default: the document-page model",
    )
    model.add_argument("--weights", metavar="FILE", help="checkpoint, instead of the config's MODEL.WEIGHTS")
    model.add_argument("--device", help="such as cpu or cuda, instead of the config's MODEL.DEVICE")
    model.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of convolutions: less is faster on hardware that has it; default: %(default)s",
    )
    model.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="images of one size that run together; default: 1 on the CPU, else 4",
    )
    choice = predict.add_argument_group("what counts")
    choice.add_argument(
        "--threshold",
        type=_share,
        default=0.5,
        metavar="SCORE",
        help="leave out instances that score less; default: %(default)s",
    )
    choice.add_argument("--classes", metavar="NAMES", help="keep only these: a,b,c by name, or by number from 0")
    files = predict.add_argument_group("what is written")
    files.add_argument(
        "--output", metavar="DIR", default="litepred-output", help="folder for pictures and JSON; default: %(default)s"
    )
    files.add_argument(
        "--save-images", action=argparse.BooleanOptionalAction, default=True, help="draw pictures; default: yes"
    )
    files.add_argument("--json", action="store_true", help="a JSON file per image beside its picture")
    files.add_argument("--coco", metavar="FILE", help="all instances in COCO's results format")
    files.add_argument("--csv", metavar="FILE", help="all instances, a line each")
    files.add_argument("--panoptic", metavar="DIR", help="segments as COCO's panoptic PNGs and panoptic.json")
    files.add_argument("--labels", metavar="DIR", help="a gray PNG per image, whose values are classes of stuff")
    files.add_argument(
        "--masks",
        choices=("rle", "polygon", "none"),
        help="how masks are written; default: rle in --coco (needs litepred[coco]), polygon in --json",
    )
    files.add_argument(
        "--skip-existing", action="store_true", help="leave out images whose files in --output are there already"
    )
    predict.set_defaults(run=_predict)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a score: expected a number from 0 to 1")
    return value


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of images: expected 1 or more")
    return value


def _predict(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it cannot open is told by our errors
    from ..default_model import example_page
    from ..predictor import Predictor

    wanted = Wanted.of(arguments)
    if arguments.skip_existing:
        _check_skipping(wanted)
    predictor = Predictor(
        arguments.config, weights=arguments.weights, device=arguments.device, precision=arguments.precision
    )
    kept = None if arguments.classes is None else _class_numbers(arguments.classes, predictor.metadata)
    found = list(expand(arguments.images or [str(example_page())]))
    items = _items([name for name in found if isinstance(name, str)])
    _check_targets(wanted, items)
    todo = [item for item in items if not (arguments.skip_existing and _is_done(wanted, item))]
    skipped = len(items) - len(todo)
    with RunFiles(wanted, predictor.metadata) as files, progress_bar(len(todo), "image") as bar:
        run = _Run(predictor, wanted, files, bar, lambda outputs: _selected(outputs, arguments.threshold, kept))
        for error in found:
            if isinstance(error, ImageError):
                run.report(error)
        start = time.perf_counter()
        for video, group in itertools.groupby(todo, lambda item: is_video(item.source)):
            if video:
                for item in group:
                    run.video(item, arguments.batch_size)
            else:
                run.images(group, arguments.batch_size)
    if len(todo) > 1 or skipped:
        elapsed_s = time.perf_counter() - start
        told = [f"{run.done} of {run.done + run.failed} images and frames in {elapsed_s:.1f} s"]
        told += [f"{run.failed} could not be read"] * bool(run.failed) + [f"{skipped} skipped"] * bool(skipped)
        print(f"litepred: {', '.join(told)}", file=sys.stderr)
    return 1 if run.failed else 0


class _Run:
    """The images of a run, one after another, and how many there were."""

    def __init__(
        self,
        predictor: Predictor,
        wanted: Wanted,
        files: RunFiles,
        bar: Any,
        selected: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self.predictor, self.wanted, self.files, self.bar, self.selected = predictor, wanted, files, bar, selected
        self.metadata = predictor.metadata
        self.done = self.failed = 0

    def report(self, error: ImageError) -> None:
        """Count a file that cannot be read, and say why."""
        self.failed += 1
        self.bar.write(f"litepred: error: {error}", file=sys.stderr)

    def images(self, items: Iterator[Item], batch_size: int | None) -> None:
        """Predict on images."""
        # of a batch, only the sum of the times is known
        alone = batch_size == 1 or (batch_size is None and self.predictor.cfg.MODEL.DEVICE == "cpu")
        start = time.perf_counter()
        for item, image, answer in predict_files(self.predictor, items, lambda item: item.source, batch_size):
            elapsed_s = time.perf_counter() - start
            if isinstance(answer, ImageError):
                self.report(answer)
            else:
                outputs = self.selected(answer)
                text = f"{item.name}: {_summary(outputs, self.metadata)}"
                text += f" in {elapsed_s:.2f} s" * alone
                written = self._write_image(item, image, outputs)
                self.files.add(item, outputs)
                self.done += 1
                self.bar.write(text + (f" -> {', '.join(map(str, written))}" if written else ""), file=sys.stdout)
                sys.stdout.flush()
            self.bar.update()
            start = time.perf_counter()

    def _write_image(self, item: Item, image: Any, outputs: dict[str, Any]) -> list[Path]:
        from PIL import Image

        from ..files import whole_file
        from ..results import write_json

        paths = self.wanted.files(item, video=False)
        for path in paths:
            with naming_errors(path):
                if path.suffix == ".json":
                    size_hw = image.shape[:2]
                    write_json(path, describe(outputs, size_hw, item.name, self.metadata, self.wanted.masks))
                else:
                    picture = Image.fromarray(_picture(image, outputs, self.metadata)[:, :, ::-1])
                    with whole_file(path) as temporary:
                        picture.save(temporary, format="PNG", compress_level=3)  # half the usual time
        return paths

    def video(self, item: Item, batch_size: int | None) -> None:
        """Predict on the frames of a video or camera; a camera goes on until Ctrl-C."""
        from ..data import VideoReader

        start, before = time.perf_counter(), self.done
        try:
            with VideoReader(item.source) as reader:
                if self.bar.total is not None:
                    self.bar.total = None if reader.frame_count is None else self.bar.total + reader.frame_count - 1
                self._frames(item, reader, batch_size)
        except ImageError as error:
            self.report(error)
            return
        elapsed_s = time.perf_counter() - start
        written = self.wanted.files(item, video=True)
        text = f"{item.name}: {self.done - before} frames in {elapsed_s:.2f} s"
        self.bar.write(text + (f" -> {', '.join(map(str, written))}" if written else ""), file=sys.stdout)

    def _frames(self, item: Item, reader: VideoReader, batch_size: int | None) -> None:
        from contextlib import ExitStack

        from ..data import video_file
        from ..results import json_list

        paths = {path.suffix: path for path in self.wanted.files(item, video=True)}
        show = frame_drawer(self.metadata)
        with ExitStack() as stack:
            add_entries = add_frame = None
            shown = 0
            if ".json" in paths:
                add_entries = stack.enter_context(NamedFile(paths[".json"], json_list(paths[".json"])))
            try:
                for frame, index, time_s, answer in self.predictor.stream(reader, batch_size):
                    outputs = self.selected(answer)
                    if ".mp4" in paths:
                        if add_frame is None:
                            writer = video_file(paths[".mp4"], reader.fps, frame.shape[:2])
                            add_frame = stack.enter_context(NamedFile(paths[".mp4"], writer))
                        picture = show(frame, outputs)
                        # a camera is faster than the model: each picture stays until the next one came
                        times = max(1, round(time_s * reader.fps) + 1 - shown) if reader.is_camera else 1
                        for _ in range(times):
                            add_frame(picture)
                        shown += times
                    if add_entries is not None:
                        facts = describe(outputs, frame.shape[:2], item.name, self.metadata, self.wanted.masks)
                        add_entries([{"frame": index, "time_s": time_s, **facts}])
                    self.files.add(item, outputs, index)
                    self.done += 1
                    self.bar.update()
            except KeyboardInterrupt:
                if not reader.is_camera:
                    raise


def frame_drawer(metadata: Metadata) -> Callable[[np.ndarray, dict[str, Any]], np.ndarray]:
    """Return what draws the frames of one video: a BGR frame and its outputs in, a BGR picture out.

    An instance keeps its colour from frame to frame.
    """
    from ..visualizer import VideoVisualizer

    video = VideoVisualizer(metadata)

    def show(frame: np.ndarray, outputs: dict[str, Any]) -> np.ndarray:
        if "instances" not in outputs:
            return _picture(frame, outputs, metadata)
        picture = video.draw_instance_predictions(frame[:, :, ::-1], outputs["instances"].to("cpu"))
        return picture.get_image()[:, :, ::-1]

    return show


def _picture(image: np.ndarray, outputs: dict[str, Any], metadata: Metadata) -> np.ndarray:
    from ..data import as_array
    from ..visualizer import draw

    return draw(as_array(image), outputs, metadata, 0.0)  # what scores too little is gone by now


def _items(names: Sequence[str]) -> list[Item]:
    """Give each file a stem that no other has, so that images of one name from different folders keep apart.

    Names that differ in case, or in how their accents are written, are one to the file systems of Windows and macOS.
    """
    stems = [Path(name).stem.replace("camera:", "camera-") for name in names]
    short = [os.path.basename(name) for name in names]
    called = short if len({*short}) == len({*names}) else names
    numbered = all(stem.isdecimal() and stem.isascii() for stem in stems) and len({*map(int, stems)}) == len(stems)
    taken: set[str] = set()  # in one case: Windows and macOS take a.png and A.png for one file
    last: Counter[str] = Counter()
    items = []
    for name, called_so, stem in zip(names, called, stems):
        free = stem
        while _as_one_name(free) in taken:
            last[_as_one_name(stem)] += 1
            free = f"{stem}-{last[_as_one_name(stem)] + 1}"
        taken.add(_as_one_name(free))
        items.append(Item(name, called_so, free, int(stem) if numbered else None))
    return items


def _as_one_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_skipping(wanted: Wanted) -> None:
    whole = [f"--{name}" for name in ("coco", "csv", "panoptic", "labels") if getattr(wanted, name) is not None]
    if whole:
        raise LitepredError(f"--skip-existing would leave images out of {', '.join(whole)}: drop one or the other")
    if not wanted.pictures and not wanted.json:
        raise LitepredError("--skip-existing looks for pictures or JSON files, and none are written: add --json")


def _is_done(wanted: Wanted, item: Item) -> bool:
    return all(path.is_file() for path in wanted.files(item, is_video(item.source)))


def _check_targets(wanted: Wanted, items: Sequence[Item]) -> None:
    """Refuse to write over an image that is to be read, or over another file of the run."""
    folders: dict[str, str] = {}

    def identity(path: str) -> Any:
        """What all names of a file have in common: IMG.PNG and IMG.png are one file on most disks of Macs."""
        with suppress(OSError, ValueError):
            status = os.stat(path)
            if status.st_ino:  # some network drives do not number their files
                return status.st_dev, status.st_ino
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return os.path.join(folders[folder], name)

    sources = {identity(item.source) for item in items}
    targets: set[Any] = set()
    each = (path for item in items for path in wanted.all_files(item, is_video(item.source)))
    for path in itertools.chain(wanted.run_files(), each):
        place = identity(str(path))
        if place in sources:
            raise LitepredError(f"{str(path)!r} is both read and written: choose another folder to write to")
        if place in targets:
            raise LitepredError(f"{str(path)!r} is to be written twice: give each option a file or folder of its own")
        targets.add(place)


def _class_numbers(given: str, metadata: Metadata) -> list[int]:
    from difflib import get_close_matches

    names = list(metadata.get("thing_classes") or ())
    numbers = []
    for one in (part.strip() for part in given.split(",")):
        if one in names:
            numbers.append(names.index(one))
        elif one.isdecimal() and (not names or int(one) < len(names)):
            numbers.append(int(one))
        else:
            near = get_close_matches(one, names, n=3, cutoff=0.5) or names[:8]
            known = f"it has {', '.join(near)}{' …' * (len(near) < len(names))}" if near else "its names are not known"
            raise LitepredError(f"--classes has {one!r}, which is no class of this model: {known}; or give its number")
    return numbers


def _selected(outputs: dict[str, Any], threshold: float, kept: Sequence[int] | None) -> dict[str, Any]:
    """Leave out instances that score too little or are of other classes."""
    if "instances" not in outputs:
        if kept is not None:
            raise LitepredError(f"--classes chooses instances, but this model finds {', '.join(outputs)}: leave it out")
        return outputs
    instances = outputs["instances"]
    chosen = instances.scores >= threshold
    if kept is not None:
        import torch

        chosen &= torch.isin(instances.pred_classes, torch.tensor(kept, device=chosen.device))
    return {**outputs, "instances": instances[chosen]}


def _summary(outputs: dict[str, Any], metadata: Metadata) -> str:
    from ..data import class_name

    if "instances" in outputs:
        counts = Counter(class_name(metadata, label) for label in outputs["instances"].pred_classes.tolist())
        return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    if "proposals" in outputs:
        return f"{len(outputs['proposals'])} proposals"
    labels = outputs["sem_seg"].max(dim=0).indices.unique().tolist()
    return ", ".join(class_name(metadata, label, "stuff") for label in labels)
