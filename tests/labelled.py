"""Instances of each kind for the formats of other tools, and what is in their files, read without litepred."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import torch
import yaml
from PIL import Image

from litepred.data import Metadata
from litepred.results import write_cvat, write_geojson, write_label_studio, write_labelme, write_yolo
from litepred.structures import Boxes, Instances, RotatedBoxes

SIZE = HEIGHT, WIDTH = 20, 32
NAMES = Metadata(thing_classes=["cat", 'a "dog" & <b>é: #1'], keypoint_names=["nose", "tail"])
BOXES = [[2.0, 3.0, 12.0, 13.0], [14.5, 4.0, 28.0, 12.0], [4.0, 15.0, 20.0, 18.0], [30.0, 18.0, 31.0, 19.0]]
LABELS = [1, 0, 1, 0]
SCORES = [0.875, 0.75, 0.625, 0.5]
TURNED = [[16.0, 10.0, 8.0, 4.0, 30.0], [16.0, 10.0, 8.0, 4.0, 0.0]]
POINTS = [[[3.5, 4.0, 0.5], [11.0, 12.5, 0.25]], [[15.0, 5.0, 0.5], [27.5, 11.0, 1.0]]]


def masks() -> np.ndarray:
    """A plain one, one with a hole, one in two parts, and one of a single pixel, for each of which a box is there."""
    made = np.zeros((4, *SIZE), bool)
    made[0, 3:13, 2:12] = True
    made[1, 4:12, 15:28] = True
    made[1, 6:9, 18:24] = False
    made[2, 15:18, 4:9] = made[2, 15:18, 13:20] = True
    made[3, 18, 30] = True
    return made


def found(kind: str, pred_masks: Any = None) -> Instances:
    """Instances of a kind: nothing, boxes, masks, keypoints or turned."""
    count = {"nothing": 0, "keypoints": 2, "turned": 2}.get(kind, 4)
    boxes = RotatedBoxes(torch.tensor(TURNED)) if kind == "turned" else Boxes(torch.tensor(BOXES)[:count])
    labels, scores = torch.tensor(LABELS)[:count], torch.tensor(SCORES)[:count]
    instances = Instances(SIZE, pred_boxes=boxes, scores=scores, pred_classes=labels)
    if kind == "masks":
        instances.pred_masks = torch.from_numpy(masks()) if pred_masks is None else pred_masks
    if kind == "keypoints":
        instances.pred_keypoints = torch.tensor(POINTS)
    return instances


def corners(turned: list[float]) -> np.ndarray:
    """The corners of a rotated box, whose angle is counter-clockwise as it is seen."""
    x, y, width, height, angle = turned
    along = np.array([np.cos(np.radians(angle)), -np.sin(np.radians(angle))])
    down = np.array([-along[1], along[0]])
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([[x, y] + i * along * width / 2 + j * down * height / 2 for i, j in signs])


def filled(points: Any) -> np.ndarray:
    """The pixels of an outline through their centres."""
    canvas = np.zeros(SIZE, np.uint8)
    cv2.fillPoly(canvas, [np.floor(np.asarray(points) + 1e-3).astype(np.int32)], 1)
    return canvas.astype(bool)


def inside(rings: list[Any]) -> np.ndarray:
    """The pixels whose centres lie within rings, by the number of edges that are crossed on the way to the left."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    crossed = np.zeros(SIZE, int)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]]):
            if y1 != y2:
                crossed += ((y1 <= y) != (y2 <= y)) & (x > x1 + (y - y1) / (y2 - y1) * (x2 - x1))
    return crossed % 2 == 1


# Each reader returns for each image the class's name and either a mask or the numbers of a box, and keypoints.


def read_yolo(folder: Path) -> list[list[tuple]]:
    facts = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert facts["train"] == facts["val"] == "images"
    images = []
    for path in sorted((folder / "labels").iterdir()):
        images.append([])
        for line in path.read_text().splitlines():
            label, *texts = line.split()
            numbers = np.array(texts, float)
            assert (numbers >= 0).all()
            points = []
            if "kpt_shape" in facts:
                points = numbers[4:].reshape(facts["kpt_shape"])
                assert (points[:, 2] == 2).all()
                points, numbers = (points[:, :2] * (WIDTH, HEIGHT)).tolist(), numbers[:4]
            if len(numbers) == 4:
                x, y, width, height = numbers * (WIDTH, HEIGHT, WIDTH, HEIGHT)
                place = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            else:
                place = numbers.reshape(-1, 2) * (WIDTH, HEIGHT)
            images[-1].append((facts["names"][int(label)], place, points))
    return images


def read_labelme(folder: Path) -> list[list[tuple]]:
    images = []
    for path in sorted(folder.glob("*json")):
        facts = json.loads(path.read_text())
        assert (facts["imageHeight"], facts["imageWidth"], facts["imageData"]) == (*SIZE, None)
        images.append([])
        for shape in facts["shapes"]:
            points, kind = shape["points"], shape["shape_type"]
            if kind == "point":
                assert shape["group_id"] == len(images[-1]) - 1
                assert shape["label"] == ["nose", "tail"][len(images[-1][-1][2])]
                images[-1][-1][2].extend(points)
                continue
            place = np.array(points) if kind == "polygon" else [*points[0], *points[1]]
            if kind == "mask":
                (x1, y1), (x2, y2) = points
                place = np.zeros(SIZE, bool)
                place[y1 : y2 + 1, x1 : x2 + 1] = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
            images[-1].append((shape["label"], place, []))
            assert shape["score"] == SCORES[len(images[-1]) - 1]
    return images


