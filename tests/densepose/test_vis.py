from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest
import torch
from golden_answers import ASSETS, image, load

from litepred import Boxes, ImageError, Instances, LitepredError
from litepred.densepose import draw, vis
from litepred.densepose.structures import DensePoseChartPredictorOutput, DensePoseChartResult
from litepred.densepose.vis import (
    DensePoseResultsFineSegmentationVisualizer,
    DensePoseResultsUVisualizer,
    DensePoseResultsVVisualizer,
    parse_names,
)

FOLDER = ASSETS / "densepose"
GOLDEN = load(FOLDER / "densepose_rcnn_R_50_FPN_s1x__astronaut.npz")


def grey(picture: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[:, :, None], 3, axis=2)


def result(labels: list[list[int]], u: float = 0.0, v: float = 0.0) -> DensePoseChartResult:
    shape = torch.tensor(labels).shape
    return DensePoseChartResult(torch.tensor(labels), torch.stack([torch.full(shape, u), torch.full(shape, v)]))


def golden_results():
    number = len(GOLDEN["result.boxes_xywh"])
    results = [
        DensePoseChartResult(
            torch.from_numpy(GOLDEN[f"result.{i}.labels"]).long(), torch.from_numpy(GOLDEN[f"result.{i}.uv"]).float()
        )
        for i in range(number)
    ]
    return results, torch.from_numpy(GOLDEN["result.boxes_xywh"])


def one_body(box: list[float], score: float = 0.9, side: int = 8) -> Instances:
    """An instance whose whole box is part 1, u = 0.5."""
    part = torch.zeros(1, 25, side, side)
    part[:, 1] = 1
    coarse = torch.tensor([0.0, 1]).view(1, 2, 1, 1).expand(1, 2, side, side)
    maps = DensePoseChartPredictorOutput(coarse, part, torch.full_like(part, 0.5), torch.full_like(part, 1.0))
    return Instances((20, 30), pred_boxes=Boxes([box]), scores=torch.tensor([score]), pred_densepose=maps)


def _parula() -> np.ndarray:
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_PARULA)[:, 0]


def test_the_colours():
    assert zlib.crc32(_parula().tobytes()) == 2766531470
    assert _parula()[10].tolist() == [163, 60, 37]


@pytest.mark.parametrize(("alpha", "inplace", "name"), [(0.7, True, ""), (1.0, False, "_idmvton")])
def test_golden_pictures_repainted(alpha, inplace, name):
    picture = grey(image("astronaut"))
    visualizer = DensePoseResultsFineSegmentationVisualizer(inplace=inplace, alpha=alpha, cfg=None, texture_atlas=None)
    painted = visualizer.visualize(picture, golden_results())
    assert painted is picture
    assert np.array_equal(painted, cv2.imread(str(FOLDER / f"dp_segm{name}__astronaut.png")))


@pytest.mark.parametrize("empty", [(None, None), ([], torch.zeros(0, 4))])
@pytest.mark.parametrize("options", [{}, {"inplace": False, "alpha": 1.0}])
def test_nothing_to_paint(empty, options):
    before = np.full((4, 5, 3), 7, np.uint8)
    assert np.array_equal(DensePoseResultsFineSegmentationVisualizer(**options).visualize(before.copy(), empty), before)


@pytest.mark.parametrize("label", range(25))
def test_a_colour_for_each_part(label):
    canvas = np.zeros((1, 1, 3), np.uint8)
    painted = DensePoseResultsFineSegmentationVisualizer(alpha=1.0).visualize(
        canvas, ([result([[label]])], torch.tensor([[0.0, 0, 1, 1]]))
    )
    assert painted[0, 0].tolist() == ([0, 0, 0] if label == 0 else _parula()[int(label * 10.625)].tolist())


def test_every_grey_is_blended_and_cut_as_in_double_precision():
    canvas = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    painted = DensePoseResultsFineSegmentationVisualizer().visualize(
        canvas.copy(), ([result([[24] * 256])], torch.tensor([[0.0, 0, 256, 1]]))
    )
    wanted = [[int(level * (1.0 - 0.7) + colour * 0.7) for colour in (14, 251, 249)] for level in range(256)]
    assert painted[0].tolist() == wanted


@pytest.mark.parametrize(("value", "byte"), [(0.0, 0), (0.5, 127), (1.0, 255), (1.004, 0), (-0.02, 251), (2.5, 125)])
@pytest.mark.parametrize(
    ("kind", "name"), [(DensePoseResultsUVisualizer, "u"), (DensePoseResultsVVisualizer, "v")], ids=["u", "v"]
)
def test_coordinates_wrap_around(kind, name, value, byte):
    canvas = np.zeros((1, 2, 3), np.uint8)
    data = [result([[0, 3]], **{name: value})], torch.tensor([[0.0, 0, 2, 1]])
    painted = kind(alpha=1.0).visualize(canvas, data)
    assert painted[0].tolist() == [[0, 0, 0], _parula()[byte].tolist()]


