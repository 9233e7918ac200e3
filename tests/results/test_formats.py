"""The formats of other tools, read by hand: ``tests/clients/test_labelling_tools.py`` has their own readers."""

from __future__ import annotations

import json
import os
import re
from unicodedata import normalize
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from full_disk import disk_with_room_for
from labelled import (
    BOXES,
    FORMATS,
    HEIGHT,
    LABELS,
    NAMES,
    POINTS,
    SCORES,
    SIZE,
    TURNED,
    WIDTH,
    corners,
    filled,
    found,
    inside,
    masks,
)
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from litepred import ImageError, LitepredError, WriteError
from litepred.cli import predict
from litepred.data import Metadata
from litepred.results import FORMATS as TABLE
from litepred.results import (
    describe,
    filter,
    to_dicts,
    to_fiftyone,
    write_csv,
    write_geojson,
    write_label_studio,
    write_labelme,
    write_yolo,
)
from litepred.results.geojson import place_in_world, polygons_of
from litepred.results.things import things
from litepred.structures import Boxes, Instances, ROIMasks, mask_to_polygons, mask_to_rle

every_format = pytest.mark.parametrize("name", FORMATS)
MASK_FORMATS = {
    "bitmask": lambda: torch.from_numpy(masks()),
    "rle": lambda: [mask_to_rle(mask) for mask in masks()],
    "polygon": lambda: [mask_to_polygons(mask) for mask in masks()[:3]] + [[[30.5, 18.5] * 3]],
}


def written(name, folder, results, **rest):
    """Write results, and return what the files say."""
    write, path, read = FORMATS[name]
    write(folder / path, results, **{"metadata": NAMES, **rest})
    return read(folder / path)


@every_format
@pytest.mark.parametrize("nothing", [Instances(SIZE), found("nothing"), {"instances": found("nothing"), "sem_seg": 1}])
def test_nothing(name, nothing, tmp_path):
    assert written(name, tmp_path / "none", []) == []
    images = written(name, tmp_path / "two", [("b/a.png", nothing), ("c.png", nothing)])
    assert images == [[], []]


def box_of(place) -> np.ndarray:
    return np.array(place) if np.ndim(place) == 1 else np.array([*np.min(place, axis=0), *np.max(place, axis=0)])


@every_format
@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_boxes(name, kind, tmp_path):
    """Masks are left out where they are not wanted."""
    (image,) = written(name, tmp_path, [("a.png", {"instances": found(kind)})], masks=kind == "boxes")
    assert [label for label, *_ in image] == [NAMES.thing_classes[label] for label in LABELS]
    np.testing.assert_allclose([box_of(place) for _, place, _ in image], BOXES, atol=1e-3)


@every_format
@pytest.mark.parametrize("kind", MASK_FORMATS)
def test_masks(name, kind, tmp_path):
    pytest.importorskip("pycocotools")
    (image,) = written(name, tmp_path, [("a.png", found("masks", MASK_FORMATS[kind]()))])
    for i, (expected, (_, place, _)) in enumerate(zip(masks(), image)):
        if np.shape(place) != SIZE:
            place = inside([place]) if name == "geojson" else filled(place)
        if name == "yolo" and i == 2:  # its two parts are joined by a line without area, along the upper row
            assert not place[:15].any() and place[15, 9:13].all()
            place[15, 9:13] = False
        if name == "yolo" and i == 3:  # one pixel has no outline: its box stands for it
            expected = filled([[30, 18], [31, 18], [31, 19], [30, 19]])
        assert np.array_equal(place, expected), i


@pytest.mark.parametrize("name", ["yolo", "labelme", "label-studio"])
@pytest.mark.parametrize("rows", [slice(7, 8), slice(0, 8), slice(10, 14)])
def test_a_mask_one_pixel_wide(name, rows, tmp_path):
    """Its outline has no area, and a polygon of two points would be none; one of two pixels has one."""
    thin = np.zeros((1, *SIZE), bool)
    thin[0, rows, 4 : 8 if rows.start == 10 else 5] = True  # at last a wide part beside the thin one
    thin[0, 7, 4:12] = True
    one = Instances(SIZE)
    one.pred_boxes = Boxes(torch.tensor([[4.0, min(rows.start, 7), 12, max(rows.stop, 8)]]))
    one.scores, one.pred_classes = torch.tensor(SCORES[:1]), torch.tensor([0])
    one.pred_masks = torch.from_numpy(thin)
    ((_, place, _),) = written(name, tmp_path, [("a.png", one)])[0]
    if name == "yolo":
        assert np.ndim(place) == 2 and len(place) > 2
    else:
        assert np.array_equal(place if np.shape(place) == SIZE else filled(place), thin[0])


