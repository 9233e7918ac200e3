"""``litepred predict``, as typed."""

from __future__ import annotations

import pytest
from golden_answers import ASSETS
from PIL import Image

from litepred.cli import main

PAGE = ASSETS / "page_layout" / "skimage_page.png"


def test_predict_without_arguments(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("example_page.png: ")
    assert "title" in out
    assert out.count("\n") == 1
    with Image.open(tmp_path / "litepred-output" / "example_page.png") as picture:
        assert picture.size == (765, 990)


def test_pictures_show_what_was_found(tmp_path, capsys):
    assert main(["predict", str(PAGE), "--output", str(tmp_path), "--device", "cpu"]) == 0
    with Image.open(PAGE) as page, Image.open(tmp_path / "skimage_page.png") as picture:
        assert picture.size == page.size
        assert picture.mode == "RGB"
        assert len(picture.getcolors(1 << 24)) > len(page.convert("RGB").getcolors(1 << 24))
    assert [path.name for path in tmp_path.iterdir()] == ["skimage_page.png"]


def test_a_file_that_is_no_image_is_reported_and_the_rest_goes_on(tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    images = [str(tmp_path / "text.jpg"), str(tmp_path / "nowhere.png"), str(tmp_path), str(PAGE)]
    assert main(["predict", *images, "--output", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("skimage_page.png: ")
    assert captured.err.count("litepred: error: ") == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["skimage_page.png"]


def test_images_of_one_name_get_pictures_of_their_own(tmp_path, capsys):
    assert main(["predict", str(PAGE), str(PAGE), "--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["skimage_page-2.png", "skimage_page.png"]


def test_nothing_found(tmp_path, capsys):
    Image.new("L", (40, 30), 255).save(tmp_path / "blank.png")
    assert main(["predict", str(tmp_path / "blank.png"), "--output", str(tmp_path / "out"), "--threshold", "1"]) == 0
    assert "blank.png: nothing in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--device", "gpu"], "'gpu' is not a device"),
        (["--output", str(PAGE)], "cannot make the folder"),
    ],
)
def test_wrong_values_end_in_one_line(arguments, message, capsys):
    assert main(["predict", str(PAGE), *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("litepred: error: ")
    assert message in err
    assert "Traceback" not in err
