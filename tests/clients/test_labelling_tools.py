"""Formats of other tools, read by the tools' own packages. Several of these want an environment of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from labelled import BOXES, HEIGHT, LABELS, NAMES, POINTS, SCORES, SIZE, TURNED, WIDTH, corners, found, masks
from PIL import Image

from litepred.results import to_fiftyone, write_cvat, write_geojson, write_label_studio, write_labelme, write_yolo

pytestmark = pytest.mark.clients
KINDS = ["nothing", "boxes", "masks", "keypoints", "turned"]
every_kind = pytest.mark.parametrize("kind", KINDS)
COUNTS = dict(zip(KINDS, (0, 4, 4, 2, 2)))


def tool(name):
    return pytest.importorskip(name, reason=f"{name} is not installed: CONTRIBUTING.md says how")


@pytest.fixture
def image(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "a.png")
    return tmp_path / "images" / "a.png"


def named(count):
    return [NAMES.thing_classes[label] for label in LABELS[:count]]


def close(mask, expected, pixels=1):
    """Whether a mask is another one, but for pixels along its outline."""
    import cv2

    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    smallest, largest = (f(expected.astype(np.uint8), kernel).astype(bool) for f in (cv2.erode, cv2.dilate))
    return not (smallest & ~mask).any() and not (mask & ~largest).any()


@every_kind
def test_labelme(kind, image, tmp_path):
    """Its own reader; and its own drawing of shapes, which gives the masks, pixel by pixel."""
    label_file = tool("labelme._label_file")
    from labelme.utils import shape_to_mask

    write_labelme(tmp_path / "out", [(image, found(kind))], NAMES)
    read = label_file.LabelFile(str(tmp_path / "out" / "a.json"))
    assert (tmp_path / "out" / read.image_path).resolve() == image.resolve()
    things = [shape for shape in read.shapes if shape["shape_type"] != "point"]
    assert [shape["label"] for shape in things] == named(COUNTS[kind])
    assert [shape["other_data"]["score"] for shape in things] == SCORES[: COUNTS[kind]]
    if kind == "masks":
        for shape, mask in zip(things, masks()):
            if shape["shape_type"] == "mask":
                (x1, y1), (x2, y2) = np.array(shape["points"], int)
                drawn = np.zeros(SIZE, bool)
                drawn[y1 : y2 + 1, x1 : x2 + 1] = shape["mask"]
            else:
                drawn = shape_to_mask(SIZE, shape["points"], shape["shape_type"])
            assert np.array_equal(drawn, mask)
    if kind == "boxes":
        assert [np.ravel(shape["points"]).tolist() for shape in things] == BOXES
    if kind == "keypoints":
        points = [shape["points"][0] for shape in read.shapes if shape["shape_type"] == "point"]
        assert points == [point[:2] for one in POINTS for point in one]


@every_kind
def test_datumaro_reads_cvat(kind, image, tmp_path):
    datumaro = tool("datumaro")
    write_cvat(tmp_path / "annotations.xml", [(image, found(kind))], NAMES)
    data = datumaro.Dataset.import_from(str(tmp_path), "cvat")
    (item,) = data
    assert item.id == "a" and item.media.size == SIZE
    labels = [one.name for one in data.categories()[datumaro.AnnotationType.label]]
    assert labels == NAMES.thing_classes
    points = [one for one in item.annotations if one.type == datumaro.AnnotationType.points]
    things = [one for one in item.annotations if one.type != datumaro.AnnotationType.points]
    assert [labels[one.label] for one in things] == named(COUNTS[kind])
    assert [float(one.attributes["score"]) for one in things] == SCORES[: COUNTS[kind]]
    if kind == "masks":
        assert all(np.array_equal(one.image.astype(bool), mask) for one, mask in zip(things, masks()))
    if kind == "boxes":
        assert [one.points for one in things] == BOXES
    if kind == "turned":
        for one, (x, y, width, height, angle) in zip(things, TURNED):
            assert (one.cx, one.cy, one.w, one.h, -one.r % 360) == pytest.approx((x, y, width, height, angle), abs=0.01)
    if kind == "keypoints":
        assert [one.points for one in points] == [[c for point in one for c in point[:2]] for one in POINTS]
        assert [one.group for one in points] == [one.group for one in things]


@every_kind
def test_label_studio(kind, image, tmp_path):
    """Its own checks of the interface and of predictions, its own masks of brushes and corners of turned boxes."""
    tool("label_studio_sdk")
    from label_studio_sdk.converter.brush import decode_rle
    from label_studio_sdk.converter.utils import convert_annotation_to_yolo, convert_annotation_to_yolo_obb
    from label_studio_sdk.label_interface import LabelInterface

    write_label_studio(tmp_path, [(image, found(kind))], NAMES)
    interface = LabelInterface((tmp_path / "config.xml").read_text(encoding="utf-8"))
    interface.validate()
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction, return_errors=True) == []
    things = [one for one in prediction["result"] if one["type"] != "keypointlabels"]
    assert [one["value"][one["type"]] for one in things] == [[name] for name in named(COUNTS[kind])]
    for i, one in enumerate(things):
        if one["type"] == "brushlabels":
            drawn = np.reshape(decode_rle(one["value"]["rle"]), (*SIZE, 4))[:, :, 3] > 0
            assert np.array_equal(drawn, masks()[i])
        elif kind == "boxes":
            x, y, width, height = np.array(convert_annotation_to_yolo(one["value"])) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
            assert np.allclose([x - width / 2, y - height / 2, x + width / 2, y + height / 2], BOXES[i])
        elif kind == "turned":
            told = convert_annotation_to_yolo_obb({**one, **one["value"]}, normalize=False)
            assert np.allclose(told, corners(TURNED[i]))
    assert {one["type"] for one in things} == {
        "nothing": set(),
        "masks": {"polygonlabels", "brushlabels"},
    }.get(kind, {"rectanglelabels"})


@every_kind
def test_supervision_reads_yolo(kind, image, tmp_path):
    sv = tool("supervision")
    write_yolo(tmp_path, [(image, found(kind))], NAMES)
    data = sv.DetectionDataset.from_yolo(
        images_directory_path=str(image.parent),
        annotations_directory_path=str(tmp_path / "labels"),
        data_yaml_path=str(tmp_path / "data.yaml"),
        is_obb=kind == "turned",
    )
    assert data.classes == NAMES.thing_classes
    ((_, _, detections),) = data
    assert detections.class_id.tolist() == LABELS[: COUNTS[kind]]
    if kind in ("boxes", "keypoints"):
        np.testing.assert_allclose(detections.xyxy, BOXES[: COUNTS[kind]], atol=1e-3)
    if kind == "masks":  # it rounds the centres of pixels to either side
        line = np.zeros(SIZE, bool)
        line[15, 4:20] = True
        for i, (mask, drawn) in enumerate(zip(masks()[:3], detections.mask)):
            assert close(drawn, mask | line if i == 2 else mask)
    if kind == "turned":
        told = detections.data[sv.config.ORIENTED_BOX_COORDINATES]
        np.testing.assert_allclose(told, [corners(one) for one in TURNED], atol=1e-3)


@every_kind
def test_ultralytics_reads_yolo(kind, image, tmp_path):
    """Its check of a data set and of labels, before training: nothing is corrupt, boxes and polygons are ours."""
    tool("ultralytics")
    from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

    write_yolo(tmp_path, [(image, found(kind))], NAMES)
    facts = check_det_dataset(str(tmp_path / "data.yaml"), autodownload=False)
    assert list(facts["names"].values()) == NAMES.thing_classes
    points, numbers = facts.get("kpt_shape", (0, 0))
    (label,) = img2label_paths([str(image)])
    told = verify_image_label((str(image), label, "", points > 0, len(facts["names"]), points, numbers, False))
    _, lines, shape, segments, keypoints, missing, there, empty, corrupt, message = told
    assert (shape, missing, there, empty, corrupt, message) == (SIZE, 0, 1, kind == "nothing", 0, "")
    assert lines[:, 0].tolist() == LABELS[: COUNTS[kind]]
    if kind in ("boxes", "keypoints"):
        centres, sides = lines[:, 1:3] * (WIDTH, HEIGHT), lines[:, 3:] * (WIDTH, HEIGHT)
        told = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
        np.testing.assert_allclose(told, BOXES[: COUNTS[kind]], atol=1e-3)
    if kind == "keypoints":
        np.testing.assert_allclose(keypoints[:, :, :2] * (WIDTH, HEIGHT), np.array(POINTS)[:, :, :2], atol=1e-3)
    if kind == "masks":
        from ultralytics.data.utils import polygon2mask

        for i in (0, 1):
            drawn = polygon2mask(SIZE, [(segments[i] * (WIDTH, HEIGHT)).ravel()]).astype(bool)
            assert np.array_equal(drawn, masks()[i])
    if kind == "turned":
        told = [segment * (WIDTH, HEIGHT) for segment in segments]
        np.testing.assert_allclose(told, [corners(one) for one in TURNED], atol=1e-3)


@every_kind
def test_shapely_reads_geojson(kind, tmp_path):
    shapely = tool("shapely")
    write_geojson(tmp_path, [("a.png", found(kind))], NAMES)
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    shapes = [shapely.from_geojson(json.dumps(one["geometry"])) for one in features]
    assert len(shapes) == COUNTS[kind] and all(one.is_valid for one in shapes)
    expected = {
        "masks": masks().sum(axis=(1, 2)).tolist(),
        "turned": [width * height for _, _, width, height, _ in TURNED],
    }.get(kind, [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in BOXES[: COUNTS[kind]]])
    assert [one.area for one in shapes] == pytest.approx(expected)


@pytest.mark.parametrize("is_point", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("system", [4326, 32633, None])
def test_rasterio_and_geopandas_read_geojson(system, turned, is_point, tmp_path):
    """A mask that is burnt by GDAL from what geopandas has read, into the raster that GDAL has placed, is the mask."""
    rasterio = tool("rasterio")
    geopandas = tool("geopandas")
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    placed = Affine(0.5, 0.125, 12, 0.25, -0.5, 47) if turned else Affine(0.5, 0, 12, 0, -0.25, 47)
    facts = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 1, "dtype": "uint8", "transform": placed}
    with rasterio.open(tmp_path / "a.tif", "w", **facts, crs=system and f"EPSG:{system}") as file:
        file.write(np.zeros((1, *SIZE), np.uint8))
        if is_point:
            file.update_tags(AREA_OR_POINT="Point")
    write_geojson(tmp_path, [(tmp_path / "a.tif", found("masks"))], NAMES)
    with rasterio.open(tmp_path / "a.tif") as file:
        transform, crs = file.transform, file.crs
    assert transform.almost_equals(placed)
    frame = geopandas.read_file(tmp_path / "a.geojson")
    if system:
        assert frame.crs.to_epsg(min_confidence=20) == crs.to_epsg() == system or frame.crs.to_string() == "OGC:CRS84"
    assert frame["category"].tolist() == named(4) and frame.geometry.is_valid.all()
    for shape, mask in zip(frame.geometry, masks()):
        assert np.array_equal(rasterize([shape], SIZE, transform=transform).astype(bool), mask)


@pytest.mark.parametrize("suffix", ["tif", "jpg", "png"])
def test_rasterio_places_images_by_world_files_as_well(suffix, tmp_path):
    rasterio = tool("rasterio")
    from litepred.results.geojson import place_in_world

    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / f"a.{suffix}")
    (tmp_path / f"a.{suffix[0]}{suffix[-1]}w").write_text("0.5\n0.125\n0.25\n-0.5\n12.5\n47\n")
    with rasterio.open(tmp_path / f"a.{suffix}") as file:
        expected = np.reshape(file.transform[:6], (2, 3))
    assert np.allclose(place_in_world(str(tmp_path / f"a.{suffix}"), SIZE)[0], expected)


@every_kind
def test_fiftyone(kind, image):
    """A sample with these fields; FiftyOne draws their masks by itself."""
    fo = tool("fiftyone")
    instances = found(kind)
    instances.track_ids = torch.arange(COUNTS[kind]) + 5
    sample = fo.Sample(str(image), **to_fiftyone({"instances": instances}, NAMES))
    if kind == "turned":
        lines = sample["polylines"].polylines
        assert [one.label for one in lines] == named(2)
        told = [np.array(one.points[0]) * (WIDTH, HEIGHT) for one in lines]
        np.testing.assert_allclose(told, [corners(one) for one in TURNED], atol=1e-3)
        return
    detections = sample["detections"].detections
    assert [one.label for one in detections] == named(COUNTS[kind])
    assert [one.confidence for one in detections] == SCORES[: COUNTS[kind]]
    assert [one.index for one in detections] == [5, 6, 7, 8][: COUNTS[kind]]
    told = np.array([one.bounding_box for one in detections]).reshape(-1, 4) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
    told[:, 2:] += told[:, :2]
    np.testing.assert_allclose(told, np.reshape(BOXES[: COUNTS[kind]], (-1, 4)), atol=1e-3)
    if kind == "masks":
        whole = [0, 2, 3]  # of the other one, the box begins within a pixel
        for i in whole:
            drawn = detections[i].to_segmentation(frame_size=(WIDTH, HEIGHT)).mask > 0
            assert np.array_equal(drawn, masks()[i])
        assert close(detections[1].to_segmentation(frame_size=(WIDTH, HEIGHT)).mask > 0, masks()[1])
    if kind == "keypoints":
        points = [one.points for one in sample["keypoints"].keypoints]
        np.testing.assert_allclose(np.array(points) * (WIDTH, HEIGHT), np.array(POINTS)[:, :, :2], atol=1e-3)