@pytest.mark.parametrize("box", [[3.0, 3, 0.9, 5], [3.0, 3, 5, 0.2], [3.0, 3, 0, 0]])
def test_boxes_thinner_than_a_pixel_are_not_painted(box):
    data = [result([[5]])], torch.tensor([box])
    canvas = np.full((10, 10, 3), 9, np.uint8)
    assert DensePoseResultsFineSegmentationVisualizer().visualize(canvas.copy(), data).tolist() == canvas.tolist()
    black = DensePoseResultsFineSegmentationVisualizer(inplace=False, alpha=1.0).visualize(canvas.copy(), data)
    assert not black.any()


@pytest.mark.parametrize("style", ["densepose", "idm-vton"])
@pytest.mark.parametrize("what", ["dp_segm", "dp_segm,bbox", "dp_u,dp_v"])
@pytest.mark.parametrize("field", [True, False], ids=["an empty field", "no field"])
def test_nobody_found_gives_the_grey_photo(what, style, field):
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    nobody = one_body([0.0, 0, 5, 5])[:0]
    if not field:
        nobody.remove("pred_densepose")
    assert np.array_equal(draw(photo, nobody, what, style), grey(photo))


def test_drawing_leaves_the_photo_alone_and_takes_views():
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    before = photo.copy()
    picture = draw(photo[:, :, ::-1], one_body([2.5, 3, 10.9, 12]))
    assert np.array_equal(photo, before) and picture.shape == photo.shape and picture.dtype == np.uint8
    changed = (picture != grey(photo[:, :, ::-1])).any(axis=2)
    assert np.argwhere(changed).min(0).tolist() == [3, 2] and np.argwhere(changed).max(0).tolist() == [11, 9]


def test_the_last_instance_alone_in_the_try_on_style():
    both = Instances.cat([one_body([1.0, 1, 9, 9]), one_body([15.0, 5, 25, 15], 0.8)])
    photo = np.full((20, 30, 3), 200, np.uint8)
    alone = draw(photo, both, style="idm-vton")
    assert not alone[:, :15].any()
    assert alone[5:15, 15:25].reshape(-1, 3).tolist() == [[163, 60, 37]] * 100
    assert np.array_equal(draw(photo, both, "dp_u,dp_segm", "idm-vton"), alone)  # what was there is painted black


def test_the_order_decides_what_lies_on_top():
    photo, people = np.full((20, 30, 3), 90, np.uint8), one_body([2.0, 4, 22, 16])
    pictures = [draw(photo, people, what) for what in ("dp_segm,dp_v", "dp_v,dp_segm")]
    assert pictures[0][10, 10].tolist() != pictures[1][10, 10].tolist()


def test_boxes_with_scores():
    photo = np.full((20, 30, 3), 90, np.uint8)
    wanted = grey(photo)
    cv2.rectangle(wanted, (2, 9), (22, 16), (18, 127, 15), 1)
    cv2.putText(wanted, "0.9000", (2, 9), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (218, 227, 218), 1, lineType=cv2.LINE_AA)
    assert np.array_equal(draw(photo, one_body([2.4, 9.6, 22.9, 16.9]), "bbox"), wanted)


@pytest.mark.parametrize("what", ["", "dp_contour", "dp_segm,", "dp_segm, bbox", "dp_segm,dp_vertex"])
def test_unknown_drawings(what):
    with pytest.raises(LitepredError, match=r"cannot draw '.*': expected one or more of dp_segm, dp_u, dp_v, bbox"):
        parse_names(what)


def test_other_mistakes():
    photo = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(LitepredError, match="style is 'idm': expected one of densepose, idm-vton"):
        draw(photo, one_body([0.0, 0, 5, 5]), style="idm")
    with pytest.raises(ImageError, match=r"\(10, 30\) pixels and the instances are of one with \(20, 30\)"):
        draw(photo[:10], one_body([0.0, 0, 5, 5]))


def test_texture_atlases():
    assert vis.get_texture_atlas(None) is None
    with pytest.raises(LitepredError, match=r"'a\.png' was given, but litepred draws no textures"):
        vis.get_texture_atlas("a.png")


def test_a_colour_map_of_the_callers():
    result = DensePoseChartResult(labels=torch.full((8, 8), 24, dtype=torch.uint8), uv=torch.zeros(2, 8, 8))
    visualizer = DensePoseResultsFineSegmentationVisualizer(alpha=1, cmap=cv2.COLORMAP_VIRIDIS)
    painted = visualizer.visualize(np.zeros((8, 8, 3), np.uint8), ([result], torch.tensor([[0.0, 0, 8, 8]])))
    expected = cv2.applyColorMap(np.full((1, 1), 255, np.uint8), cv2.COLORMAP_VIRIDIS)[0, 0]
    assert painted[4, 4].tolist() == expected.tolist()
    with pytest.raises(TypeError, match="colour"):
        DensePoseResultsFineSegmentationVisualizer(colour=1)
