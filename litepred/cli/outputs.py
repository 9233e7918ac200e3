"""The files that ``litepred predict`` writes: some for each image, some for the whole run."""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import LitepredError
from ..files import make_folder, own_name, without_password
from .inputs import is_video

if TYPE_CHECKING:
    import numpy as np

    from ..data import Metadata, VideoReader
    from ..predictor import StreamedFrame
    from ..results import Format
    from ..structures import Outputs

__all__ = ["Item", "ItemFiles", "RunFiles", "all_files", "check_needs", "format_files", "item_files", "name_items"]

_NEEDS = {
    "classes": ("instances",),
    "format": ("instances",),
    "coco": ("instances",),
    "csv": ("instances", "proposals"),
    "panoptic": ("panoptic_seg",),
    "labels": ("sem_seg",),
}
_LONGEST_S = 10  # that a picture of a video stays


@dataclass(frozen=True)
class Item:
    """An image, video or camera of a run.

    Attributes:
        source: path, or the camera.
        is_video: whether it is a video or a camera.
        name: what results call it: the file's name; the path as given in a run that has two files of one name.
        stem: what the names of its files begin with, unlike any other's in the run.
        image_id: its number in COCO's files; ``None`` to be counted.
    """

    source: str
    name: str
    stem: str
    image_id: int | None
    is_video: bool


def name_items(sources: Sequence[str], in_parts: bool = False) -> list[Item]:
    """Give each source a stem that no other has, so that images of one name from different folders keep apart.

    Args:
        sources: all those of a run.
        in_parts: whether the run takes a part of them alone, so that images need numbers that no other part gives.
    """
    last = [_last_part(source) for source in sources]
    stems = [Path(name).stem.replace("camera:", "camera-") for name in last]
    names = [os.path.basename(name) for name in last]
    if len(set(names)) < len(set(sources)):
        names = [without_password(source) for source in sources]  # which stay out of results
    videos = [is_video(source) for source in sources]
    numbers: Sequence[int | None] = [None] * len(sources)
    if not any(videos):  # whose frames are counted, and images with them
        if all(stem.isdecimal() and stem.isascii() for stem in stems) and len({*map(int, stems)}) == len(stems):
            numbers = [int(stem) for stem in stems]
        elif in_parts:
            numbers = range(1, len(sources) + 1)
    uses: Counter[str] = Counter()
    for video in {stem for stem, one in zip(stems, videos) if one}:  # files of its frames have these names
        taken = re.compile(rf"{re.escape(video)}-\d{{6,}}")
        for stem in stems:
            if taken.fullmatch(stem):
                own_name(stem, uses)
    rows = zip(sources, names, stems, numbers, videos)
    return [Item(source, name, own_name(stem, uses), number, one) for source, name, stem, number, one in rows]


def _last_part(source: str) -> str:
    """Return a path as it is, and of an address the end of its path, else its host."""
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
    except ValueError:  # such as brackets that do not close: whoever opens it will say so
        return "stream"
    return parts.path.rstrip("/").rpartition("/")[2] or parts.hostname or "stream"


def item_files(options: argparse.Namespace, item: Item) -> list[Path]:
    """Return the picture and the JSON file that an image or video gets in the folder ``--output``."""
    endings = []
    if options.save_images:
        endings.append("mp4" if item.is_video else "png")
    if options.save_json:
        endings.append("json")
    return [options.output / f"{item.stem}.{ending}" for ending in endings]


def format_files(options: argparse.Namespace, item: Item) -> list[Path]:
    """Return the files that an image gets in the folders of ``--format``; of a video's frames, those of the first."""
    stem = _frame_stem(item, 0 if item.is_video else None)
    return [folder / one.each.format(stem) for folder, one in _formats(options) if one.each]


def _formats(options: argparse.Namespace) -> Iterator[tuple[Path, Format]]:
    """Yield the folders and formats of ``--format``."""
    if options.format:
        from ..results import FORMATS

        yield from ((options.output / name, FORMATS[name]) for name in dict.fromkeys(options.format))


def _frame_stem(item: Item, frame: int | None) -> str:
    return item.stem if frame is None else f"{item.stem}-{frame:06d}"


