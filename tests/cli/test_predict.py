"""``litepred predict``, as typed."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack, nullcontext
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import torch
from full_disk import disk_with_room_for
from golden_answers import ASSETS
from PIL import Image
from tiny_models import golden, tiny_cfg

from litepred import Predictor
from litepred.cli import answers, inputs, main, predict
from litepred.cli.arguments import CommandParser
from litepred.cli.main import _Terminated
from litepred.cli.outputs import Item, RunFiles, all_files, name_items
from litepred.data import Metadata, VideoReader, image_to_array, video_file
from litepred.errors import ImageError
from litepred.files import check_targets
from litepred.results import rgb_to_id
from litepred.selection import class_number
from litepred.structures import Instances

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
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


@pytest.mark.parametrize(("arguments", "same"), [([], True), (["--threshold", "0.66"], False)])
def test_readmes_picture_is_what_the_command_writes(arguments, same, tmp_path):
    """At most 0.05 % of its pixels, fewer than a name takes, differ by more than 16 of 255 levels.

    Another processor or version of FreeType changes less; one instance fewer, as with the threshold here, far more.
    """
    assert main(["predict", "--output", str(tmp_path), *arguments]) == 0
    with Image.open(tmp_path / "example_page.png") as ours, Image.open(EXAMPLES / "example_page.png") as shown:
        assert ours.size == shown.size
        one, other = (np.asarray(picture.convert("RGB"), np.int16) for picture in (ours, shown))
    differing = (np.abs(one - other).max(axis=2) > 16).mean()
    assert (differing <= 0.0005) == same


def test_pictures_show_what_was_found(tmp_path, capsys):
    assert main(["predict", str(PAGE), "--output", str(tmp_path), "--device", "cpu"]) == 0
    with Image.open(PAGE) as page, Image.open(tmp_path / "skimage_page.png") as picture:
        assert picture.size == (3 * page.width, 3 * page.height)  # it is small: its labels need room
        assert picture.mode == "RGB"
        assert len(picture.getcolors(1 << 24)) > len(page.convert("RGB").getcolors(1 << 24))
    assert [path.name for path in tmp_path.iterdir()] == ["skimage_page.png"]


def test_a_file_that_is_no_image_is_reported_and_the_rest_goes_on(tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    images = [str(tmp_path / "text.jpg"), str(tmp_path / "nowhere.png"), str(tmp_path), str(PAGE)]
    assert main(["predict", *images, "--output", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("[3/3] skimage_page.png: ")  # of two that cannot be read
    assert captured.err.count("litepred: error: ") == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["skimage_page.png"]


def test_images_of_one_name_get_pictures_of_their_own(tmp_path, capsys):
    assert main(["predict", str(PAGE), str(PAGE), "--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["skimage_page-2.png", "skimage_page.png"]


@pytest.mark.parametrize(
    ("given", "stems"),
    [
        ([], []),
        (["a/page.png", "b/page.jpg", "page-2.png"], ["page", "page-2", "page-2-2"]),
        (["a/Page.png", "b/page.PNG", "c/PAGE.jpg"], ["Page", "page-2", "PAGE-3"]),
        (["a/\u00e9t\u00e9.png", "b/e\u0301te\u0301.png"], ["\u00e9t\u00e9", "e\u0301te\u0301-2"]),
        (["x.png", "x-2.png", "x.jpg", "x.tif"], ["x", "x-2", "x-3", "x-4"]),
        (["camera:0"], ["camera-0"]),
        (["camera:0", "camera-0-000005.png"], ["camera-0", "camera-0-000005-2"]),  # which a frame has
        (["rtsp://[::1", "a.png"], ["stream", "a"]),
    ],
)
def test_no_file_system_takes_two_stems_for_one(given, stems):
    assert [item.stem for item in name_items(given)] == stems


@pytest.mark.parametrize(
    ("given", "in_parts", "ids"),
    [
        (["7.png", "12.png"], False, [7, 12]),
        (["a.png", "b.png"], False, [None, None]),
        (["a.png", "b.png"], True, [1, 2]),
        (["rtsp://h/1"], False, [None]),  # each of its frames has a number of its own
        (["1.png", "camera:0"], True, [None, None]),
    ],
)
def test_numbers_of_images(given, in_parts, ids):
    assert [item.image_id for item in name_items(given, in_parts)] == ids


def test_passwords_stay_out_of_names():
    assert [item.name for item in name_items(["rtsp://u:p@ss@h/1", "rtsp://h:5/1"])] == ["rtsp://h/1", "rtsp://h:5/1"]


@pytest.mark.parametrize("pattern", ["{}.png", "{}/page.png"])
def test_many_files_are_begun_at_once(pattern, tmp_path, monkeypatch):
    """What is done before the first image takes seconds for a million of them, not hours."""
    resolved = []
    realpath = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: resolved.append(path) or realpath(path))
    items = name_items([str(tmp_path / "in" / pattern.format(i)) for i in range(20_000)])
    options = argparse.Namespace(output=tmp_path / "out", save_images=True, save_json=False)
    options.coco = options.csv = options.panoptic = options.labels = options.format = None
    check_targets([item.source for item in items], all_files(options, items))
    assert len({item.stem for item in items}) == 20_000
    assert len(resolved) == 1 + len({os.path.dirname(item.source) for item in items})  # a folder once


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
        (["--output", str(PAGE)], "expected a folder, in which each picture is named"),
    ],
)
def test_wrong_values_end_in_one_line(arguments, message, capsys):
    assert main(["predict", str(PAGE), *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("litepred: error: ")
    assert message in err
    assert "Traceback" not in err


def small_page(path, size=(96, 64)):
    """Part of a page, which takes a fraction of a second; its answers do not matter."""
    with Image.open(PAGE) as page:
        page.convert("RGB").crop((0, 0, *size)).save(path)


@pytest.fixture(scope="session")
def quick_predictor():
    """A panoptic model that takes milliseconds."""
    cfg = tiny_cfg("panoptic")
    cfg.INPUT.MIN_SIZE_TEST = 64
    return Predictor(cfg, weights=golden(cfg).state_dict(), class_names=["text", "title", "list"])


@pytest.fixture
def pages(tmp_path, monkeypatch, quick_predictor):
    """A working folder with two pages, a file that is none, and one of another kind; and a quick default model."""

    def ready(config, **options):
        return Predictor(config, **options) if config else quick_predictor

    monkeypatch.setattr("litepred.predictor.Predictor", ready)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pages"
    folder.mkdir()
    small_page(folder / "a.png")
    small_page(folder / "c.PNG")
    (folder / "b.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")
    (folder / ".hidden.png").write_text("nor this")
    return folder


def told_of(line: str) -> str:
    """The image that a line of the output is about, such as ``[2/3] a.png: nothing``."""
    return re.sub(r"^\[\d+/\d+\] ", "", line).split(":")[0]


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestInputs:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], []),
            (["pages"], ["a.png", "b.jpg", "c.PNG"]),
            (["pages/*.jpg"], ["b.jpg"]),
            (["pages/[ab].*"], ["a.png", "b.jpg"]),
            (["**/c.PNG", "pages/notes.txt"], ["c.PNG", "notes.txt"]),
            (["camera:0"], ["camera:0"]),
            (["http://192.168.0.5:8080/video"], ["video"]),
        ],
    )
    def test_what_names_stand_for(self, arguments, expected, pages):
        assert [os.path.basename(str(one)) for one in inputs.expand(arguments)] == expected

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("*.tif", "no file matches"),
            ("empty", "has no image or video in it: expected files such as .png, .jpg or .mp4"),
            (".", f"; {os.path.join('.', '**', '*.jpg')!r} reads those of its subfolders"),
            ("nowhere.png", "there is no file"),
            ("pages/a.pgn", "did you mean 'pages/a.png'?"),
            ("https://host/a.png", "download the file first"),
            ("file:///a.png", "addresses are not opened, give its path"),
            ("-", "standard input is not read"),
            ("0", "a camera is camera:0"),
        ],
    )
    def test_names_that_stand_for_nothing(self, name, message, pages):
        (pages.parent / "empty").mkdir()
        (error,) = inputs.expand([name])
        assert isinstance(error, ImageError)
        assert message in str(error)

    def test_a_folder_that_may_not_be_read(self, pages, monkeypatch):
        def locked(name):
            raise PermissionError(13, "Permission denied", name)

        monkeypatch.setattr(os, "listdir", locked)
        error, file = inputs.expand(["pages", "pages/a.png"])
        assert "the folder 'pages' cannot be read: Permission denied" in str(error)
        assert file == "pages/a.png"

    def test_a_file_whose_name_looks_like_a_pattern(self, pages):
        small_page(pages / "[1].png")
        assert list(inputs.expand(["pages/[1].png"])) == ["pages/[1].png"]
        (pages / "[2]").mkdir()
        small_page(pages / "[2]" / "a.png")
        assert list(inputs.expand(["pages/[2]/*.png", "pages/[2]"])) == ["pages/[2]/a.png"] * 2

    @pytest.mark.parametrize("name", ["Größe/é.png", "Größe/*.png", "Größe/é*", "Größe/**/*.png", "**/é.*", "Größe"])
    @pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
    def test_folders_and_files_in_the_other_form(self, name, form, other, pages):
        folder = pages / normalize(form, "Größe")
        folder.mkdir()
        small_page(folder / normalize(other, "é.png"))
        assert list(inputs.expand([normalize(other, f"pages/{name}")])) == [
            f"pages/{folder.name}/{normalize(other, 'é.png')}"
        ]

    @pytest.mark.skipif(os.name == "nt", reason="Windows lets few people make links")
    @pytest.mark.parametrize("pattern", ["**/*.png", "pages/**/*.png"])
    def test_links_to_a_folder_lead_to_its_images_once(self, pattern, pages):
        (pages / "above").symlink_to(pages.parent)
        (pages / "again").symlink_to(pages)
        (pages / "same.png").symlink_to("a.png")  # an image in its own right
        assert list(inputs.expand([pattern])) == ["pages/a.png", "pages/same.png"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
    def test_a_pipe_is_not_waited_for(self, pages):
        os.mkfifo(pages / "d.png")
        assert inputs.is_video(str(pages / "d.png")) is False
        assert len(list(inputs.expand(["pages"]))) == 4

    @pytest.mark.parametrize("batch_size", [None, 1, 2, 3])
    @pytest.mark.parametrize("broken", [(), (0,), (5,), (1, 2, 3), (0, 1, 2, 3, 4, 5)])
    def test_broken_files_stand_at_their_turn(self, quick_predictor, broken, batch_size, tmp_path):
        for i in range(6):
            if i in broken:
                (tmp_path / f"{i}.png").write_text("no picture")
            else:
                small_page(tmp_path / f"{i}.png", (32 + i, 24))
        found = list(inputs.predict_files(quick_predictor, range(6), lambda i: tmp_path / f"{i}.png", batch_size))
        assert [i for i, _, _ in found] == list(range(6))
        for i, image, answer in found:
            if i in broken:
                assert image is None
                assert isinstance(answer, ImageError)
            else:
                assert image.shape == (24, 32 + i, 3)
                assert answer["instances"].image_size == (24, 32 + i)

    def test_no_more_than_a_few_are_read_ahead(self, quick_predictor, tmp_path):
        small_page(tmp_path / "a.png")
        asked = []
        running = inputs.predict_files(quick_predictor, range(1000), lambda i: asked.append(i) or tmp_path / "a.png", 1)
        next(running)
        assert max(asked) <= 8
        running.close()


class TestFiles:
    def test_all_files_of_a_run(self, pages, capsys):
        options = ["--save-json", "--coco", "c.json", "--csv", "c.csv", "--panoptic", "pan", "--labels", "lab"]
        assert main(["predict", "pages", "--threshold", "0", *options]) == 1
        captured = capsys.readouterr()
        assert [told_of(line) for line in captured.out.splitlines()] == ["a.png", "c.PNG"]
        assert captured.err.count("litepred: error: ") == 1
        assert "2 of 3 images and frames" in captured.err
        assert "1 could not be read" in captured.err
        assert names(pages.parent) == ["c.csv", "c.json", "lab", "litepred-output", "pages", "pan"]
        assert names(pages.parent / "litepred-output") == ["a.json", "a.png", "c.json", "c.png"]
        assert names(pages.parent / "pan") == ["a.png", "c.png", "panoptic.json"]
        facts = json.loads((pages.parent / "litepred-output" / "a.json").read_text())
        assert (facts["file"], facts["width"], facts["height"]) == ("a.png", 96, 64)
        entries = json.loads((pages.parent / "c.json").read_text())
        with (pages.parent / "c.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(entries) == 2 * len(facts["instances"]) > 0
        assert [float(row["score"]) for row in rows] == [entry["score"] for entry in entries]
        assert {(entry["image_id"], entry["file_name"]) for entry in entries} == {(1, "a.png"), (2, "c.PNG")}
        assert all(isinstance(entry["segmentation"]["counts"], str) for entry in entries)
        panoptic = json.loads((pages.parent / "pan" / "panoptic.json").read_text())
        assert [image["id"] for image in panoptic["images"]] == [1, 2]
        for entry in panoptic["annotations"]:
            with Image.open(pages.parent / "pan" / entry["file_name"]) as picture:
                ids = rgb_to_id(np.asarray(picture))
            assert {one["id"]: one["area"] for one in entry["segments_info"]} == {
                int(i): int((ids == i).sum()) for i in np.unique(ids) if i
            }
        with Image.open(pages.parent / "lab" / "a.png") as picture:
            assert picture.size == (96, 64)
            assert set(np.unique(np.asarray(picture))) <= {0, 1, 2, 3}

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("input_format", ["BGR", "RGB"])
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_pictures_of_four_bands_have_the_colours_of_the_file(self, workers, input_format, pages):
        cfg = tiny_cfg("fpn")
        cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.INPUT.FORMAT = [100.0] * 4, [50.0] * 4, input_format
        cfg.INPUT.MIN_SIZE_TEST = 64
        Path("config.yaml").write_text(cfg.dump())
        colours = np.random.default_rng(0).integers(0, 256, (240, 240, 4), dtype=np.uint8)
        for name in "xy":
            Image.fromarray(colours).save(pages / f"{name}.png")
        typed = ["pages/x.png", "pages/y.png", "--config", "config.yaml", "--threshold", "1", "--workers", workers]
        assert main(["predict", *typed]) == 0
        with Image.open("litepred-output/x.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), colours[:, :, :3])

    def test_nothing_found_gives_valid_files(self, pages, capsys):
        options = ["--threshold", "1", "--no-save-images", "--coco", "c.json", "--csv", "c.csv"]
        assert main(["predict", "pages/a.png", *options]) == 0
        assert json.loads((pages.parent / "c.json").read_text()) == []
        assert (pages.parent / "c.csv").read_text().count("\n") == 1
        assert names(pages.parent) == ["c.csv", "c.json", "pages"]
        assert capsys.readouterr().out.startswith("a.png: nothing in ")

    def test_images_of_one_name_are_told_apart_in_results(self, pages, capsys):
        (pages / "more").mkdir()
        shutil.copy(pages / "a.png", pages / "more")
        given = [os.path.join("pages", "a.png"), os.path.join("pages", "more", "a.png")]
        options = ["--no-save-images", "--threshold", "0", "--save-json", "--coco", "c.json", "--csv", "c.csv"]
        assert main(["predict", *given, *options, "--panoptic", "pan"]) == 0
        assert [told_of(line) for line in capsys.readouterr().out.splitlines()] == given
        with (pages.parent / "c.csv").open(newline="") as file:
            assert {row["file"] for row in csv.DictReader(file)} == {*given}
        assert {entry["file_name"] for entry in json.loads((pages.parent / "c.json").read_text())} == {*given}
        panoptic = json.loads((pages.parent / "pan" / "panoptic.json").read_text())
        assert [image["file_name"] for image in panoptic["images"]] == given
        facts = json.loads((pages.parent / "litepred-output" / "a-2.json").read_text())
        assert facts["file"] == given[1]

    @pytest.mark.parametrize(("files", "ids"), [(["12.png", "007.png"], {12, 7}), (["12.png", "x.png"], {1, 2})])
    def test_image_ids_by_name_or_counted(self, files, ids, pages):
        for name in files:
            shutil.copy(PAGE, name)
        assert main(["predict", *files, "--no-save-images", "--coco", "c.json"]) == 0
        assert {entry["image_id"] for entry in json.loads((pages.parent / "c.json").read_text())} == ids

    @pytest.mark.parametrize("number", [3, 81])
    def test_ids_of_a_data_set_with_another_number_of_classes_are_left_out(self, number, pages):
        cfg = tiny_cfg("panoptic")
        cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = (
            64,
            number,
            0.0,
        )
        cfg.DATASETS.TEST = ("coco_2017_val_panoptic_separated",)
        Path("config.yaml").write_text(cfg.dump())
        torch.save(golden(cfg).state_dict(), "model.pth")
        model = ["--config", "config.yaml", "--weights", "model.pth", "--threshold", "0", "--no-save-images"]
        assert main(["predict", "pages/a.png", *model, "--coco", "c.json", "--panoptic", "pan"]) == 0
        found = {row["category_id"] for row in json.loads(Path("c.json").read_text())}
        assert found and found <= {*range(number)}
        panoptic = json.loads(Path("pan/panoptic.json").read_text())
        categories = {one["id"]: one for one in panoptic["categories"]}
        assert [*categories] == [*range(number + 54)]
        assert [categories[i]["isthing"] for i in (0, number - 1, number)] == [1, 1, 0]
        for segment in panoptic["annotations"][0]["segments_info"]:
            assert categories[segment["category_id"]]["isthing"] == segment["isthing"]

    @pytest.mark.parametrize(("typed", "times"), [([], 0), (["--track"], 1)])
    def test_tracking_without_a_video_is_told_once(self, typed, times, pages, capsys):
        assert main(["predict", "pages/a.png", "pages/c.PNG", "--no-save-images", *typed]) == 0
        assert capsys.readouterr().err.count("--track numbers what is found in videos, and there is none") == times

    def test_classes_by_name_and_number(self, pages, capsys):
        counts = []
        for classes in ("title", "1", "title, 1"):
            options = ["--no-save-images", "--save-json", "--classes", classes]
            assert main(["predict", "pages/a.png", *options]) == 0
            facts = json.loads((pages.parent / "litepred-output" / "a.json").read_text())
            assert {one["category"] for one in facts["instances"]} == {"title"}
            counts.append(len(facts["instances"]))
        assert len(set(counts)) == 1

    def test_existing_files_are_skipped(self, pages, capsys):
        assert main(["predict", "pages/a.png"]) == 0
        before = (pages.parent / "litepred-output" / "a.png").stat().st_mtime_ns
        assert main(["predict", "pages/a.png", "pages/c.PNG", "--skip-existing"]) == 0
        captured = capsys.readouterr()
        assert [told_of(line) for line in captured.out.splitlines()] == ["a.png", "c.PNG"]
        assert "1 skipped" in captured.err
        assert (pages.parent / "litepred-output" / "a.png").stat().st_mtime_ns == before

    def test_parts_share_the_images(self, pages, capsys):
        (pages / "more").mkdir()
        shutil.copy(pages / "a.png", pages / "more" / "a.png")
        for part, share in {
            "1/1": ["a-2.json", "a.json", "c.json"],
            "1/2": ["a-2.json", "a.json"],
            "2/2": ["c.json"],
            "3/4": ["a-2.json"],
            "4/4": [],
        }.items():
            output = part.replace("/", "-")
            typed = ["predict", "pages/*.[pP]*", "pages/more", "--no-save-images", "--save-json", "--output", output]
            assert main([*typed, "--part", part]) == 0
            assert names(pages.parent / output) == share

    def test_a_world_file_that_is_none_is_reported_and_the_rest_goes_on(self, pages, capsys):
        (pages / "a.pgw").write_text("1,5 0 0 -1 0 0")
        assert main(["predict", "pages/a.png", "pages/c.PNG", "--format", "geojson,cvat", "--no-save-images"]) == 1
        captured = capsys.readouterr()
        assert "a.pgw' is no geotransform: expected six numbers" in captured.err
        assert "1 of 2 images and frames" in captured.err
        assert names(pages.parent / "litepred-output" / "geojson") == ["c.geojson"]
        assert names(pages.parent / "litepred-output" / "cvat") == ["annotations.xml"]

    @pytest.mark.parametrize("masks", ["rle", "polygon", "none"])
    def test_masks(self, masks, pages):
        options = ["--no-save-images", "--coco", "c.json", "--mask-format", masks]
        assert main(["predict", str(PAGE), *options]) == 0
        kinds = {type(entry.get("segmentation")) for entry in json.loads((pages.parent / "c.json").read_text())}
        assert kinds == {{"rle": dict, "polygon": list, "none": type(None)}[masks]}

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("family", ["semantic", "proposals"])
    def test_models_without_instances(self, family, pages, capsys):
        (pages.parent / "config.yaml").write_text(tiny_cfg(family).dump())
        model = ["predict", "pages/a.png", "--config", "config.yaml"]
        assert main([*model, "--save-json"]) == 0
        facts = json.loads((pages.parent / "litepred-output" / "a.json").read_text())
        assert facts[{"semantic": "stuff", "proposals": "proposals"}[family]]
        for options, message in (
            (["--coco", "c.json"], "--coco needs 'instances'"),
            (["--classes", "1"], "--classes"),
            (["--format", "yolo"], "--format needs 'instances'"),
        ):
            assert main([*model, *options]) == 1
            assert message in capsys.readouterr().err
        assert "c.json" not in names(pages.parent)


NOTHING: dict = {"instances": Instances((9, 9))}
EVERY_FORMAT = {
    "yolo": ["data.yaml", "labels/a.txt", "labels/c.txt"],
    "labelme": ["a.json", "c.json"],
    "cvat": ["annotations.xml"],
    "label-studio": ["config.xml", "tasks.json"],
    "geojson": ["a.geojson", "c.geojson"],
}


class TestFormats:
    @pytest.mark.parametrize("typed", [["cvat"], ["YOLO, labelme", "geojson,yolo"], [*EVERY_FORMAT]])
    def test_each_has_a_folder(self, typed, pages, capsys):
        """An option that is typed twice counts twice."""
        options = [part for text in typed for part in ("--format", text)]
        assert main(["predict", "pages", *options, "--threshold", "0"]) == 1  # b.jpg is no image
        output, wanted = pages.parent / "litepred-output", {name.strip() for name in ",".join(typed).lower().split(",")}
        found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
        assert found == {"a.png", "c.png", *(f"{name}/{file}" for name in wanted for file in EVERY_FORMAT[name])}
        told = capsys.readouterr().out
        assert (os.path.join("labelme", "a.json") in told) == ("labelme" in wanted)

    def test_what_is_in_them(self, pages):
        """Instances, by the names of classes that the model has; boxes with ``--mask-format none``."""
        formats = ["--format", "labelme,label-studio", "--no-save-images", "--threshold", "0"]
        output = pages.parent / "litepred-output"
        for masks in ("polygon", "none"):
            assert main(["predict", "pages/a.png", *formats, "--mask-format", masks]) == 0
            facts = json.loads((output / "labelme" / "a.json").read_text())
            assert facts["imagePath"] == "../../pages/a.png" and facts["shapes"]
            assert {shape["label"] for shape in facts["shapes"]} <= {"text", "title", "list"}
            kinds = {shape["shape_type"] for shape in facts["shapes"]}
            assert kinds == {"rectangle"} if masks == "none" else kinds & {"polygon", "mask"}
            (task,) = json.loads((output / "label-studio" / "tasks.json").read_text())
            assert task["data"]["image"].endswith("?d=pages/a.png")
            assert len(task["predictions"][0]["result"]) == len(facts["shapes"])

    def test_frames_of_a_video(self, pages):
        with video_file(pages / "v.mp4", 10.0, (64, 96)) as add:
            for value in (0, 255):
                add(np.full((64, 96, 3), value, np.uint8))
        assert main(["predict", "pages/v.mp4", "--format", "labelme", "--save-json", "--no-save-images"]) == 0
        folder = pages.parent / "litepred-output"
        assert names(folder / "labelme") == ["v-000000.json", "v-000001.json"]
        assert json.loads((folder / "labelme" / "v-000001.json").read_text())["imagePath"] == "../../pages/v-000001.png"
        assert [one["frame"] for one in json.loads((folder / "v.json").read_text())] == [0, 1]

    def test_stuff_is_in_the_pictures_of_a_video(self, tmp_path, monkeypatch):
        shown = []
        monkeypatch.setattr("litepred.data.video_file", lambda *_: nullcontext(shown.append))
        options = argparse.Namespace(save_images=True, save_json=False, output=tmp_path, mask_format=None, track=False)
        options.coco = options.csv = options.panoptic = options.labels = options.format = None
        item = Item("street.mp4", "street.mp4", "street", None, True)
        ids = torch.zeros(64, 96, dtype=torch.int32)
        ids[32:] = 1
        stuff = {"panoptic_seg": (ids, [{"id": 1, "isthing": False, "category_id": 0}])}
        with ExitStack() as stack:
            files = RunFiles(options, Metadata(), stack)
            with files.video(item, argparse.Namespace(fps=1.0, is_camera=True)) as add:
                one = argparse.Namespace(frame=np.full((64, 96, 3), 90, np.uint8), index=0, time_s=0.0)
                add(one, {"instances": Instances((64, 96)), **stuff})
        (picture,) = shown
        assert (picture[:30] == 90).all() and (picture[34:] != 90).any(axis=2).all()

    def test_passwords_of_addresses_stay_out(self, tmp_path):
        options = argparse.Namespace(save_images=False, save_json=False, output=tmp_path, mask_format=None, track=False)
        options.coco = options.csv = options.panoptic = options.labels = None
        options.format = ["labelme", "cvat", "label-studio", "geojson"]
        (item,) = name_items(["rtsp://me:secret@host/street"])
        with ExitStack() as stack:
            files = RunFiles(options, Metadata(), stack)
            with files.video(item, argparse.Namespace(fps=1.0, is_camera=True)) as add:
                add(argparse.Namespace(frame=np.zeros((9, 9, 3), np.uint8), index=0, time_s=0.0), NOTHING)
        texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
        assert len(texts) == 5 and all("secret" not in text for text in texts)
        assert sum("street-000000.png" in text for text in texts) == 4

    def test_existing_files_are_skipped(self, pages, capsys):
        options = ["--format", "labelme,geojson", "--no-save-images", "--skip-existing"]
        assert main(["predict", "pages/a.png", *options]) == 0
        assert main(["predict", "pages/a.png", "pages/c.PNG", *options]) == 0
        assert "1 skipped" in capsys.readouterr().err
        (pages.parent / "litepred-output" / "geojson" / "a.geojson").unlink()
        assert main(["predict", "pages/a.png", "pages/c.PNG", *options]) == 0
        assert (pages.parent / "litepred-output" / "geojson" / "a.geojson").is_file()

    def test_an_error_leaves_no_file_of_the_whole_run(self, pages, monkeypatch):
        def broken(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(RunFiles, "add", broken)
        main(["predict", "pages/a.png", "--format", "cvat,label-studio,yolo", "--no-save-images"])
        assert not [path for path in (pages.parent / "litepred-output").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "titel"], "is no class of this model: it has title …, or 0 to 2"),
        (["--classes", "5"], "--classes has '5', which is no class of this model: it has text, title, list, or 0 to 2"),
        (["--coco", "nowhere/c.json"], f"cannot write {os.path.join('nowhere', 'c.json')!r}"),
        (["--csv", "pages"], "cannot write 'pages': it is a folder"),
        (["--skip-existing", "--csv", "c.csv"], "would leave images out of --csv"),
        (["--workers", "2", "--batch-size", "4"], "--batch-size has no effect: drop one or the other"),
        (["--skip-existing", "--no-save-images"], "none are written"),
        (["--skip-existing", "--format", "labelme,yolo"], "would leave images out of --format yolo"),
        (["--output", "pages"], "is both read and written"),
        (["--labels", "pages"], "a.png' is both read and written"),
        (["--panoptic", "pages"], "a.png' is both read and written"),
        (["--coco", "pages/a.png"], "expected a name that ends in .json"),
        (["--csv", "a.json"], "expected a name that ends in .csv"),
        (["--output", "out", "--labels", "out"], "a.png' is to be written twice"),
        (["--panoptic", "out", "--labels", "pages/../out"], "a.png' is to be written twice"),
        (["--coco", "c.txt", "--csv", "./c.txt"], "'c.txt' is to be written twice"),
        (["--panoptic", "pages/notes.txt"], "cannot make the folder --panoptic"),
    ],
)
def test_wrong_options(arguments, message, pages, capsys):
    before, page = names(pages.parent), (pages / "a.png").read_bytes()
    assert main(["predict", "pages/a.png", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert (pages / "a.png").read_bytes() == page
    assert [name for name in names(pages.parent) if name != "litepred-output"] == before


def test_a_file_is_not_written_over_under_another_name(pages, capsys):
    """A second name stands for what a file system that ignores case makes of c.PNG and c.png."""
    before = (pages / "c.PNG").read_bytes()
    (pages.parent / "out").mkdir()
    os.link(pages / "c.PNG", pages.parent / "out" / "c.png")
    assert main(["predict", "pages/c.PNG", "--output", "out"]) == 1
    assert "is both read and written" in capsys.readouterr().err
    assert (pages / "c.PNG").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sets no limit to the size of files")
@pytest.mark.parametrize("entries", [0, 1000], ids=["at the end", "in the middle"])
@pytest.mark.parametrize("option", ["--coco", "--csv"])
def test_a_disk_that_gets_full(option, entries, pages, monkeypatch, capsys):
    from litepred.results import instances_to_coco_json

    def many(*arguments, **options):
        return instances_to_coco_json(*arguments, **options) * entries

    monkeypatch.setattr("litepred.results.instances_to_coco_json", many)
    with disk_with_room_for(0):
        assert main(["predict", "pages/a.png", "--threshold", "0", "--no-save-images", option, "results"]) == 1
    assert capsys.readouterr().err == "litepred: error: cannot write 'results': File too large\n"


class TestVideo:
    @pytest.fixture
    def video(self, pages):
        with video_file(pages / "v.mp4", 5, (64, 96)) as add_frame, Image.open(PAGE) as page:
            frame = np.ascontiguousarray(np.asarray(page.convert("RGB"))[:64, :96])
            for _ in range(3):
                add_frame(frame)
        return pages / "v.mp4"

    def test_a_video_among_images(self, video, capsys):
        options = ["--save-json", "--csv", "c.csv", "--threshold", "0", "--panoptic", "pan"]
        assert main(["predict", "pages/a.png", "pages/v.mp4", *options]) == 0
        captured = capsys.readouterr()
        assert "v.mp4: 3 frames in " in captured.out
        assert "4 of 4 images and frames" in captured.err
        folder = video.parent.parent / "litepred-output"
        assert names(folder) == ["a.json", "a.png", "v.json", "v.mp4"]
        with VideoReader(folder / "v.mp4") as reader:
            assert (reader.fps, reader.frame_count) == (5.0, 3)
        frames = json.loads((folder / "v.json").read_text())
        assert [(one["frame"], one["time_s"]) for one in frames] == [(0, 0.0), (1, 0.2), (2, 0.4)]
        with (video.parent.parent / "c.csv").open(newline="") as file:
            assert {(row["file"], row["frame"]) for row in csv.DictReader(file)} == {
                ("a.png", ""), ("v.mp4", "0"), ("v.mp4", "1"), ("v.mp4", "2")
            }  # fmt: skip
        assert names(folder.parent / "pan") == [
            *("a.png", "panoptic.json", "v-000000.png", "v-000001.png", "v-000002.png"),
        ]

    def test_a_video_is_not_skipped_for_its_first_frames(self, video, capsys):
        options = ["--format", "labelme", "--no-save-images", "--skip-existing"]
        for _ in range(2):
            assert main(["predict", "pages/v.mp4", *options]) == 0
            captured = capsys.readouterr()
            assert "v.mp4: 3 frames in " in captured.out and "skipped" not in captured.err

    def test_sigterm_ends_the_whole_run(self, video, monkeypatch, capsys):
        class Camera(VideoReader):
            def __init__(self, source):
                super().__init__(video)
                self.is_camera, self.frame_count = True, None

            def __iter__(self):
                yield from super().__iter__()
                raise _Terminated

        monkeypatch.setattr("litepred.data.VideoReader", Camera)
        monkeypatch.setattr("litepred.predictor.VideoReader", Camera)
        assert main(["predict", "camera:0", "camera:1"]) == 143
        assert names(video.parent.parent) == ["litepred-output", "pages"]
        assert names(video.parent.parent / "litepred-output") == []

    def test_what_is_no_video_is_reported(self, video, capsys):
        video.write_text("no video")
        assert main(["predict", "pages/v.mp4", "pages/a.png"]) == 1
        captured = capsys.readouterr()
        assert "cannot be opened as a video" in captured.err
        assert captured.out.startswith("[2/2] a.png: ")
        assert names(video.parent.parent / "litepred-output") == ["a.png"]

    def test_a_camera_ends_with_an_interrupt_and_a_whole_video(self, video, monkeypatch, capsys):
        class Camera(VideoReader):
            def __init__(self, source):
                super().__init__(video)
                self.is_camera, self.frame_count = True, None

            def __iter__(self):
                for index, _, frame in super().__iter__():
                    yield index, 0.4 * index, frame  # slower than its 5 frames per second
                raise KeyboardInterrupt

        monkeypatch.setattr("litepred.data.VideoReader", Camera)
        monkeypatch.setattr("litepred.predictor.VideoReader", Camera)
        assert main(["predict", "camera:0"]) == 0
        assert "camera:0: 3 frames" in capsys.readouterr().out
        with VideoReader(video.parent.parent / "litepred-output" / "camera-0.mp4") as reader:
            assert reader.frame_count == 5  # the last stands at 0.8 s


def test_an_interrupt_leaves_whole_files_only(pages, monkeypatch, capsys):
    def interrupted(*_):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return "1 text"

    done: list[int] = []
    monkeypatch.setattr(answers, "_summary", interrupted)
    (pages.parent / "c.csv").write_text("old")
    options = ["--save-json", "--coco", "c.json", "--csv", "c.csv", "--panoptic", "pan"]
    assert main(["predict", "pages/a.png", "pages/c.PNG", *options]) == 130
    assert capsys.readouterr().err == "litepred: interrupted\n"
    assert names(pages.parent) == ["c.csv", "litepred-output", "pages", "pan"]
    assert (pages.parent / "c.csv").read_text() == "old"
    assert names(pages.parent / "litepred-output") == ["a.json", "a.png"]
    assert names(pages.parent / "pan") == ["a.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal as a POSIX terminal does")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_in_the_middle(workers, pages):
    for i in range(300):
        shutil.copy(pages / "a.png", pages / f"x{i}.png")
    # A test run in the background ignores Ctrl-C, and what it starts inherits that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import runpy; "
    code += "runpy.run_module('litepred', run_name='__main__')"
    command = [sys.executable, "-c", code, "predict", "pages", "--coco", "c.json", "--workers", workers]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # its workers get the signal, too
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.endswith("litepred: interrupted\n")
    assert "Traceback" not in err
    assert names(pages.parent) == ["litepred-output", "pages"]
    written = list((pages.parent / "litepred-output").iterdir())
    assert 0 < len(written) < 300
    for path in written:
        assert not path.name.startswith(".")
        with Image.open(path) as picture:
            picture.load()


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans" / "more").mkdir(parents=True)
    shutil.copy(PAGE, tmp_path / "scans" / "a.png")
    for name in ("b.tga", "notes.txt", ".hidden", "c.HEIC"):
        (tmp_path / "scans" / name).write_bytes(b"text")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    left_out: list[str] = []
    assert list(inputs.expand(["scans", "scans/b.tga"], left_out)) == [os.path.join("scans", "a.png"), "scans/b.tga"]
    assert [os.path.basename(name) for name in left_out] == ["b.tga", "c.HEIC", "", "notes.txt"]
    assert main(["predict", "scans", "--no-save-images"]) == 0
    told = capsys.readouterr().err
    assert "3 files of folders are not read: b.tga, c.HEIC, notes.txt; HEIC needs pip install 'litepred[heif]'" in told
    assert f"subfolders are not read: more; {os.path.join('scans', '**', '*.jpg')!r} reads" in told
    os.remove(tmp_path / "scans" / "a.png")
    assert main(["predict", "scans"]) == 1
    told = capsys.readouterr().err
    assert "3 files of folders are not read: b.tga, c.HEIC, notes.txt; HEIC needs" in told
    assert "subfolders are not read: more" in told
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    assert os.path.join("scans", "c.HEIC") in list(inputs.expand(["scans"]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no files of other kinds")
def test_a_device_is_a_camera(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "video0")
    monkeypatch.setattr("litepred.files._CAMERA", re.compile(rf"{tmp_path}/video(\d)"))
    assert [item.is_video for item in name_items([str(tmp_path / "video0")])] == [True]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ([], None),
        (["--classes", "text", "title"], "values of --classes have commas between, as in a,b"),
        (["--classes", "text", "--format", "yolo", "cvat"], "values of --classes and --format have commas between"),
        (["--class-names", "a", "b"], "values of --class-names have commas between"),
        (["--classes", "text", "nowhere.png"], None),
        (["title"], None),
    ],
)
def test_values_with_spaces_between(typed, told, tmp_path, capsys):
    assert main(["predict", str(tmp_path), *typed]) == 1
    err = capsys.readouterr().err
    assert told in err if told else "commas" not in err


@pytest.mark.parametrize("typed", [["--classes", "a,b"], ["--classes", "a", "--classes", "b"]])
def test_an_option_that_comes_twice_has_both_values(typed):
    parser = CommandParser()
    predict.add_options(parser)
    assert parser.parse_args(typed).classes == ["a", "b"]


def test_videos_of_a_folder_are_told_by_content(tmp_path):
    with video_file(tmp_path / "a.mp4", 10, (32, 32)) as add:
        add(np.zeros((32, 32, 3), np.uint8))
    os.replace(tmp_path / "a.mp4", tmp_path / "clip")
    assert [(item.is_video, item.source) for item in name_items([str(tmp_path / "clip"), str(PAGE), "camera:0"])] == [
        (True, str(tmp_path / "clip")),
        (False, str(PAGE)),
        (True, "camera:0"),
    ]
    assert list(inputs.expand([str(tmp_path)])) == [str(tmp_path / "clip")]


@pytest.mark.parametrize(
    "typed",
    [
        ["a.png", "b.png", "--save-json"],
        ["a.png", "--save-json", "b.png"],
        ["--save-json", "a.png", "--threshold", "0.5", "b.png"],
        ["--save-json", "a.png", "b.png"],
        ["a.png", "--save-json", "--", "b.png"],
    ],
)
def test_images_on_both_sides_of_an_option(typed):
    parser = CommandParser()
    predict.add_options(parser)
    options = parser.parse_args(typed)
    assert (options.images, options.save_json) == (["a.png", "b.png"], True)


def test_an_unknown_option_behind_images(capsys):
    parser = CommandParser()
    predict.add_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["a.png", "--save-jsno", "b.png"])
    assert "unrecognized arguments: --save-jsno, did you mean --save-json?" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "1/", "/4", "-1/4", "a/b"])
def test_parts_that_are_none(part, capsys):
    parser = CommandParser()
    predict.add_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--part={part}"])
    assert f"argument --part: '{part}' came: expected which part of how many, as in 1/4" in capsys.readouterr().err


def test_a_file_that_looks_like_an_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(PAGE, tmp_path / "-page.png")
    with pytest.raises(SystemExit):
        main(["predict", "-page.png"])
    assert "a file of that name comes as ./-page.png, or behind --" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("other", ["NFC", "NFD"])
def test_accents_are_one_letter_or_two(form, other, tmp_path):
    metadata = Metadata(thing_classes=["b", normalize(form, "Überschrift")])
    assert class_number(normalize(other, "Überschrift"), metadata) == 1
    shutil.copy(PAGE, tmp_path / normalize(form, "Größe.png"))
    assert image_to_array(tmp_path / normalize(other, "Größe.png")).shape[2] == 3


@pytest.mark.parametrize(
    ("address", "rest"),
    [
        *((address, "$") for address in ("rtsp://h/x", "RTSP://h/x", "rtmp://h/x", "rtmpt://h/x", "udp://1:2")),
        ("https://h/a.m3u8?b=1", ""),
        ("http://192.168.0.5:8080/video", ", or download it first if it is an image$"),
    ],
)
def test_streams_are_not_called_images(address, rest):
    with pytest.raises(ImageError, match=rf"streams are no images, give it to predictor\.stream{rest}"):
        image_to_array(address)
    with pytest.raises(ImageError, match="addresses are not opened, download the file first"):
        image_to_array("https://h/a.png")


@pytest.mark.parametrize("address", ["https://h/a.png?size=large", "https://h/[1].png", "https://h/a.png"])
def test_addresses_of_images_are_no_patterns(address):
    (error,) = inputs.expand([address])
    assert isinstance(error, ImageError) and "addresses are not opened, download the file first" in str(error)


@pytest.mark.parametrize(
    ("times_s", "pictures", "told"),
    [
        ((0, 0.1, 0.13, 1.0, 2.0), 21, 0),
        ((0, 10.0), 101, 0),
        ((0, 0.1, 3600.0, 3600.1, 3601.1), 2 + 100 + 1 + 10, 1),
        ((0, 60.0, 120.0, 120.1), 1 + 100 + 100 + 1, 1),
    ],
)
def test_a_drawn_video_is_as_long_as_the_one_that_was_read(times_s, pictures, told, tmp_path):
    """Where frames stay for long, so do the pictures, up to ten seconds; the file that is written has one rate."""

    class Reader:
        fps, is_camera = 10.0, False

    class Frame:
        frame = np.zeros((32, 32, 3), np.uint8)

        def __init__(self, index, time_s):
            self.index, self.time_s = index, time_s

    options = argparse.Namespace(save_images=True, save_json=False, output=tmp_path, masks=None, coco=None, csv=None)
    options.panoptic = options.labels = options.format = None
    with ExitStack() as stack, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = RunFiles(options, Metadata(), stack)
        with files.video(Item("a.mp4", "a.mp4", "a", None, True), Reader()) as add:
            for index, time_s in enumerate(times_s):
                add(Frame(index, time_s), {"instances": Instances((32, 32))})
    assert sum("a.mp4 has more than 10 s between two frames" in str(one.message) for one in caught) == told
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert len(list(reader)) == pictures