@pytest.mark.parametrize("name", ["labelme", "label-studio"])
def test_a_polygon_has_corners_alone(name, tmp_path):
    (image,) = written(name, tmp_path, [("a.png", found("masks"))])
    np.testing.assert_allclose(image[0][1], [[2.5, 3.5], [2.5, 12.5], [11.5, 12.5], [11.5, 3.5]])


@every_format
def test_masks_relative_to_boxes(name, tmp_path):
    (image,) = written(name, tmp_path, [("a.png", found("masks", ROIMasks(torch.ones(4, 28, 28))))])
    for (x1, y1, x2, y2), (_, place, _) in zip(BOXES[:1], image):
        if np.shape(place) != SIZE:
            place = inside([place]) if name == "geojson" else filled(place)
        assert place[int(y1) : int(y2), int(x1) : int(x2)].all() and place.sum() == (x2 - x1) * (y2 - y1)


@every_format
def test_keypoints(name, tmp_path):
    (image,) = written(name, tmp_path, [("a.png", found("keypoints"))])
    np.testing.assert_allclose([box_of(place) for _, place, _ in image], BOXES[:2], atol=1e-3)
    np.testing.assert_allclose([points for *_, points in image], np.array(POINTS)[:, :, :2], atol=1e-3)
    names = Metadata(keypoint_names=np.array(["nose", "tail"]))
    assert [name for name, *_ in next(things(found("keypoints"), names)).points[:2]] == ["nose", "tail"]


@every_format
def test_rotated_boxes(name, tmp_path):
    (image,) = written(name, tmp_path, [("a.png", found("turned"))])
    for turned, (_, place, _) in zip(TURNED, image):
        expected = corners(turned)
        place = np.array(place) if np.ndim(place) == 2 else box_of(place)[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)
        np.testing.assert_allclose(place, expected, atol=0.01)


@every_format
def test_images_of_one_name(name, tmp_path):
    """The second gets files of its own, and where tools go by the name, it is told with its folder."""
    paths = ["a/x.png", "b/x.png", "b/X.jpg"]
    assert len(written(name, tmp_path, [(path, found("nothing")) for path in paths])) == 3
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    if TABLE[name].each:
        assert files == sorted(
            [*TABLE[name].whole, *(os.path.basename(TABLE[name].each).format(stem) for stem in ("x", "x-2", "X-3"))]
        )
    else:
        assert files == sorted(TABLE[name].whole)
    if name == "cvat":
        root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
        assert [one.get("name") for one in root.findall("image")] == ["x.png", "b/x.png", "X.jpg"]


@every_format
@pytest.mark.parametrize("label", ["<&>\"'", "\0\x08\ufffe", "a: [b] # c", "日本 é 😀", "a\nb", ""])
def test_names_of_classes(name, label, tmp_path):
    (image,) = written(name, tmp_path, [("<&>.png", found("boxes"))], metadata=[label, "dog"])
    expected = re.sub("[\0\x08\ufffe]", "\ufffd", label) if name in ("cvat", "label-studio") else label
    assert image[1][0].replace("\n", " ") == expected.replace("\n", " ")  # an attribute of XML has no line ends


@every_format
def test_classes_without_names(name, tmp_path):
    (image,) = written(name, tmp_path, [("a.png", found("boxes"))], metadata=None)
    assert [label for label, *_ in image] == [f"class_{label}" for label in LABELS]


@every_format
@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"instances": found("boxes")}, "expected a list of pairs"),
        ([(np.int64(7), found("boxes"))], r"7.* came where an image's path belongs, such as 'photo.jpg'"),
        ([("a.png", {"proposals": 1})], "a dict with proposals came: expected 'instances' in it"),
        ([("a.png", ImageError("a.png is empty"))], "leave such entries out; a.png is empty"),
        ([("a.png", Instances(SIZE, scores=torch.ones(1)))], "without pred_boxes and pred_classes came"),
    ],
)
def test_what_is_refused(name, results, message, tmp_path):
    with pytest.raises(LitepredError, match=message):
        written(name, tmp_path, results)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@every_format