def all_files(options: argparse.Namespace, items: Iterable[Item]) -> Iterator[Path]:
    """Yield every file of a run; of a video's frames, only those of the first."""
    yield from (path for path in (options.coco, options.csv) if path is not None)
    if options.panoptic is not None:
        yield options.panoptic / "panoptic.json"
    yield from (folder / name for folder, one in _formats(options) for name in one.whole)
    for item in items:
        yield from (*item_files(options, item), *format_files(options, item))
        for folder in (options.panoptic, options.labels):
            if folder is not None:
                yield folder / f"{_frame_stem(item, 0 if item.is_video else None)}.png"


def check_needs(options: argparse.Namespace, outputs: Outputs) -> None:
    """Check that a model finds what the options need.

    Raises:
        LitepredError: it does not.
    """
    for option, keys in _NEEDS.items():
        if getattr(options, option) is not None and not outputs.keys() & set(keys):
            raise LitepredError(
                f"--{option} needs {keys[0]!r}, but this model finds {', '.join(outputs)}: leave it out"
            )


class ItemFiles:
    """The files that an image, or a frame of a video, shares with no other.

    Args:
        options: those of ``litepred predict``.
        metadata: gives the classes their names and colours.
    """

    def __init__(self, options: argparse.Namespace, metadata: Metadata) -> None:
        self.options, self.metadata = options, metadata

    def write(self, item: Item, image: np.ndarray, input_format: str, outputs: Outputs) -> list[Path]:
        """Write what was found in an image of `Predictor.read`; return the files of its own below ``--output``."""
        from ..results import write_json
        from ..visualizer import VisImage, scale_to_look_at
        from ..visualizer.image import bands_to_look_at

        paths = item_files(self.options, item)
        for path in paths:
            if path.suffix == ".json":
                write_json(path, self.describe(item, outputs, image.shape[:2]))
            else:
                seen = bands_to_look_at(image, input_format)
                VisImage(self.draw(seen, outputs, scale_to_look_at(image.shape[:2]))[:, :, ::-1]).save(path)
        self.write_maps(item, outputs)
        return paths + format_files(self.options, item)

    def write_maps(self, item: Item, outputs: Outputs, frame: int | None = None) -> None:
        """Write the PNG files of ``--panoptic`` and ``--labels``."""
        from ..results import write_labels, write_panoptic

        file_name = f"{_frame_stem(item, frame)}.png"
        if self.options.panoptic is not None:
            write_panoptic(self.options.panoptic / file_name, outputs["panoptic_seg"])
        if self.options.labels is not None:
            write_labels(self.options.labels / file_name, outputs["sem_seg"])

    def draw(self, image: np.ndarray, outputs: Outputs, scale: int) -> np.ndarray:
        """Return the picture of what was found, (scale·H, scale·W, 3) uint8 BGR."""
        from ..visualizer import draw

        return draw(image, outputs, self.metadata, threshold=0.0, scale=scale)  # what scores too little is gone by now

    def describe(self, item: Item, outputs: Outputs, size_hw: tuple[int, ...]) -> dict[str, Any]:
        """Return what the JSON file of an image, or the entry of a frame, says."""
        from ..results import describe

        facts = {"file": item.name, "height": size_hw[0], "width": size_hw[1]}
        return facts | describe(outputs, self.metadata, self.options.mask_format or "polygon")


