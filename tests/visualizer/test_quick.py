import builtins
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from litepred import draw, show
from litepred.data import Metadata
from litepred.errors import LitepredError
from litepred.structures import Boxes, Instances
from litepred.visualizer import ColorMode

from .scenes import BOXES, HEIGHT, WIDTH, bitmasks, changed, image, instances

IDS = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
IDS[80:] = 1
SEGMENTS = [{"id": 1, "isthing": False, "category_id": 0}]
LOGITS = torch.stack([IDS.float(), 1 - IDS.float()])


@pytest.mark.parametrize("mode", ColorMode)
@pytest.mark.parametrize(
    ("outputs", "seen"),
    [
        ({}, False),
        ({"instances": instances(0)}, False),
        ({"instances": instances()}, True),
        ({"instances": instances(pred_masks=bitmasks())}, True),
        ({"instances": Instances((HEIGHT, WIDTH), pred_boxes=Boxes(torch.tensor(BOXES)))}, True),
        ({"sem_seg": LOGITS}, True),
        ({"panoptic_seg": (IDS, SEGMENTS)}, True),
        ({"proposals": Instances((HEIGHT, WIDTH), proposal_boxes=Boxes(torch.tensor(BOXES)))}, True),
    ],
    ids=["nothing", "none", "boxes", "masks", "no scores", "semantic", "panoptic", "proposals"],
)
def test_draw(outputs, seen, mode):
    picture = draw(image(), outputs, instance_mode=mode)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert changed(picture, image()).any() == seen


def test_stuff_is_tinted_behind_instances():
    outputs = {"instances": instances(), "sem_seg": LOGITS, "panoptic_seg": (IDS, SEGMENTS)}
    difference = changed(draw(image(), outputs), draw(image(), {"instances": instances()}))
    assert difference[115].all()
    assert not difference[:60, :70].any()


@pytest.mark.parametrize(("threshold", "number"), [(0.95, 0), (0.85, 1), (0.0, 3)])
def test_threshold(threshold, number):
    kept = instances()[:number]
    np.testing.assert_array_equal(
        draw(image(), {"instances": instances()}, threshold=threshold), draw(image(), {"instances": kept}, threshold=0)
    )


def test_images_are_bgr():
    red_in_bgr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red_in_bgr[:, :, 2] = 255
    metadata = Metadata(thing_classes=["cat"], thing_colors=[(0, 0, 255)])
    picture = draw(red_in_bgr, {"instances": instances(1)}, metadata, labels=False)
    assert picture[100, 100].tolist() == [0, 0, 255]
    assert picture[40, 10].tolist() == [255, 0, 0]  # the box's side


@pytest.mark.parametrize(
    "options", [{"line_width": 4}, {"opacity": 0.9}, {"labels": False}, {"scores": False}, {"font_size_scale": 2}]
)
def test_options(options):
    outputs = {"instances": instances(pred_masks=bitmasks())}
    assert changed(draw(image(), outputs, **options), draw(image(), outputs)).any()


def test_scale_and_gray():
    assert draw(image()[:, :, 0], {"instances": instances()}, scale=2).shape == (2 * HEIGHT, 2 * WIDTH, 3)


@pytest.fixture
def notebook(monkeypatch):
    """A stand-in for IPython that keeps what is displayed."""
    shown = []
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: "a shell"
    display.Image = lambda data, format: data
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


@pytest.mark.parametrize(("size", "expected"), [((HEIGHT, WIDTH), (WIDTH, HEIGHT)), ((100, 3200), (1600, 50))])
def test_show(notebook, tmp_path, size, expected):
    assert show(image(*size), {"instances": instances(0, size)}) is None
    (tmp_path / "shown.png").write_bytes(notebook[0])
    with Image.open(tmp_path / "shown.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == expected
    assert len(notebook) == 1


def test_show_outside_a_notebook(notebook):
    sys.modules["IPython"].get_ipython = lambda: None
    with pytest.raises(LitepredError, match="for notebooks"):
        show(image(), {})
    assert notebook == []


def test_show_without_ipython(monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name.startswith("IPython"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LitepredError, match="pip install ipython"):
        show(image(), {})
