"""The files of YOLO, LabelMe, CVAT and Label Studio, each as a context that gives the function which adds an image.

`formats.py` says what is in them. An image is H × W pixels.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import yaml
from PIL import Image

from ..data import Metadata
from ..files import make_folder, naming, whole_file
from ..structures import Instances, Outputs
from .files import json_list, write_json
from .instances import found_in, metadata_of
from .things import Add, Classes, Picture, Thing, one_ring, outlines, things

__all__ = ["LOCAL_FILES", "cvat", "label_studio", "labelme", "yolo"]

LOCAL_FILES = "/data/local-files/?d="  # where Label Studio shows files of its machine
_TOOLS = {"box": "RectangleLabels", "polygon": "PolygonLabels", "brush": "BrushLabels", "keypoint": "KeyPointLabels"}
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@contextmanager
def yolo(folder: str | os.PathLike[str], metadata: Metadata | None, masks: bool) -> Iterator[Add]:
    """Write a file of labels for each image, and at the end ``data.yaml``."""
    labels, classes = make_folder(Path(folder) / "labels"), Classes(metadata)
    facts: dict[str, Any] = {}

    def add(picture: Picture, instances: Instances | Outputs) -> None:
        found = found_in(instances, "instances")
        height, width = found.image_size
        has_points, has_outlines = found.has("pred_keypoints"), masks and found.has("pred_masks")
        if has_points:
            facts["kpt_shape"] = [found.pred_keypoints.shape[1], 3]
        lines = []
        for thing in classes.things(found, masks and not has_points):
            if has_points or not (has_outlines or thing.turned):
                x1, y1, x2, y2 = thing.box
                numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
            else:
                numbers = (one_ring(thing) / (width, height)).clip(0, 1).ravel().tolist()
            for _, x, y, _ in thing.points:  # 2: it is seen
                numbers += [min(max(x / width, 0), 1), min(max(y / height, 0), 1), 2]
            lines.append(" ".join([f"{thing.label}", *(f"{number:.6g}" for number in numbers)]) + "\n")
        with whole_file(labels / f"{picture.stem}.txt") as file:
            file.write("".join(lines).encode())

    yield add
    with whole_file(Path(folder) / "data.yaml") as file:
        content = {"train": "images", "val": "images", **facts, "names": dict(enumerate(classes.all()))}
        file.write(yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


@contextmanager
def labelme(folder: str | os.PathLike[str], metadata: Metadata | None, masks: bool) -> Iterator[Add]:
    """Write a JSON file for each image."""
    folder, metadata = make_folder(folder), metadata_of(metadata)

    def add(picture: Picture, instances: Instances | Outputs) -> None:
        height, width = found_in(instances, "instances").image_size
        shapes: list[dict[str, Any]] = []
        for thing in things(instances, metadata, masks):
            rings = outlines(thing)
            shape: dict[str, Any] = {"label": thing.name, "shape_type": "polygon", "mask": None}
            if thing.mask is not None and len(rings) != 1:
                window, (left, top, right, bottom) = _window(thing.mask)
                png = io.BytesIO()
                Image.fromarray(window).save(png, "PNG")
                shape |= {"shape_type": "mask", "mask": base64.b64encode(png.getvalue()).decode()}
                points: list[Any] = [[left, top], [right - 1, bottom - 1]]
            elif rings or thing.turned:
                points = (rings[0] if rings else thing.corners).tolist()
            else:
                shape["shape_type"], points = "rectangle", [[*thing.box[:2]], [*thing.box[2:]]]
            rest: dict[str, Any] = {"flags": {}, "group_id": thing.number if thing.points else None, "description": ""}
            shapes.append({**shape, "points": points, **rest, **thing.facts})
            for name, x, y, score in thing.points:
                point = {"label": name, "shape_type": "point", "mask": None, "points": [[x, y]]}
                shapes.append({**point, **rest, "score": score})
        try:
            path = os.path.relpath(picture.source, folder)
        except ValueError:  # on Windows, it is on another drive
            path = os.path.abspath(picture.source)
        size = {"imagePath": Path(path).as_posix(), "imageData": None, "imageHeight": height, "imageWidth": width}
        write_json(folder / f"{picture.stem}.json", {"version": "6.0.0", "flags": {}, "shapes": shapes, **size})

    yield add


def _window(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Return the smallest window of a mask with all its pixels, and left, top, right and bottom, one past the last."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return mask[top:bottom, left:right], (left, top, right, bottom)


@contextmanager
def cvat(path: str | os.PathLike[str], metadata: Metadata | None, masks: bool) -> Iterator[Add]:
    """Write an XML file of all images."""
    make_folder(Path(path).parent)
    classes, count = Classes(metadata), 0
    attributes: dict[str, None] = {"score": None}

    # The labels stand first in the file, and all of them are known last where the classes have no names.
    with whole_file(path) as file, _without_a_name(Path(path).parent) as body:

        def add(picture: Picture, instances: Instances | Outputs) -> None:
            nonlocal count
            height, width = found_in(instances, "instances").image_size
            image = _element("image", id=count, name=picture.name, width=width, height=height)
            count += 1
            for thing in classes.things(instances, masks):
                attributes.update(dict.fromkeys(thing.facts))
                common: dict[str, Any] = {"label": thing.name, "source": "auto", "occluded": 0, "z_order": 0}
                common |= {"group_id": thing.number + 1} if thing.points else {}
                shape = _element("mask" if thing.mask is not None else "box", **common, **_cvat_place(thing))
                for name, value in thing.facts.items():
                    ElementTree.SubElement(shape, "attribute", name=name).text = f"{value:.6g}"
                image.append(shape)
                if thing.points:
                    points = ";".join(f"{x:.2f},{y:.2f}" for _, x, y, _ in thing.points)
                    image.append(_element("points", **common, points=points))
            ElementTree.indent(image)
            with naming(Path(path)):
                body.write(ElementTree.tostring(image) + b"\n")

        yield add
        labels = ElementTree.Element("labels")
        for name in dict.fromkeys(classes.all()):
            label = ElementTree.SubElement(labels, "label")
            label.append(_element("name", name))
            label.append(_element("attributes"))
            for attribute in attributes:
                one = ElementTree.SubElement(label[1], "attribute")
                facts = {"name": attribute, "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
                one.extend([_element(key, text) for key, text in facts.items()])
        ElementTree.indent(labels)
        head = b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>\n'
        file.write(head + ElementTree.tostring(labels) + b"\n</task></meta>\n")
        with naming(Path(path)):
            body.seek(0)
            shutil.copyfileobj(body, file)
        file.write(b"</annotations>\n")


@contextmanager
def _without_a_name(folder: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file; on closing it says nothing of a full disk, which has been told when it was written."""
    file = TemporaryFile(dir=folder)  # noqa: SIM115
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()


