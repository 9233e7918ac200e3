"""The files that ``litepred predict`` writes: some per image, some per run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LitepredError

if TYPE_CHECKING:
    import argparse

    from ..data import Metadata
    from ..structures import Instances, Outputs

__all__ = ["Item", "RunFiles", "Wanted", "describe"]


@dataclass(frozen=True)
class Item:
    """An image, video or camera of a run.

    Attributes:
        source: path, or the camera.
        name: what results call it: the file's name; the path as given in a run that has two files of one name.
        stem: what the names of its files begin with, unlike any other's in the run.
        image_id: its number in COCO's files; ``None`` to be counted.
    """

    source: str
    name: str
    stem: str
    image_id: int | None


@dataclass
class Wanted:
    """Which files a run writes.

    Attributes:
        folder: for pictures and JSON.
        pictures: whether to draw.
        json: whether to write a JSON file per image.
        coco: COCO's results file, of all images.
        csv: table of all images.
        panoptic: folder for COCO's panoptic PNGs and JSON.
        labels: folder for PNGs of the classes of pixels.
        masks: "rle", "polygon", "none"; or ``None`` for what is usual in each format.
    """

    folder: Path
    pictures: bool
    json: bool
    coco: Path | None
    csv: Path | None
    panoptic: Path | None
    labels: Path | None
    masks: str | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Wanted:
        """Take them from the command line."""

        def path(name: str | None) -> Path | None:
            return None if name is None else Path(name)

        return cls(
            *(Path(arguments.output), arguments.save_images, arguments.json, path(arguments.coco), path(arguments.csv)),
            *(path(arguments.panoptic), path(arguments.labels), arguments.masks),
        )

    def files(self, item: Item, video: bool) -> list[Path]:
        """Return the files that an image or video gets in ``folder``."""
        picture = [self.folder / f"{item.stem}.{'mp4' if video else 'png'}"] * self.pictures
        return picture + [self.folder / f"{item.stem}.json"] * self.json

    def all_files(self, item: Item, video: bool) -> list[Path]:
        """Return the files that an image gets in any folder; of a video's frames, only those of the first."""
        name = f"{item.stem}-000000.png" if video else f"{item.stem}.png"
        folders = [folder for folder in (self.panoptic, self.labels) if folder is not None]
        return self.files(item, video) + [folder / name for folder in folders]

    def run_files(self) -> list[Path]:
        """Return the files that hold all images."""
        segments = None if self.panoptic is None else self.panoptic / "panoptic.json"
        return [path for path in (self.coco, self.csv, segments) if path is not None]

    def needs(self) -> list[tuple[str, str]]:
        """Return the pairs of option and key of a model's outputs that it needs."""
        options = [("--coco", self.coco, "instances"), ("--panoptic", self.panoptic, "panoptic_seg")]
        options.append(("--labels", self.labels, "sem_seg"))
        return [(option, key) for option, path, key in options if path is not None]


class RunFiles:
    """The files of a run that hold all images, filled image by image; used in a ``with`` block.

    They appear at its end, whole; when it is left by an error or Ctrl-C, not at all.
    """

    def __init__(self, wanted: Wanted, metadata: Metadata) -> None:
        self.wanted, self.metadata = wanted, metadata
        self._count = 0
        self._panoptic_images: list[dict[str, Any]] = []

    def __enter__(self) -> RunFiles:
        from ..results import csv_table, json_list, panoptic_categories

        wanted = self.wanted
        if wanted.pictures or wanted.json:
            make_folder(wanted.folder, "--output")
        with ExitStack() as stack:
            if wanted.coco is not None:
                self._coco = stack.enter_context(json_list(wanted.coco))
            if wanted.csv is not None:
                self._csv = stack.enter_context(csv_table(wanted.csv))
            if wanted.panoptic is not None:
                make_folder(wanted.panoptic, "--panoptic")
                rest = {"images": self._panoptic_images, "categories": panoptic_categories(self.metadata)}
                target = wanted.panoptic / "panoptic.json"
                self._panoptic = stack.enter_context(json_list(target, "annotations", rest))
            if wanted.labels is not None:
                make_folder(wanted.labels, "--labels")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(self, item: Item, outputs: Outputs, frame: int | None = None) -> None:
        """Write what was found in an image, or in a frame of a video.

        Raises:
            LitepredError: the model's outputs lack what a file holds, or a file cannot be written.
        """
        from ..results import csv_rows, instances_to_coco_json, panoptic_annotation, write_labels, write_panoptic

        wanted, metadata = self.wanted, self.metadata
        for option, key in wanted.needs():
            if key not in outputs:
                raise LitepredError(f"{option} needs {key!r}, but this model finds {', '.join(outputs)}: leave it out")
        self._count += 1
        image_id = self._count if item.image_id is None else item.image_id
        stem = item.stem if frame is None else f"{item.stem}-{frame:06d}"
        where: dict[str, Any] = {"file_name": item.name} | ({} if frame is None else {"frame": frame})
        if wanted.coco is not None:
            masks = wanted.masks or "rle"
            rows = instances_to_coco_json(outputs["instances"], image_id, masks=masks, metadata=metadata)
            self._coco(row | where for row in rows)
        if wanted.csv is not None:
            self._csv(csv_rows(found_instances(outputs), item.name, metadata, frame))
        if wanted.panoptic is not None:
            ids = outputs["panoptic_seg"][0]
            height, width = ids.shape
            write_panoptic(wanted.panoptic / f"{stem}.png", ids)
            self._panoptic([panoptic_annotation(outputs["panoptic_seg"], image_id, f"{stem}.png", metadata)])
            self._panoptic_images.append({"id": image_id, **where, "width": width, "height": height})
        if wanted.labels is not None:
            write_labels(wanted.labels / f"{stem}.png", outputs["sem_seg"])


def found_instances(outputs: Outputs) -> Instances:
    """Return the instances or proposals among a model's outputs.

    Raises:
        LitepredError: there are neither.
    """
    found = outputs.get("instances", outputs.get("proposals"))
    if found is None:
        raise LitepredError(f"--csv needs instances, but this model finds {', '.join(outputs)}: leave it out")
    return found


def describe(
    outputs: Outputs, size_hw: tuple[int, int], name: str, metadata: Metadata, masks: str | None
) -> dict[str, Any]:
    """Return what the JSON file of an image, or the entry of a frame, says."""
    from ..data import class_name
    from ..results import to_dicts

    facts: dict[str, Any] = {"file": name, "height": size_hw[0], "width": size_hw[1]}
    for key in ("instances", "proposals"):
        if key in outputs:
            facts[key] = to_dicts(outputs[key], metadata, masks or "polygon")
    if "panoptic_seg" in outputs:
        facts["segments"] = [
            {**segment, "category": class_name(metadata, segment["category_id"], kind)}
            for segment in outputs["panoptic_seg"][1]
            for kind in ("thing" if segment["isthing"] else "stuff",)
        ]
    elif "sem_seg" in outputs and "instances" not in outputs:
        labels, areas = outputs["sem_seg"].max(dim=0).indices.unique(return_counts=True)
        facts["stuff"] = [
            {"category_id": label, "category": class_name(metadata, label, "stuff"), "area": area}
            for label, area in zip(labels.tolist(), areas.tolist())
        ]
    return facts


def make_folder(folder: Path, option: str) -> None:
    """Make a folder that an option names.

    Raises:
        LitepredError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LitepredError(f"cannot make the folder {option} {str(folder)!r}: {error.strerror}") from error
