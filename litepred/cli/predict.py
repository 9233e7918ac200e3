"""Find things in images and videos.

For each, a line says what was found, and a picture (of a video, an MP4) shows
it.

IMAGE is a file; a folder, for the images and videos directly in it; a pattern
such as 'scans/**/*.tif', subfolders included; a video; or camera:0, until
Ctrl-C. Without one: the example page that comes with litepred.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import ImageError, LitepredError
from ..files import check_targets
from .answers import Answer, Workers, answers, unnamed_classes
from .arguments import LISTS, CommandParser, add, add_old_name, positive, score, target
from .common import add_model_arguments, check_model_arguments, fitting_metadata, make_predictor, progress_bar, say
from .inputs import IMAGE_SUFFIXES, expand, images_or_page, say_left_out
from .outputs import Item, RunFiles, all_files, check_needs, format_files, item_files, name_items

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..data import Metadata
    from ..predictor import Predictor
    from ..selection import Way

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred predict
  litepred predict page.png photo.jpg --threshold 0.7
  litepred predict scans --classes table,figure --csv tables.csv
  litepred predict photos --format yolo,cvat --no-save-images
  litepred predict val2017 --config COCO-Detection/retinanet_R_50_FPN_3x \\
      --threshold 0 --no-save-images --coco results.json
  litepred predict street.mp4 --config config.yaml --weights model_final.pth

A file that cannot be read is reported, the rest goes on, and the exit status
is 1 at the end. Each file is written whole or not at all. The files of a whole
run (--coco, --csv, panoptic.json, and those of --format that have all images)
appear at its end; a run that is broken off leaves none of them.

The tools of --format find a frame of a video as NAME-000000.png, as ffmpeg -i
NAME.mp4 -fps_mode passthrough -start_number 0 NAME-%06d.png writes them.

In COCO's files, images are counted from 1, with --part those of other parts
as well, unless the names of all of them are numbers, as COCO's own names are:
then those are the ids. Where there are videos, each part counts its own images
and frames. The key "file_name" tells which image is meant, here and in the
other files. It is the file's name, or its path as given if two images have the
same name."""

_FORMATS = ("yolo", "labelme", "cvat", "label-studio", "geojson")
_FOR_EACH = ("labelme", "geojson")  # those that have a file for each image and none of the whole run
_ENDINGS = {"output": "", "panoptic": "", "labels": "", "coco": ".json", "csv": ".csv"}
_FILES = (*IMAGE_SUFFIXES, ".mp4", ".json", ".csv", ".yaml", ".pth", ".pkl")


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    add(parser, "images IMAGE", "file, folder, pattern, video, or camera:0", nargs="*")
    told = "predict every N-th image, from the K-th on: --part 1/4 to --part 4/4 share the work among four machines"
    add(parser, "--part K/N", told, type=_part)
    model = add_model_arguments(parser)
    told = "images of one size, or tiles of one, that run together; default: 1 on the CPU, else 4"
    add(model, "--batch-size N", told, type=positive)
    told = "processes that share the images, each with the model in its memory; on a CPU, several are faster than one"
    add(parser, "--workers N", told, type=positive, default=1)
    choice = parser.add_argument_group("what counts")
    told = "leave out instances that do not score more; 0: the config's own threshold"
    add(choice, "--threshold SCORE", told, type=score, default=0.5)
    told = "keep only these classes: a,b,c, or their numbers from 0"
    add(choice, "--classes NAMES", told, type=lambda text: text.split(","), action="extend")
    add(choice, "--agnostic-nms", "of instances that overlap, keep the best, of whatever class")
    add(choice, "--max-detections N", "keep the best N instances of an image", type=positive)
    add(choice, "--tile PX", "predict larger images by tiles of this side, and join what they cut", type=positive)
    add(choice, "--overlap SHARE", "of a tile, that its neighbour sees as well; default: 0.2", type=score)
    add(choice, "--track", "number what is found in videos, so that it is known again: litepred[track]")
    files = parser.add_argument_group("what is written")
    add(files, "--output DIR", "folder for pictures and JSON", type=target, default=Path("litepred-output"))
    pictures = argparse.BooleanOptionalAction
    add(files, "--save-images", "draw pictures; default: yes", action=pictures, default=True)
    save_json = add(files, "--save-json", "write a JSON file for each image, beside its picture")
    add_old_name(files, "--json", save_json)
    add(files, "--coco FILE", "write all instances in COCO's results format", type=target)
    add(files, "--csv FILE", "write all instances as a table", type=target)
    add(files, "--panoptic DIR", "write segments as COCO's panoptic PNGs and panoptic.json", type=target)
    add(files, "--labels DIR", "write a gray PNG for each image: the class of each pixel", type=target)
    told = f"for other tools, each in a folder of its own in --output: {', '.join(_FORMATS)}"
    add(files, "--format NAMES", told, type=_formats, action="extend")
    told = (
        "how masks are written; default: rle in --coco (needs litepred[coco]), polygon in --save-json; none: boxes "
        "alone, in --format, too"
    )
    add_old_name(files, "--masks", add(files, "--mask-format rle|polygon|none", told))
    add(files, "--skip-existing", "leave out images whose files in --output are there already")