def read_cvat(path: Path) -> list[list[tuple]]:
    root = ElementTree.parse(path).getroot()
    labels = [one.text or "" for one in root.findall("meta/task/labels/label/name")]
    images = []
    for image in root.findall("image"):
        assert (image.get("id"), image.get("width"), image.get("height")) == (f"{len(images)}", "32", "20")
        images.append([])
        for shape in image:
            assert shape.get("label") in labels
            if shape.tag == "points":
                points = [[float(number) for number in pair.split(",")] for pair in shape.get("points").split(";")]
                assert shape.get("group_id") == f"{len(images[-1])}"
                images[-1][-1][2].extend(points)
                continue
            if shape.tag == "box":
                place: Any = [float(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")]
                if shape.get("rotation"):
                    x1, y1, x2, y2 = place
                    turned = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, -float(shape.get("rotation"))]
                    place = corners(turned)
            else:
                left, top, width, height = (int(shape.get(key)) for key in ("left", "top", "width", "height"))
                lengths = [int(length) for length in shape.get("rle").split(",")]
                values = [value for i, length in enumerate(lengths) for value in [i % 2 == 1] * length]
                place = np.zeros(SIZE, bool)
                place[top : top + height, left : left + width] = np.reshape(values, (height, width))
            images[-1].append((shape.get("label"), place, []))
            assert float(shape.find("attribute[@name='score']").text) == SCORES[len(images[-1]) - 1]
    return images


def read_label_studio(folder: Path) -> list[list[tuple]]:
    config = ElementTree.parse(folder / "config.xml").getroot()
    tools = {one.get("name"): one for one in config if one.tag != "Image"}
    images = []
    for task in json.loads((folder / "tasks.json").read_text()):
        images.append([])
        (prediction,) = task["predictions"]
        for region in prediction["result"]:
            value, tool = region["value"], tools[region["from_name"]]
            (label,) = value[region["type"]]
            assert region["type"] == tool.tag.lower() and label in [one.get("value") for one in tool]
            assert (region["original_height"], region["original_width"]) == SIZE
            if tool.tag == "KeyPointLabels":
                assert region["parentID"] == f"{len(images[-1]) - 1}"
                images[-1][-1][2].append([value["x"] * WIDTH / 100, value["y"] * HEIGHT / 100])
                continue
            if tool.tag == "BrushLabels":
                place: Any = brush(value["rle"]).reshape(*SIZE, 4)
                assert (place == place[:, :, :1]).all() and set(np.unique(place)) == {0, 255}
                place = place[:, :, 3] == 255
            elif tool.tag == "PolygonLabels":
                place = np.array(value["points"]) * (WIDTH / 100, HEIGHT / 100)
            else:
                x, width = (value[key] * WIDTH / 100 for key in ("x", "width"))
                y, height = (value[key] * HEIGHT / 100 for key in ("y", "height"))
                place = [x, y, x + width, y + height]
                if angle := np.radians(value["rotation"]):  # clockwise, around the top left corner
                    along = np.array([np.cos(angle), np.sin(angle)])
                    steps = along * width, np.array([-along[1], along[0]]) * height
                    place = np.array([[x, y], [x, y] + steps[0], [x, y] + steps[0] + steps[1], [x, y] + steps[1]])
            images[-1].append((label, place, []))
            assert region["score"] == SCORES[len(images[-1]) - 1]
    return images


def brush(rle: list[int]) -> np.ndarray:
    """Decode Label Studio's runs: their number of values, the bits of a value, those of four lengths, and the runs."""
    bits, at = "".join(f"{byte:08b}" for byte in rle), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, word = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        is_run = take(1)
        count = take(lengths[take(2)]) + 1
        values += [take(word)] * count if is_run else [take(word) for _ in range(count)]
    return np.array(values)


def read_geojson(folder: Path) -> list[list[tuple]]:
    images = []
    for path in sorted(folder.glob("*json")):
        facts = json.loads(path.read_text())
        assert facts["type"] == "FeatureCollection" and "y down" in facts["axes"]
        images.append([])
        for feature in facts["features"]:
            geometry, properties = feature["geometry"], feature["properties"]
            polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
            assert all(ring[0] == ring[-1] for polygon in polygons for ring in polygon)
            place: Any = inside([ring[:-1] for polygon in polygons for ring in polygon])
            if len(polygons) == 1 and len(polygons[0]) == 1 and len(polygons[0][0]) == 5:
                place = np.array(polygons[0][0][:-1])
            points = [point[:2] for point in properties.get("keypoints", [])]
            images[-1].append((properties["category"], place, points))
            assert properties["score"] == SCORES[feature["id"]]
    return images


FORMATS = {  # how each is written below a folder, and read
    "yolo": (write_yolo, "", read_yolo),
    "labelme": (write_labelme, "", read_labelme),
    "cvat": (write_cvat, "annotations.xml", read_cvat),
    "label-studio": (write_label_studio, "", read_label_studio),
    "geojson": (write_geojson, "", read_geojson),
}