def _cvat_place(thing: Thing) -> dict[str, Any]:
    """Return the attributes by which CVAT places a mask, by the lengths of its runs within a window, or a box."""
    if thing.mask is not None:
        window, (left, top, right, bottom) = _window(thing.mask)
        starts, first = _runs(window)
        lengths = ([0] if first else []) + starts  # the first of them is of background
        return {
            "rle": ", ".join(map(str, lengths)),
            "left": left,
            "top": top,
            "width": right - left,
            "height": bottom - top,
        }
    if thing.turned:
        x, y, width, height, angle = thing.turned
        x1, y1, x2, y2 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        x1, y1, x2, y2 = thing.box
    place = {key: f"{value:.2f}" for key, value in zip(("xtl", "ytl", "xbr", "ybr"), (x1, y1, x2, y2))}
    return place | ({"rotation": f"{-angle % 360:.2f}"} if thing.turned else {})


def _runs(mask: np.ndarray) -> tuple[list[int], bool]:
    """Return the lengths of the runs of a mask, row by row, and the value of the first."""
    flat = mask.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.diff(ends, prepend=0, append=flat.size).tolist(), bool(flat[0])


def _element(tag: str, text: str = "", **attributes: Any) -> ElementTree.Element:
    """Return an element of XML; characters that no XML may hold are replaced."""
    made = ElementTree.Element(tag, {key: _NO_XML.sub("�", f"{value}") for key, value in attributes.items()})
    made.text = _NO_XML.sub("�", text) or None
    return made


