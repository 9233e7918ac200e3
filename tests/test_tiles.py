"""Large images tile by tile: what the tiles' edges cut becomes whole again."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import golden, tiny_cfg

from litepred import ConfigError, ImageError, LitepredError, Predictor, tiles
from litepred.data import image_to_array
from litepred.default_model import example_page
from litepred.structures import Boxes, Instances, RotatedBoxes, instance_mask

pytest.importorskip("pycocotools")
SIZE = (100, 220)
OBJECTS = {  # x0, y0, x1, y1
    "within the first tile": (5, 5, 30, 30),
    "within what two tiles see": (84, 10, 96, 30),
    "cut by one edge": (60, 40, 88, 60),
    "across all tiles": (10, 70, 210, 90),
    "at the corner of the image": (190, 0, 220, 20),
}


class Seeing:
    """A predictor of a model that finds the coloured rectangles in its image: a class for each red, whole masks."""

    def __init__(self, mask_format="bitmask", keypoints=False):
        self.cfg = SimpleNamespace(MODEL=SimpleNamespace(PIXEL_MEAN=[0, 0, 0]))
        self.input_format = "BGR"
        self.model = torch.nn.Module()
        self.model.mask_format = mask_format
        self.keypoints = keypoints
        self.sizes = []
        self.most = 0

    def prepare(self, image):
        return {"image": image}

    def __call__(self, image, **choice):
        return self.run([self.prepare(image)], **choice)[0]

    def run(self, inputs, **choice):
        self.most = max(self.most, len(inputs))
        return [self.answer(np.asarray(one["image"])) for one in inputs]

    def answer(self, image):
        self.sizes.append(image.shape[:2])
        labels = image[:, :, 2]  # red: arrays are BGR
        found = [labels == label for label in np.unique(labels[labels > 0])]
        corners = [
            [np.flatnonzero(m.any(a))[k] + (k < 0) for k, a in ((0, 0), (0, 1), (-1, 0), (-1, 1))] for m in found
        ]
        instances = Instances(
            image.shape[:2],
            pred_boxes=Boxes(torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)),
            scores=torch.tensor([mask.sum() / 1e4 for mask in found]),
            pred_classes=torch.zeros(len(found), dtype=torch.int64),
            pred_masks=torch.from_numpy(np.stack([*found, labels < 0])[: len(found)]),
        )
        if self.keypoints:
            instances.pred_keypoints = torch.cat(
                [instances.pred_boxes.tensor[:, None, :2], torch.ones(len(found), 1, 1)], 2
            )
        return {"instances": instances}


def scene(objects=None):
    image = np.zeros((*SIZE, 3), np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(objects or OBJECTS.values(), 1):
        image[y0:y1, x0:x1] = 0, 0, number
    return image


def corners_of(instances):
    return sorted(tuple(map(int, box)) for box in instances.pred_boxes.tensor.tolist())


def test_nothing():
    found = tiles.predict_tiled(Seeing(), np.zeros((*SIZE, 3), np.uint8), 100, 0.2, {})["instances"]
    assert len(found) == 0 and found.image_size == SIZE and found.pred_masks.shape == (0, *SIZE)


@pytest.mark.parametrize("mask_format", ["bitmask", "rle", "polygon", None])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_every_object_once_and_whole(mask_format, batch_size):
    predictor = Seeing(mask_format)
    found = tiles.predict_tiled(predictor, scene(), 100, 0.2, {}, batch_size)["instances"]
    assert predictor.sizes == [(100, 100)] * 3 and predictor.most == batch_size
    assert corners_of(found) == sorted(OBJECTS.values())
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    for i, (x0, y0, x1, y1) in enumerate(found.pred_boxes.tensor.int().tolist()):
        whole = torch.zeros(SIZE, dtype=torch.bool)
        whole[y0:y1, x0:x1] = True
        assert torch.equal(instance_mask(found, i), whole)


def test_without_overlap_pieces_stay():
    found = tiles.predict_tiled(Seeing(), scene([OBJECTS["across all tiles"]]), (100, 110), 0, {})["instances"]
    assert corners_of(found) == [(10, 70, 110, 90), (110, 70, 210, 90)]


def test_classes_are_joined_apart():
    pieces = tiles._Pieces(SIZE)
    for label, (tile, box) in enumerate([((0, 0, 100, 100), [10, 0, 100, 9]), ((80, 0, 180, 100), [0, 0, 60, 9])]):
        one = Instances((100, 100), pred_boxes=Boxes([box]), scores=torch.ones(1), pred_classes=torch.tensor([label]))
        pieces.add(tile, {"instances": one})
    assert len(pieces.joined(False, "bitmask")) == 2
    assert corners_of(pieces.joined(True, "bitmask")) == [(10, 0, 140, 9)]


def test_keypoints_come_with_the_best_view():
    found = tiles.predict_tiled(Seeing(keypoints=True), scene([(84, 10, 96, 30), (150, 5, 170, 9)]), 100, 0.2, {})
    assert found["instances"].pred_keypoints[:, 0].tolist() == [[84, 10, 1], [150, 5, 1]]


def test_the_best_of_the_whole_image():
    found = tiles.predict_tiled(Seeing(), scene(), 100, 0.2, {"max_detections": 1})["instances"]
    assert corners_of(found) == [OBJECTS["across all tiles"]]


@pytest.mark.parametrize(
    ("size_hw", "tile_hw", "overlap", "expected"),
    [
        ((1, 1), (32, 32), 0.2, [(0, 0, 1, 1)]),
        ((32, 32), (32, 32), 0.2, [(0, 0, 32, 32)]),
        ((32, 33), (32, 32), 0.5, [(0, 0, 32, 32), (1, 0, 33, 32)]),
        ((40, 64), (32, 32), 0, [(0, 0, 32, 32), (32, 0, 64, 32), (0, 8, 32, 40), (32, 8, 64, 40)]),
        ((20, 64), (32, 48), 0.5, [(0, 0, 48, 20), (16, 0, 64, 20)]),
    ],
)
def test_corners(size_hw, tile_hw, overlap, expected):
    assert list(tiles.tile_corners(size_hw, tile_hw, overlap)) == expected


class Raster:
    """What rasterio's handles have: bands in the order RGB, read by windows."""

    height, width = SIZE
    count = 4

    def read(self, bands, window):
        assert bands == [1, 2, 3]
        rows, columns = (slice(*side) for side in window)
        return np.moveaxis(scene()[rows, columns, ::-1], 2, 0)


