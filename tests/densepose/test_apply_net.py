"""The tool as its users call it, the try-on demo IDM-VTON first of all."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from litepred import ConfigError, LitepredError
from litepred.densepose import apply_net, draw
from litepred.densepose.structures import DensePoseChartResultWithConfidences
from litepred.errors import CheckpointError, ImageError

# word for word
DEMO = (
    "show",
    "./configs/densepose_rcnn_R_50_FPN_s1x.yaml",
    "./ckpt/densepose/model_final_162be9.pkl",
    "dp_segm",
    "-v",
    "--opts",
    "MODEL.DEVICE",
    "cuda",
)
FILES = [DEMO[1], DEMO[2]]


@pytest.fixture(autouse=True)
def no_model_is_kept():
    apply_net._kept_predictor.cache_clear()


def parse(*arguments: str):
    return apply_net.create_argument_parser().parse_args(arguments)


def on_cpu(arguments: tuple[str, ...] = DEMO) -> tuple[str, ...]:
    return tuple("cpu" if argument == "cuda" else argument for argument in arguments)


def demo_input(person: Image.Image) -> np.ndarray:
    """What the demo makes of a photo: BGR, through a view with negative strides."""
    person = person.convert("RGB").resize((768, 1024))
    small = ImageOps.exif_transpose(person.resize((384, 512)))
    return np.asarray(small)[:, :, ::-1]


@pytest.mark.filterwarnings("ignore:the device asked for is 'cuda'")
def test_the_demos_calling_sequence(demo):
    image = demo_input(Image.open(demo / "photos" / "b.png"))
    args = apply_net.create_argument_parser().parse_args(DEMO)
    assert (args.min_score, args.nms_thresh, args.verbosity) == (0.8, None, 1)
    before = {path.name for path in demo.rglob("*")}
    pose = args.func(args, image)
    assert isinstance(pose, np.ndarray) and pose.dtype == np.uint8 and pose.shape == (512, 384, 3)
    rgb = Image.fromarray(pose[:, :, ::-1]).resize((768, 1024))
    assert (rgb.mode, rgb.size) == ("RGB", (768, 1024))
    assert {path.name for path in demo.rglob("*")} == before  # nothing is written


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is the device that the demo asks for")
def test_the_demo_without_cuda_says_where_it_runs(demo, photo):
    args = parse(*DEMO)
    with pytest.warns(UserWarning, match="running on the CPU"):
        args.func(args, photo)


def people(demo, photo, threshold: float):
    cfg = apply_net.load_predictor(*FILES, ["MODEL.DEVICE", "cpu"]).cfg.clone()
    cfg.defrost()
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    from litepred import Predictor

    return Predictor(cfg)(photo)["instances"]


def test_the_picture_is_the_try_on_style(demo, photo):
    args = parse(*on_cpu()[:4], "--min_score", "0.3", *on_cpu()[4:])
    pose = args.func(args, photo)
    instances = people(demo, photo, 0.3)
    assert len(instances) > 1
    assert np.array_equal(pose, draw(photo, instances, "dp_segm", "idm-vton"))
    args = parse(*on_cpu()[:4], "--min_score", "0.3", "--style", "densepose", *on_cpu()[4:])
    assert np.array_equal(args.func(args, photo), draw(photo, instances, "dp_segm"))


def test_nobody_found_gives_the_grey_photo(demo, photo):
    args = parse(*on_cpu()[:4], "--min_score", "1.0", *on_cpu()[4:])
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    assert np.array_equal(args.func(args, photo), np.stack([grey] * 3, axis=2))


def test_the_model_is_loaded_once_and_kept(demo, photo, monkeypatch):
    import litepred.predictor

    built = []

    class Counted(litepred.predictor.Predictor):
        def __init__(self, *args, **kwargs):
            built.append(1)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(litepred.predictor, "Predictor", Counted)
    pictures = []
    for _ in range(3):
        args = parse(*on_cpu())  # as the demo does at each call
        pictures.append(args.func(args, photo))
    assert len(built) == 1
    assert all(np.array_equal(pictures[0], other) for other in pictures)
    args = parse(*on_cpu()[:4], "--min_score", "0.5", *on_cpu()[4:])
    args.func(args, photo)
    assert len(built) == 2  # another threshold is another model
    weights = demo / DEMO[2]
    weights.write_bytes(weights.read_bytes())
    import os

    os.utime(weights, ns=(1, 1))
    args.func(args, photo)
    assert len(built) == 3  # and so are other weights


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ([], "SCORE_THRESH_TEST", 0.8),
        (["--opts", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.1"], "SCORE_THRESH_TEST", 0.8),  # the quirk
        (["--min_score", "0.4"], "SCORE_THRESH_TEST", 0.4),
        ([], "NMS_THRESH_TEST", 0.5),
        (["--nms_thresh", "0.3"], "NMS_THRESH_TEST", 0.3),
        (["--opts", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.7"], "NMS_THRESH_TEST", 0.7),
    ],
)
def test_thresholds(demo, given, key, value):
    args = parse("show", *FILES, "dp_segm", *given)
    assert apply_net._show_predictor(args).cfg.MODEL.ROI_HEADS[key] == value


@pytest.mark.parametrize(
    ("given", "images"),
    [("photos", ["a.jpg", "b.png"]), ("photos/b.png", ["b.png"]), ("photos/*.jpg", ["a.jpg"])],
)
def test_show_files(demo, given, images):
    args = parse("show", *FILES, given, "dp_segm,bbox", "--min_score", "0.3", "--output", "out/pose.png")
    assert args.func(args) is None
    written = sorted(path.name for path in Path("out").iterdir())
    assert written == [f"pose.{number:04d}.png" for number in range(1, len(images) + 1)]
    photo = cv2.imread(str(demo / "photos" / images[0]))
    wanted = draw(photo, people(demo, photo, 0.3), "dp_segm,bbox")
    assert np.array_equal(cv2.imread("out/pose.0001.png"), wanted)


@pytest.mark.parametrize(("threshold", "found"), [("0.3", True), ("1.0", False)])
def test_dump(demo, threshold, found):
    args = parse("dump", *FILES, "photos", "--opts", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold)
    args.func(args)
    first, second = torch.load("results.pkl", weights_only=True)
    assert [Path(one["file_name"]).name for one in (first, second)] == ["a.jpg", "b.png"]
    assert tuple(second["pred_boxes_XYXY"].shape) == (len(second["scores"]), 4)
    assert ("pred_densepose" in second) == found == bool(len(second["scores"]))
    for result in second.get("pred_densepose", []):
        assert isinstance(result, DensePoseChartResultWithConfidences) and result.labels.device.type == "cpu"
    assert sorted(path.name for path in demo.iterdir()) == ["ckpt", "configs", "photos", "results.pkl"]


def test_pictures_of_an_earlier_run_are_no_photos(demo):
    arguments = parse("show", *FILES, "photos", "bbox", "--output", "photos/p.png")
    arguments.func(arguments)
    with pytest.raises(LitepredError, match=r"p\.0001\.png' is both read and written"):
        arguments.func(arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["show", *FILES, "dp_segm"], LitepredError, "no <input> was given"),
        (["show", *FILES, "photos/x.png", "dp_segm"], LitepredError, "there are no files 'photos/x.png'"),
        (["show", *FILES, "photos", "dp_contour"], LitepredError, "cannot draw 'dp_contour': expected one or more of"),
        (["show", *FILES, "photos", "dp_segm", "--output", "a.txt"], LitepredError, "that is written: try .png"),
        (["show", *FILES, "photos", "dp_segm", "--output", "a.psd"], LitepredError, "that is written: try .png"),
        (["show", *FILES, "configs", "dp_segm"], ImageError, "no image of a format that is opened"),
        (["dump", *FILES, "configs"], ImageError, "no image of a format that is opened"),
        (["show", "no.yaml", DEMO[2], "photos", "dp_segm"], ConfigError, "there is no file 'no.yaml'"),
        (["show", DEMO[1], "no.pkl", "photos", "dp_segm"], CheckpointError, "no.pkl"),
        (["dump", *FILES, "photos", "--opts", "MODEL.DEVICE"], LitepredError, "MODEL.DEVICE has no value"),
        (["dump", *FILES, "photos", "--opts", "MODEL.DEVIC", "cpu"], ConfigError, "Did you mean MODEL.DEVICE"),
        (["dump", *FILES, "photos", "--output", "photos"], LitepredError, "cannot write 'photos'"),
        (["dump", *FILES, "photos", "--output", "photos/a.jpg"], LitepredError, "is both read and written"),
    ],
)
def test_mistakes(demo, arguments, error, says):
    args = parse(*arguments)
    with pytest.raises(error, match=says):
        args.func(args)


def test_no_action_prints_help(capsys):
    args = parse()
    args.func(args)
    assert "show" in capsys.readouterr().out


def test_main_logs_as_much_as_asked(demo, caplog):
    with warnings.catch_warnings():
        apply_net.main(["show", *FILES, "photos/b.png", "bbox", "-v"])
    assert [record.message for record in caplog.records][-1] == "Output saved to outputres.0001.png"
    assert [apply_net.verbosity_to_level(number) for number in (None, 0, 1, 2, 5)] == [30, 30, 20, 10, 10]