@contextmanager
def label_studio(
    folder: str | os.PathLike[str], metadata: Metadata | None, masks: bool, image_root: str = LOCAL_FILES
) -> Iterator[Add]:
    """Write the tasks of all images, and at the end the labelling interface."""
    folder, classes = make_folder(folder), Classes(metadata)
    used: dict[str, dict[str, None]] = {"box": {}}  # the labels that a tool needs besides those of the classes
    with json_list(folder / "tasks.json") as extend:

        def add(picture: Picture, instances: Instances | Outputs) -> None:
            height, width = found_in(instances, "instances").image_size
            regions: list[dict[str, Any]] = []

            def region(tool: str, id: str, value: dict[str, Any], label: str, **rest: Any) -> None:
                kind = _TOOLS[tool].lower()
                used.setdefault(tool, {})
                size = {"original_width": width, "original_height": height, "image_rotation": 0}
                place = {"id": id, "from_name": tool, "to_name": "image", "type": kind, **size}
                regions.append({**place, "value": {**value, kind: [_NO_XML.sub("�", label)]}, **rest})

            def share(points: np.ndarray) -> list[Any]:
                return (points * 100 / (width, height)).tolist()

            scores = []
            for thing in classes.things(instances, masks):
                scores += [thing.facts["score"]] if "score" in thing.facts else []
                rings, id = outlines(thing), f"{thing.number}"
                if thing.mask is not None and len(rings) != 1:
                    region("brush", id, {"format": "rle", "rle": _brush(thing.mask)}, thing.name, **thing.facts)
                elif rings:
                    region("polygon", id, {"points": share(rings[0]), "closed": True}, thing.name, **thing.facts)
                else:
                    sides = thing.turned[2:4] or (thing.box[2] - thing.box[0], thing.box[3] - thing.box[1])
                    corner = thing.corners[0] if thing.turned else np.array(thing.box[:2])
                    place = dict(zip(("x", "y", "width", "height"), [*share(corner), *share(np.array(sides))]))
                    place["rotation"] = -thing.turned[4] % 360 if thing.turned else 0
                    region("box", id, place, thing.name, **thing.facts)
                for k, (name, x, y, score) in enumerate(thing.points):
                    place = dict(zip("xy", share(np.array([x, y]))), width=0.5)
                    region("keypoint", f"{id}-{k}", place, name, score=score, parentID=id)
                    used["keypoint"][name] = None
            prediction: dict[str, Any] = {"model_version": "litepred", "result": regions}
            prediction |= {"score": sum(scores) / len(scores)} if scores else {}
            extend([{"data": {"image": image_root + _path_in_address(picture.source)}, "predictions": [prediction]}])

        yield add
    view = ElementTree.Element("View")
    view.append(_element("Image", name="image", value="$image"))
    for tool, own in used.items():
        tag = ElementTree.SubElement(view, _TOOLS[tool], name=tool, toName="image")
        tag.extend([_element("Label", value=name) for name in own or dict.fromkeys(classes.all())])
    ElementTree.indent(view)
    with whole_file(folder / "config.xml") as file:
        file.write(ElementTree.tostring(view, "utf-8") + b"\n")


def _path_in_address(path: str) -> str:
    path = os.path.normpath(path)
    path = os.path.abspath(path) if path.startswith("..") else path
    return quote(Path(path).as_posix().lstrip("/"), errors="surrogateescape")


def _brush(mask: np.ndarray) -> list[int]:
    """Return the bytes by which Label Studio stores a brush stroke: runs of RGBA, all four of them 255 in the mask."""
    lengths, value = _runs(mask)
    bits = [f"{4 * mask.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in (3, 4, 8, 16))]  # bits of lengths
    for length in lengths:
        for done in range(0, 4 * length, 1 << 16):  # a run, of the fourth size of length, of bytes of one value
            bits.append(f"111{min(4 * length - done, 1 << 16) - 1:016b}{255 * value:08b}")
        value = not value
    return np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")).tolist()