def as_memmap(folder):
    scene().tofile(folder / "image.raw")
    return np.memmap(folder / "image.raw", np.uint8, "r", shape=(*SIZE, 3))


def as_png(folder):
    from PIL import Image

    Image.fromarray(scene()[:, :, ::-1]).save(folder / "image.png")
    return folder / "image.png"


def as_tiff(folder):
    pytest.importorskip("zarr")
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(folder / "image.tif", scene()[:, :, ::-1], tile=(32, 32), photometric="rgb")
    return tifffile.TiffFile(folder / "image.tif")


def as_rasterio(folder):
    rasterio = pytest.importorskip("rasterio")
    as_png(folder)
    return rasterio.open(folder / "image.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # rasterio's, of a PNG without a place on Earth
@pytest.mark.parametrize("source", [lambda folder: Raster(), as_memmap, as_png, as_tiff, as_rasterio])
def test_what_can_be_cut_by_windows(source, tmp_path):
    found = tiles.predict_tiled(Seeing(), source(tmp_path), 100, 0.2, {})["instances"]
    assert corners_of(found) == sorted(OBJECTS.values())


@pytest.mark.parametrize("input_format", ["BGR", "RGB"])
def test_files_of_four_bands_are_read_as_the_predictor_reads_them(input_format, tmp_path):
    """The predictor turns the bands of arrays around for models of RGB, and those of files never."""
    from PIL import Image

    bands = np.arange(4, dtype=np.uint8)[None, None].repeat(9, 0).repeat(9, 1)
    Image.fromarray(bands, "RGBA").save(tmp_path / "a.png")
    raster = SimpleNamespace(height=9, width=9, count=4, read=lambda *_, **__: np.moveaxis(bands, 2, 0))
    expected = image_to_array(tmp_path / "a.png", 4, input_format)
    for source in (tmp_path / "a.png", raster):
        _, read = tiles.open_windows(source, 4, input_format)
        assert np.array_equal(image_to_array(read((0, 0, 9, 9)), 4, input_format), expected)
    cfg = SimpleNamespace(MODEL=SimpleNamespace(PIXEL_MEAN=[0, 0, 0, 0]))
    array = Predictor.read(SimpleNamespace(cfg=cfg, input_format=input_format), tmp_path / "a.png")
    assert np.array_equal(image_to_array(array, 4, input_format), expected)


def test_a_number_of_numpy_is_a_side():
    for overlap in (0.2, np.float32(0.2), torch.tensor(0.2)):
        found = tiles.predict_tiled(Seeing(), scene(), np.int64(100), overlap, {})
        assert len(found["instances"]) == len(OBJECTS)


def test_only_windows_are_read():
    class Once:
        shape = (*SIZE, 3)

        def __getitem__(self, windows):
            assert all(window.stop - window.start <= 100 for window in windows)
            return scene()[windows]

    assert len(tiles.predict_tiled(Seeing(), Once(), 100, 0.2, {})["instances"]) == len(OBJECTS)


@pytest.mark.parametrize(
    ("image", "tile", "overlap", "error", "message"),
    [
        (scene(), 0, 0.2, ConfigError, "tile is 0: expected a side in pixels, 32 or more"),
        (scene(), (100, 100, 3), 0.2, ConfigError, "tile is"),
        (scene(), 100.0, 0.2, ConfigError, r"tile is 100\.0: expected a side in pixels"),
        (scene(), True, 0.2, ConfigError, "tile is True"),
        (scene(), 100, 1, ConfigError, "overlap is 1: expected a share of the tile from 0 to 0.9"),
        (scene(), 100, "a", ConfigError, "overlap is 'a'"),
        (np.zeros(5), 100, 0.2, ImageError, r"an image of shape \(5,\) came"),
        (np.zeros((0, 5, 3)), 100, 0.2, ImageError, "an image of shape"),
    ],
)
def test_what_is_refused(image, tile, overlap, error, message):
    with pytest.raises(error, match=message):
        tiles.predict_tiled(Seeing(), image, tile, overlap, {})


def test_answers_that_are_not_joined(monkeypatch):
    with pytest.raises(ConfigError, match="mask_format='roi', whose masks cannot be joined"):
        tiles.predict_tiled(Seeing("roi"), scene(), 100, 0.2, {})
    pieces = tiles._Pieces(SIZE)
    turned = Instances((9, 9), pred_boxes=RotatedBoxes(torch.ones(1, 5)), scores=torch.ones(1))
    for outputs, message in [
        ({"sem_seg": 1}, "this model finds sem_seg and no instances"),
        ({"instances": turned}, "rotated boxes are not joined"),
        ({"instances": Instances((9, 9), pred_boxes=Boxes([]), pred_densepose=[])}, "pred_densepose are not joined"),
    ]:
        with pytest.raises(ConfigError, match=message):
            pieces.add((0, 0, 9, 9), outputs)
    monkeypatch.setattr(tiles, "_MOST_MASK_BYTES", 1000)
    with pytest.raises(LitepredError, match="take too much memory: build the predictor with mask_format='rle'"):
        tiles.predict_tiled(Seeing(), scene(), 100, 0.2, {})
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(LitepredError, match="needs the package zarr: pip install zarr"):
        tiles.open_windows(SimpleNamespace(aszarr=None), 3)


class TestPredictor:
    def test_an_image_that_fits_one_tile_has_the_same_bits(self, page_predictor):
        whole, tiled = page_predictor(example_page()), page_predictor(example_page(), tile=(990, 765))
        assert torch.equal(whole["instances"].pred_masks, tiled["instances"].pred_masks)
        assert torch.equal(whole["instances"].scores, tiled["instances"].scores)
        assert torch.equal(whole["panoptic_seg"][0], tiled["panoptic_seg"][0])

    def test_tiles(self, page_predictor):
        found = page_predictor(example_page(), tile=(700, 765), overlap=0.5, threshold=0.8)["instances"]
        whole = page_predictor(example_page(), threshold=0.8)["instances"]
        assert abs(len(found) - len(whole)) <= 4 and "title" in str(found)
        assert found.pred_masks.shape[1:] == (990, 765)
        # what lies within a tile alone is found again
        assert torch.isin(whole.pred_classes.unique(), found.pred_classes).all()

    def test_by_batch_and_stream(self):
        cfg = tiny_cfg("fpn")
        cfg.INPUT.MIN_SIZE_TEST = 32
        predictor = Predictor(cfg, weights=golden(cfg).state_dict())
        expected = predictor(scene(), tile=100)["instances"].scores
        bad = np.zeros(3)
        found = list(predictor.batch([scene(), lambda: scene(), bad], return_errors=True, tile=100))
        assert all(torch.equal(one["instances"].scores, expected) for one in found[:2])
        assert isinstance(found[2], ImageError)
        with pytest.raises(ImageError):
            list(predictor.batch([bad], tile=100))
        with pytest.raises(ConfigError, match=r"overlap is 0\.5, but tile did not come"):
            predictor.batch([], overlap=0.5)