class RunFiles:
    """The files of a run that have all images; they appear when ``stack`` closes.

    They do not appear at all when an error or Ctrl-C closes it.

    Args:
        options: those of ``litepred predict``.
        metadata: gives the classes their names, colours and ids.
        stack: holds the files of all images open.

    Attributes:
        own: writes the files of one image.
    """

    def __init__(self, options: argparse.Namespace, metadata: Metadata, stack: ExitStack) -> None:
        from ..results import CSV_COLUMNS, TRACKED_COLUMNS, csv_table, json_list, panoptic_categories

        self.own = ItemFiles(options, metadata)
        self._options, self._metadata = options, metadata
        self._count = 0  # of images and frames
        self._panoptic_images: list[dict[str, Any]] = []
        folders = ["output"] if options.save_images or options.save_json else []
        for option in (*folders, "labels", "panoptic"):
            folder = getattr(options, option)
            try:
                if folder is not None:
                    folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LitepredError(f"cannot make the folder --{option} {str(folder)!r}: {error.strerror}") from error
        if options.coco is not None:
            self._add_coco = stack.enter_context(json_list(options.coco))
        self._add_to_formats = []
        for folder, one in _formats(options):
            path = make_folder(folder) / (one.whole[0] if one.is_file else "")
            self._add_to_formats.append(stack.enter_context(one.open(path, metadata, options.mask_format != "none")))
        if options.csv is not None:
            columns = TRACKED_COLUMNS if options.track else CSV_COLUMNS
            self._add_csv = stack.enter_context(csv_table(options.csv, columns))
        if options.panoptic is not None:
            rest = {"images": self._panoptic_images, "categories": panoptic_categories(metadata)}
            file = json_list(options.panoptic / "panoptic.json", "annotations", rest)
            self._add_panoptic = stack.enter_context(file)

    @contextmanager
    def video(self, item: Item, reader: VideoReader) -> Iterator[Callable[[StreamedFrame, Outputs], None]]:
        """Open the files of a video, and give the function that adds a frame and what was found in it.

        In the pictures an instance keeps its colour from frame to frame.
        """
        from ..data import video_file
        from ..results import json_list
        from ..visualizer import VideoVisualizer

        paths = {path.suffix: path for path in item_files(self._options, item)}
        visualizer = VideoVisualizer(self._metadata)
        with ExitStack() as stack:
            add_entries = stack.enter_context(json_list(paths[".json"])) if ".json" in paths else None
            add_picture: Callable[[np.ndarray], object] | None = None
            shown, is_cut = 0, False
            most = max(1, round(_LONGEST_S * reader.fps))

            def add(one: StreamedFrame, outputs: Outputs) -> None:
                nonlocal add_picture, shown, is_cut
                if ".mp4" in paths:
                    if add_picture is None:
                        add_picture = stack.enter_context(video_file(paths[".mp4"], reader.fps, one.frame.shape[:2]))
                    if "instances" in outputs:
                        found = outputs["instances"].to("cpu")
                        frame = one.frame
                        if "panoptic_seg" in outputs:  # whose stuff is behind the instances
                            frame = self.own.draw(frame, {**outputs, "instances": found[:0]}, 1)
                        drawn = visualizer.draw_instance_predictions(frame[:, :, ::-1], found)
                        picture = drawn.get_image()[:, :, ::-1]
                    else:
                        picture = self.own.draw(one.frame, outputs, 1)
                    # the rate of the file that is written is one: pictures stay until the next one, or are left out
                    times = max(int(reader.is_camera), round(one.time_s * reader.fps) + 1 - shown)
                    for _ in range(min(times, most)):
                        add_picture(picture)
                    shown += times
                    if times > most and not is_cut:
                        is_cut = True
                        warnings.warn(
                            f"{item.name} has more than {_LONGEST_S} s between two frames, before {one.time_s:.1f} s: "
                            f"there, and wherever else that is so, the drawn video shows {_LONGEST_S} s",
                            stacklevel=2,
                        )
                if add_entries is not None:
                    facts = self.own.describe(item, outputs, one.frame.shape[:2])
                    add_entries([{"frame": one.index, "time_s": one.time_s, **facts}])
                self.own.write_maps(item, outputs, one.index)
                self.add(item, outputs, one.index)

            yield add

    def add(self, item: Item, outputs: Outputs, frame: int | None = None) -> None:
        """Write what was found in an image, or in a frame of a video, into the files of the run."""
        from ..results import Picture, csv_rows, instances_to_coco_json, panoptic_annotation

        options, metadata = self._options, self._metadata
        self._count += 1
        image_id = self._count if item.image_id is None else item.image_id
        stem = _frame_stem(item, frame)
        file_name = f"{stem}.png"
        where: dict[str, Any] = {"file_name": item.name} | ({} if frame is None else {"frame": frame})
        picture = Picture(item.source, item.name, stem)
        if frame is not None:  # beside the video; of an address, which may hold a password, a name alone
            folder = os.path.dirname(item.source) if os.path.isfile(item.source) else ""
            picture = Picture(os.path.join(folder, file_name), file_name, stem)
        for add in self._add_to_formats:
            add(picture, outputs)
        if options.coco is not None:
            mask_format = options.mask_format or "rle"
            rows = instances_to_coco_json(outputs, image_id, mask_format=mask_format, metadata=metadata)
            self._add_coco(row | where for row in rows)
        if options.csv is not None:
            found = outputs["instances" if "instances" in outputs else "proposals"]
            self._add_csv(csv_rows(found, item.name, metadata, frame))
        if options.panoptic is not None:
            height, width = outputs["panoptic_seg"][0].shape
            self._add_panoptic([panoptic_annotation(outputs["panoptic_seg"], image_id, file_name, metadata)])
            self._panoptic_images.append({"id": image_id, **where, "width": width, "height": height})