def test_a_folder_that_cannot_be_made(name, tmp_path):
    (tmp_path / "file").write_text("")
    write, path, _ = FORMATS[name]
    with pytest.raises(WriteError, match="cannot make the folder"):
        write(tmp_path / "file" / "folder" / path, [])


class TestYolo:
    def test_what_lies_outside_the_image_is_brought_to_its_edge(self, tmp_path):
        instances = found("turned")
        instances.pred_boxes.tensor[:, :2] = 0
        write_yolo(tmp_path, [("a.png", instances)])
        numbers = np.array(
            [line.split()[1:] for line in (tmp_path / "labels" / "a.txt").read_text().splitlines()], float
        )
        assert (numbers >= 0).all() and (numbers <= 1).all() and numbers.max() > 0

    def test_no_names_for_nothing(self, tmp_path):
        write_yolo(tmp_path, [("a.png", found("nothing"))])
        assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {"train": "images", "val": "images", "names": {}}
        assert (tmp_path / "labels" / "a.txt").read_bytes() == b""


def test_labelme_finds_the_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_labelme("out/deep", [("photos/a.png", found("nothing")), (tmp_path / "b.png", found("nothing"))])
    paths = [json.loads((tmp_path / "out" / "deep" / f"{stem}.json").read_text())["imagePath"] for stem in "ab"]
    assert paths == ["../../photos/a.png", "../../b.png"]


@pytest.mark.parametrize(
    ("path", "root", "address"),
    [
        ("photos/a b#é.png", {}, "/data/local-files/?d=photos/a%20b%23%C3%A9.png"),
        ("./photos/../a.png", {}, "/data/local-files/?d=a.png"),
        ("/data/a.png", {}, "/data/local-files/?d=data/a.png"),
        ("a.png", {"image_root": "https://host/"}, "https://host/a.png"),
    ],
)
def test_label_studios_addresses(path, root, address, tmp_path):
    write_label_studio(tmp_path, [(path, found("boxes"))], **root)
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"] == {"image": address}
    assert task["predictions"][0]["score"] == 0.6875


def test_tracks(tmp_path):
    instances = found("boxes")
    instances.track_ids = torch.tensor([7, -1, 8, 9])
    write_geojson(tmp_path, [("a.png", instances)])
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert [one["properties"].get("track_id") for one in features] == [7, None, 8, 9]


class TestPolygonsAlongEdges:
    @pytest.mark.parametrize("density", [0, 0.3, 0.5, 0.7, 0.9, 1])
    def test_of_any_mask(self, density):
        """They cover its pixels alone, and no ring meets itself; holes turn the other way."""
        random = np.random.default_rng(0)
        for _ in range(100):
            mask = random.random(random.integers(0, 9, 2)) < density
            polygons = polygons_of(mask)
            canvas = np.zeros(SIZE, bool)
            canvas[: mask.shape[0], : mask.shape[1]] = mask
            assert np.array_equal(inside([ring for polygon in polygons for ring in polygon]), canvas)
            for outer, *holes in polygons:
                assert area(outer) > 0 and all(area(hole) < 0 for hole in holes)
                assert all(len({*map(tuple, ring)}) == len(ring) for ring in (outer, *holes))

    def test_parts_that_touch_by_a_corner_are_two(self):
        assert len(polygons_of(np.eye(2, dtype=bool))) == 2


def area(ring):
    x, y = np.transpose(ring)
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


def geotiff(path, tags, orientation=1):
    info = ImageFileDirectory_v2()
    kinds = {33550: 12, 33922: 12, 34264: 12, 34735: 3}
    for tag, values in tags.items():
        info.tagtype[tag] = kinds[tag]
        info[tag] = tuple(values)
    info[274] = orientation
    Image.new("L", (WIDTH, HEIGHT)).save(path, tiffinfo=info)


def keys(**values):
    """A GeoKeyDirectory: the raster's type, and the systems."""
    numbers = {"raster": 1025, "geographic": 2048, "projected": 3072}
    rows = [number for key, value in values.items() for number in (numbers[key], 0, 1, value)]
    return [1, 1, 0, len(values), *rows]