def _formats(text: str) -> list[str]:
    """Read names of formats with commas between them."""
    names = [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in names if name not in _FORMATS]:
        options = "; options of their own: --coco, --csv, --save-json" if unknown[0] in ("coco", "csv", "json") else ""
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no format: expected {', '.join(_FORMATS)}{options}")
    return names


def _part(text: str) -> slice:
    """Read which of how many equal parts is meant."""
    first, _, step = text.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise argparse.ArgumentTypeError(f"{text!r} came: expected which part of how many, as in 1/4")
    return slice(int(first) - 1, None, int(step))


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our own errors say what OpenCV cannot open
    _check(arguments)
    check_model_arguments(arguments)
    left_out: list[str] = []
    found = list(expand(images_or_page(arguments.images), left_out))
    unreadable = [one for one in found if isinstance(one, ImageError)]
    for error in unreadable:
        say(f"error: {error}")
    lists = [one for one in LISTS if vars(arguments).get(one[2:].replace("-", "_"))]
    if lists and any(re.match("there is no file '[^./]+'", str(error)) for error in unreadable):
        say(f"values of {' and '.join(lists)} have commas between, as in a,b")
    if len(unreadable) == len(found):
        say_left_out(left_out)
        return 1
    items = name_items([name for name in found if isinstance(name, str)], in_parts=arguments.part is not None)
    if arguments.track and not any(item.is_video for item in items):
        say("warning: --track numbers what is found in videos, and there is none among these images: leave it out")
    items = items[arguments.part or slice(None)]  # named before, so that no two parts give two images one name
    check_targets([item.source for item in items], all_files(arguments, items))
    todo = items
    if arguments.skip_existing:
        own = [  # files of frames do not tell whether a video was finished
            [*item_files(arguments, item), *([] if item.is_video else format_files(arguments, item))] for item in items
        ]
        todo = [item for item, files in zip(items, own) if not files or not all(path.is_file() for path in files)]
    skipped = len(items) - len(todo)
    videos = [item.name for item in todo if item.is_video]
    if arguments.workers > 1 and videos:
        raise LitepredError(f"--workers shares images among processes, but {videos[0]} is a video: run it without")
    way, count = _way(arguments), min(arguments.workers, len(todo))
    with ExitStack() as stack, progress_bar(len(todo), "image") as bar:
        model = stack.enter_context(Workers(arguments, way, count)) if count > 1 else make_predictor(arguments)
        metadata = model.metadata if isinstance(model, Workers) else fitting_metadata(model)
        work = _Run(metadata, arguments, RunFiles(arguments, metadata, stack), bar, len(unreadable))
        start = time.perf_counter()
        for is_video, group in itertools.groupby(todo, lambda item: item.is_video):
            if isinstance(model, Workers):
                work.images(model.answers(group), is_timed=True)
            elif is_video:
                work.videos(model, group, way)
            else:
                size = arguments.batch_size or model.usual_batch_size
                work.images(answers(model, work.files.own, group, size, way), is_timed=size == 1)
    if work.unnamed:
        say(
            f"{', '.join(sorted(work.unnamed))}: this model's classes have no names; give them with "
            "--class-names a,b,c or --class-names FILE"
        )
    if len(todo) > 1 or skipped:
        elapsed_s = time.perf_counter() - start
        told = [f"{work.done} of {work.done + work.failed} images and frames in {elapsed_s:.1f} s"]
        if work.failed:
            told.append(f"{work.failed} could not be read")
        if skipped:
            told.append(f"{skipped} skipped")
        say(", ".join(told))
    say_left_out(left_out)
    return 1 if work.failed else 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that contradict one another, or whose values belong elsewhere."""
    for option, ending in _ENDINGS.items():
        path = getattr(arguments, option)
        if path is not None and path.suffix.lower() in {*_FILES} - {ending} and not path.is_dir():
            wanted = f"a name that ends in {ending}" if ending else "a folder, in which each picture is named"
            raise LitepredError(f"--{option} is {str(path)!r}: expected {wanted}")
    if arguments.classes is not None and os.path.isfile(file := ",".join(arguments.classes)):
        raise LitepredError(f"--classes is {file!r}, a file: expected names, as in --classes a,b photo.jpg")
    if arguments.workers > 1 and arguments.batch_size is not None and arguments.tile is None:
        raise LitepredError(
            "with --workers images run one by one, so that --batch-size has no effect: drop one or the other"
        )
    if not arguments.skip_existing:
        return
    whole = [f"--{name}" for name in ("coco", "csv", "panoptic", "labels") if getattr(arguments, name) is not None]
    whole += [f"--format {name}" for name in arguments.format or () if name not in _FOR_EACH]
    if whole:
        raise LitepredError(f"--skip-existing would leave images out of {', '.join(whole)}: drop one or the other")
    if not (arguments.save_images or arguments.save_json or arguments.format):
        raise LitepredError("--skip-existing looks for pictures or JSON files, and none are written: add --save-json")


def _way(arguments: argparse.Namespace) -> Way:
    """Return how the predictor is called."""
    given = {
        "threshold": arguments.threshold or None,
        "classes": arguments.classes,
        "agnostic_nms": arguments.agnostic_nms or None,
        "max_detections": arguments.max_detections,
        "tile": arguments.tile,
        "overlap": arguments.overlap,
    }
    return cast("Way", {name: value for name, value in given.items() if value is not None})


class _Run:
    """A run over images and videos, one after another; ``done`` and ``failed`` count images and frames."""

    def __init__(
        self, metadata: Metadata, arguments: argparse.Namespace, files: RunFiles, bar: tqdm, failed: int
    ) -> None:
        self.metadata, self.arguments, self.files, self.bar = metadata, arguments, files, bar
        self.done, self.failed, self.items = 0, failed, 0
        self.total = bar.total or 0  # of images and videos
        self.unnamed: set[str] = set()  # classes that were found and have no names

    def report(self, error: ImageError) -> None:
        """Count a file that cannot be read or is not taken by the model, and say why."""
        self.failed += 1
        self.bar.write(f"litepred: error: {error}", file=sys.stderr)

    def tell(self, text: str, written: list[Path]) -> None:
        """Print a line about an image or video, and the files that it got."""
        if self.bar.disable and self.total > 1:
            text = f"[{self.items}/{self.total}] {text}"
        self.bar.write(f"{text} -> {', '.join(map(str, written))}" if written else text, file=sys.stdout)
        sys.stdout.flush()

    def images(self, answers: Iterable[tuple[Item, Answer | ImageError]], is_timed: bool) -> None:
        """Take in what became of images; ``is_timed``: whether they ran one by one."""
        for item, answer in answers:
            self.items += 1
            try:
                if isinstance(answer, ImageError):
                    raise answer
                self.files.add(item, answer.outputs)
            except ImageError as error:  # of the image, or of what lies beside it, such as a world file
                self.report(error)
            else:
                self.done += 1
                self.unnamed |= answer.unnamed
                text = f"{item.name}: {answer.told}"
                self.tell(f"{text} in {answer.elapsed_s:.2f} s" if is_timed else text, answer.written)
            self.bar.update()

    def videos(self, predictor: Predictor, items: Iterable[Item], way: Way) -> None:
        """Predict on the frames of videos and cameras; a camera goes on until Ctrl-C."""
        for item in items:
            self.items += 1
            start, before = time.perf_counter(), self.done
            try:
                self._frames(predictor, item, way)
            except ImageError as error:
                self.report(error)
                continue
            text = f"{item.name}: {self.done - before} frames in {time.perf_counter() - start:.2f} s"
            self.tell(text, [*item_files(self.arguments, item), *format_files(self.arguments, item)])

    def _frames(self, predictor: Predictor, item: Item, way: Way) -> None:
        from ..data import VideoReader

        with VideoReader(item.source) as reader:
            if self.bar.total is not None:
                self.bar.total = None if reader.frame_count is None else self.bar.total + reader.frame_count - 1
            with self.files.video(item, reader) as add_frame:
                try:
                    for one in predictor.stream(reader, self.arguments.batch_size, track=self.arguments.track, **way):
                        check_needs(self.arguments, one.outputs)
                        add_frame(one, one.outputs)
                        self.unnamed |= unnamed_classes(one.outputs, self.metadata)
                        self.done += 1
                        self.bar.update()
                except KeyboardInterrupt as stop:
                    if not reader.is_camera or type(stop) is not KeyboardInterrupt:  # SIGTERM ends the whole run
                        raise
