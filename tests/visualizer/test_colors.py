import numpy as np
import pytest
import torch

from litepred.data import Metadata, MetadataCatalog
from litepred.visualizer import class_color, colormap, random_color, random_colors
from litepred.visualizer.colors import palette_color, shades, to_rgb


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ("red", (255, 0, 0)),
        ("g", (0, 128, 0)),
        ("w", (255, 255, 255)),
        ("#f80", (255, 136, 0)),
        ("#ff8000", (255, 128, 0)),
        ("#ff800040", (255, 128, 0)),
        ("0.5", (128, 128, 128)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0.5, 0.0), (255, 128, 0)),
        ([1.0, 0.0, 0.0, 0.3], (255, 0, 0)),
        (np.array([0, 0, 1], np.float32), (0, 0, 255)),
    ],
)
def test_to_rgb(color, expected):
    assert to_rgb(color) == expected


@pytest.mark.parametrize("color", ["", "no such colour", "#12", "2", (), (1, 2), (255, 0, 0), (-0.1, 0, 0)])
def test_to_rgb_of_no_colour(color):
    with pytest.raises(ValueError, match="expected"):
        to_rgb(color)


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        ([(1, 2, 3)], (1, 2, 3)),
        ([[1, 1, 0]], (1, 1, 0)),
        ([(255.0, 2.0, 0.0, 1.0)], (255, 2, 0)),
        (np.array([[1, 2, 3], [4, 5, 6]]), (1, 2, 3)),
        (np.array([[255, 2, 3]], np.float32), (255, 2, 3)),
        (torch.tensor([[1, 2, 3]]), (1, 2, 3)),
        ([np.array([1, 1, 0])], (1, 1, 0)),
        ({0: (1, 2, 3), 7: (4, 5, 6)}, (1, 2, 3)),
        (["#ff8000"], (255, 128, 0)),
        (["red", (1, 2, 3)], (255, 0, 0)),
        ([(1.0, 0.5, 0.0)], (255, 128, 0)),
        (np.array([[1, 0.5, 0]], np.float32), (255, 128, 0)),
        ([np.array([1, 0.5, 0], np.float32)], (255, 128, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["thing", "stuff"])
def test_class_color_is_the_data_set_s_own_first(colors, expected, kind):
    color = class_color(Metadata(**{f"{kind}_colors": colors}), 0, kind)
    assert color == expected
    assert {type(part) for part in color} == {int}


@pytest.mark.parametrize("index", [0, 1, 80, 1203, 10**9, -1])
def test_class_color_of_a_class_without_one_follows_from_its_number(index):
    color = class_color(Metadata(), index)
    assert color == class_color(Metadata(name="another"), index)
    assert all(0 <= v <= 255 for v in color)
    assert color != class_color(Metadata(), index + 1)


def test_shades_start_with_the_class_colour_and_stay_near_it():
    metadata = MetadataCatalog.get("coco_2017_val")
    assert shades(metadata, []) == []
    colors = shades(metadata, [0, 0, 1, 0])
    assert colors[0] == class_color(metadata, 0)
    assert colors[2] == class_color(metadata, 1)
    assert len({colors[0], colors[1], colors[3]}) == 3
    assert colors == shades(metadata, [0, 0, 1, 0])
    assert all(max(abs(a - b) for a, b in zip(colors[0], one)) < 130 for one in (colors[1], colors[3]))


def test_neighbours_in_the_palette_differ():
    for i in range(100):
        assert sum(abs(a - b) for a, b in zip(palette_color(i), palette_color(i + 1))) > 60


@pytest.mark.parametrize(("rgb", "maximum"), [(False, 255), (True, 255), (True, 1)])
def test_colormap(rgb, maximum):
    colors = colormap(rgb, maximum)
    assert colors.dtype == np.float32
    assert colors.shape[1] == 3
    assert 0.8 * maximum < colors.max() <= maximum
    assert len(np.unique(colors, axis=0)) == len(colors)
    np.testing.assert_array_equal(colors, colormap(not rgb, maximum)[:, ::-1])
    assert random_color(rgb, maximum).tolist() in colors.tolist()


@pytest.mark.parametrize("number", [0, 1, 72, 200])
def test_random_colors(number):
    colors = random_colors(number, rgb=True, maximum=1)
    assert len(colors) == number
    assert len({tuple(color.tolist()) for color in colors}) == min(number, 72)


def test_colormap_of_another_maximum():
    with pytest.raises(ValueError, match="maximum is 2"):
        colormap(maximum=2)