SCALED = {33550: (0.5, 0.25, 0), 33922: (0, 0, 0, 1000, 2000, 0)}
TIED_ELSEWHERE = {33550: (0.5, 0.25, 0), 33922: (4, 8, 0, 1000, 2000, 0)}
MATRIX = {34264: (0.5, 0.1, 0, 1000, 0.2, -0.25, 0, 2000, 0, 0, 0, 0, 0, 0, 0, 1)}


class TestInTheWorld:
    @pytest.mark.parametrize(
        ("tags", "transform", "crs"),
        [
            ({}, None, ""),
            ({33550: (0.5,), 33922: (1,), 34735: (1,)}, None, ""),  # cut short
            ({33922: (0, 0, 0, 1, 2, 0, 9, 9, 0, 3, 4, 0)}, None, ""),  # points on the ground, and no scale
            (SCALED, [[0.5, 0, 1000], [0, -0.25, 2000]], ""),
            (TIED_ELSEWHERE, [[0.5, 0, 998], [0, -0.25, 2002]], ""),
            (MATRIX, [[0.5, 0.1, 1000], [0.2, -0.25, 2000]], ""),
            ({**SCALED, 34735: keys(raster=2)}, [[0.5, 0, 999.75], [0, -0.25, 2000.125]], ""),
            (
                {**SCALED, 34735: keys(raster=1, geographic=4326, projected=32633)},
                [[0.5, 0, 1000], [0, -0.25, 2000]],
                "urn:ogc:def:crs:EPSG::32633",
            ),
            (
                {**SCALED, 34735: keys(geographic=4326)},
                [[0.5, 0, 1000], [0, -0.25, 2000]],
                "urn:ogc:def:crs:OGC:1.3:CRS84",
            ),
            ({**SCALED, 34735: keys(projected=32767)}, [[0.5, 0, 1000], [0, -0.25, 2000]], ""),
        ],
    )
    def test_geotiff(self, tags, transform, crs, tmp_path):
        geotiff(tmp_path / "a.tif", tags)
        placed, system = place_in_world(str(tmp_path / "a.tif"), SIZE)
        assert system == crs
        assert placed is None if transform is None else np.allclose(placed, transform)

    @pytest.mark.parametrize("image", ["a.tif", "a.jpg", "a.jpeg", "a.png"])
    @pytest.mark.parametrize("form", ["{0}{2}w", "{0}{1}{2}w", "wld", "WLD"])
    def test_world_files(self, image, form, tmp_path):
        suffix = image.partition(".")[2]
        ending = form.format(suffix[0], suffix[1:-1], suffix[-1])
        Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / image)
        (tmp_path / f"a.{ending}").write_text("0.5\n0\n0\n-0.25\n1000.25\n1999.875\n")
        assert np.allclose(place_in_world(str(tmp_path / image), SIZE)[0], [[0.5, 0, 1000], [0, -0.25, 2000]])

    @pytest.mark.parametrize("text", ["", "1 2 3", "1,5 0 0 -1 0 0", "no world"])
    def test_a_world_file_that_is_none(self, text, tmp_path):
        Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
        (tmp_path / "a.pgw").write_text(text)
        with pytest.raises(ImageError, match=r"a\.pgw' is no geotransform: expected six numbers"):
            write_geojson(tmp_path, [(tmp_path / "a.png", found("boxes"))])

    def test_no_such_file(self):
        assert place_in_world("nowhere/a.tif", SIZE) == (None, "")

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["tif", "jpg"])
    def test_an_image_that_is_stored_turned(self, orientation, suffix, tmp_path):
        """A pixel that is found in the upright image lies where the pixel that is stored does."""
        from litepred.data import read_image

        array = np.zeros((HEIGHT, WIDTH), np.uint8)
        array[4:8, 8:24] = 255
        array[4:8, 8:12] = 120
        image, path = Image.fromarray(array), tmp_path / f"a.{suffix}"
        exif = Image.Exif()
        exif[274] = orientation
        image.save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
        path.with_suffix(".wld").write_text("2 0 0 -2 1 -1")  # x and y twice the stored ones, y up
        upright = read_image(path, "L")[:, :, 0]
        transform, _ = place_in_world(str(path), upright.shape)
        for low, high, expected in ((90, 150, [20, -12]), (200, 256, [36, -12])):
            rows, columns = np.nonzero((upright > low) & (upright < high))
            centre = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
            np.testing.assert_allclose(transform[:, :2] @ centre + transform[:, 2], expected, atol=0.2)

    def test_a_name_in_another_unicode_form(self, tmp_path):
        geotiff(tmp_path / normalize("NFD", "é.tif"), SCALED)
        write_geojson(tmp_path, [(tmp_path / normalize("NFC", "é.tif"), found("masks"))], NAMES)
        (written,) = tmp_path.glob("*.geojson")
        assert json.loads(written.read_text())["axes"].startswith("world coordinates")

    def test_what_is_written(self, tmp_path):
        geotiff(tmp_path / "a.tif", {**SCALED, 34735: keys(projected=32633)})
        instances = found("masks")
        instances.pred_keypoints = torch.tensor([[[2.0, 4.0, 0.5]]] * 4)
        write_geojson(tmp_path, [(tmp_path / "a.tif", instances)], NAMES)
        facts = json.loads((tmp_path / "a.geojson").read_text())
        assert facts["axes"].startswith("world coordinates")
        assert facts["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
        first, second, third, _ = facts["features"]
        (ring,) = first["geometry"]["coordinates"]
        assert sorted(map(tuple, ring[:-1])) == [(1001, 1996.75), (1001, 1999.25), (1006, 1996.75), (1006, 1999.25)]
        assert area(ring[:-1]) > 0 > area(second["geometry"]["coordinates"][1][:-1])
        assert third["geometry"]["type"] == "MultiPolygon"
        assert first["properties"]["keypoints"] == [[1001, 1999, 0.5]]


def test_fiftyone_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fiftyone", None)
    with pytest.raises(LitepredError, match=r"to_fiftyone\(\) needs the package fiftyone: pip install fiftyone"):
        to_fiftyone(found("boxes"))


def test_the_command_knows_every_format():
    assert tuple(TABLE) == predict._FORMATS
    assert tuple(name for name, one in TABLE.items() if not one.whole) == predict._FOR_EACH


@every_format
def test_a_full_disk(name, tmp_path):
    with disk_with_room_for(0), pytest.raises(WriteError, match=re.escape(str(tmp_path))):
        written(name, tmp_path, [("a.png", found("boxes"))])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


NAMED = {
    "list": lambda: ["cat", "dog", "owl"],
    "generator": lambda: (name for name in ["cat", "dog", "owl"]),
    "array": lambda: np.array(["cat", "dog", "owl"]),
    "dict": lambda: {0: "cat", 1: "dog", 2: "owl"},
}


@pytest.mark.parametrize("names", NAMED)
def test_names_of_any_type_hold_for_all_images(names, tmp_path):
    instances = found("boxes")
    instances.pred_classes = torch.tensor([2, 1, 0, 2])
    expected = ["owl", "dog", "cat", "owl"]
    two = [("a.png", instances), ("b.png", instances)]

    assert [one["category"] for one in to_dicts(instances, NAMED[names]())] == expected
    assert [one["category"] for one in describe({"instances": instances}, NAMED[names]())["instances"]] == expected
    write_csv(tmp_path / "a.csv", two, NAMED[names]())
    assert [line.split(",")[3] for line in (tmp_path / "a.csv").read_text().splitlines()[1:]] == expected * 2
    write_labelme(tmp_path / "labelme", two, NAMED[names]())
    write_geojson(tmp_path / "geojson", two, NAMED[names]())
    for stem in "ab":
        shapes = json.loads((tmp_path / "labelme" / f"{stem}.json").read_text())["shapes"]
        features = json.loads((tmp_path / "geojson" / f"{stem}.geojson").read_text())["features"]
        assert [one["label"] for one in shapes] == expected
        assert [one["properties"]["category"] for one in features] == expected
    write_yolo(tmp_path / "yolo", two, NAMED[names]())
    assert yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())["names"] == {0: "cat", 1: "dog", 2: "owl"}
    kept = filter(instances, classes=["cat", "dog"], metadata=NAMED[names]())
    assert kept.pred_classes.tolist() == [1, 0]
