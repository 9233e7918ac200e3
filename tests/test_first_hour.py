"""Mistakes of a newcomer: what was typed or called, what the answer must contain, and what it must not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_cfg, tiny_model

import litepred
from litepred import Predictor, draw, model_zoo, results
from litepred.cli import main
from litepred.cli.common import class_names
from litepred.errors import LitepredError

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
PYTHON = (
    "Predictor(",
    "cfg.",
    "model_zoo.",
    "strict=",
    "class_names=",
    "weights=",
    "engine=",
    "device=",
    " predictor.",
)
PRIVATE = ("Traceback", " _", "'NoneType'", "object has no attribute", "KeyError", "argparse")


OTHERS = {  # files of other kinds and of other projects
    "yolo.yaml": b"nc: 80\nnames: [person, bicycle]\n",
    "mmdet.py": b"model = dict(type='MaskRCNN')\n",
    "notes.pdf": b"%PDF-1.4",
    "zero.png": b"",
    "page.png": b"<!DOCTYPE html><html>404",
    "drawing.svg": b"<svg></svg>",
    "array.npy": b"\x93NUMPY\1\0",
    "list.pkl": b"\x80\4].",
    "pointer.pth": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1000\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What a newcomer has: a config, a checkpoint that fits it and one that does not, annotations, images."""
    folder = tmp_path_factory.mktemp("first_hour")
    cfg = tiny_cfg("fpn")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.DATASETS.TEST = ()
    (folder / "config.yaml").write_text(cfg.dump())
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 5
    (folder / "five.yaml").write_text(cfg.dump())
    torch.save({"model": dict(tiny_model("fpn").state_dict())}, folder / "model_final.pth")
    (folder / "classes.txt").write_text("cat\ndog\n\nowl\n")
    categories = [{"id": 7, "name": "owl"}, {"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}]
    coco = {"images": [{"id": 1, "file_name": "photo.png"}], "annotations": [], "categories": categories}
    (folder / "coco.json").write_text(json.dumps(coco))
    segment = {"image_id": 1, "file_name": "photo.png", "segments_info": [{"id": 1, "category_id": 7}] * 50}
    (folder / "panoptic.json").write_text(json.dumps({**coco, "annotations": [segment]}))
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    (folder / "boxes.json").write_text(json.dumps({**coco, "annotations": [box]}))
    Image.fromarray(IMAGE[:, :, ::-1]).save(folder / "photo.png")
    (folder / "clip.mp4").write_bytes(b"no frames")
    (folder / "empty").mkdir()
    with ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("photo.png", b"")
    for name, content in OTHERS.items():
        (folder / name).write_bytes(content)
    return folder


MODEL = ("--config", "config.yaml", "--weights", "model_final.pth", "--device", "cpu")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        # what is not there, or stands in another's place
        ("predict nothere.png", ["there is no file 'nothere.png'", "the working folder is"]),
        ("predict phto.png", ["did you mean 'photo.png'?"]),
        ("predict https://example.com/a.png", ["download the file first"]),
        ("predict --config nothere.yaml photo.png", ["there is no file 'nothere.yaml'", "such as config.yaml"]),
        ("predict --config retinanet_R_50_FPN_3x photo.png", ["did you mean COCO-Detection/retinanet_R_50_FPN_3x?"]),
        ("predict --config mask_rcn photo.png", ["litepred zoo has them all"]),
        ("predict --config model_final.pth photo.png", ["give the config in its place, and --weights model_final.pth"]),
        ("export model_final.pth out.onnx", ["give the config in its place, and --weights model_final.pth"]),
        ("predict --weights model_final.pth photo.png", ["No config came with the weights", "--config config.yaml"]),
        ("predict photo.png --output seen.png", ["--output is 'seen.png': expected a folder"]),
        ("predict photo.png --coco nowhere/a.json", ["there is no folder 'nowhere', make it first"]),
        ("benchmark empty", ["is a directory: expected an image file"]),
        ("inspect photo.png", ["is an image: expected the weights"]),
        ("convert config.yaml out.safetensors", ["is a text file", "such as a config: expected the weights"]),
        ("export config.yaml", ["OUT.onnx is 'config.yaml': expected a name that ends in .onnx"]),
        ("predict --config photo.png photo.png", ["not a text file", "--weights"]),
        ("predict --config config.yaml --weights nothere.pth photo.png", ["no checkpoint file nothere.pth"]),
        ("predict --config config.yaml --weights config.yaml photo.png", ["is a text file", "expected the weights"]),
        ("predict --config config.yaml --weights photo.png photo.png", ["is an image: expected the weights"]),
        ("predict model_final.pth", ["'model_final.pth' is no image: a checkpoint is given as --weights"]),
        ("predict config.yaml", ["'config.yaml' is no image: a config is given as --config"]),
        ("predict nothere.json", ["results are written by options that take a name, such as --coco FILE"]),
        ("predict no", ["an option that is a switch takes no value, and its opposite begins with --no-"]),
        ("predict 0", ["a camera is camera:0"]),
        (
            "predict rtsp://localhost/stream",
            ["rtsp://localhost/stream cannot be opened as a video"],
        ),
        (
            "predict http://localhost:9/clip.mp4",
            ["localhost:9/clip.mp4 cannot be opened as a video"],
        ),
        ("predict notes.pdf", ["is a PDF: write its pages as images first"]),
        ("predict zero.png", ["is empty (0 bytes): copy or download it again"]),
        ("predict page.png", ["is a web page: download the image itself"]),
        ("predict drawing.svg", ["is a drawing of vectors (SVG): write it as PNG first"]),
        ("predict images.zip", ["is a zip archive: unpack it first"]),
        ("predict array.npy", ["is an array in NumPy's format: write it as PNG first"]),
        ("predict --classes photo.png", ["--classes is 'photo.png', a file: expected names, as in --classes a,b"]),
        ("predict photo.png --coco out.csv", ["--coco is 'out.csv': expected a name that ends in .json"]),
        ("predict photo.png --csv out.json", ["--csv is 'out.json': expected a name that ends in .csv"]),
        ("predict photo.png --labels out.png", ["--labels is 'out.png': expected a folder"]),
        # what is of another project
        ("predict --config yolo.yaml photo.png", ["is no config of Detectron2: it has nc, names, and expected are"]),
        ("predict --config coco.json photo.png", ["it has images, annotations, categories, and expected are keys"]),
        ("predict --config mmdet.py photo.png", ["is a Python file", "the config.yaml that training wrote"]),
        ("predict --config empty photo.png", ["config empty is not a file"]),
        (
            "predict --config detectron2://COCO/x/model_final_f10217.pkl photo.png",
            ["is an address: expected a config", "given as --weights model_final.pth"],
        ),
        (
            "predict --config config.yaml --weights images.zip photo.png",
            ["a zip archive that torch.save did not write"],
        ),
        ("predict --config config.yaml --weights list.pkl photo.png", ["an object of type list"]),
        ("predict --config config.yaml --weights pointer.pth photo.png", ["is a Git LFS pointer", "git lfs pull"]),
        ("predict --config config.yaml --weights empty photo.png", ["empty is a directory: expected a checkpoint"]),
        (
            "predict --config config.yaml --weights ftp://host/model.pth photo.png",
            ["is no address to download from: expected https://"],
        ),
        # the files of a command in each other's places
        ("convert model_final.pth out.onnx", ["ends in .pth, .pkl, .safetensors; litepred export writes ONNX files"]),
        ("export config.yaml out.pth", ["ends in .onnx; litepred convert writes checkpoints"]),
        ("export config.yaml --weights nothere.pth out.onnx", ["there is no checkpoint file nothere.pth"]),
        ("export --check nothere.png out.onnx", ["--check is 'nothere.png', but there is no such file"]),
        ("evaluate --images photo.png --annotations coco.json", ["which is a file: expected a folder"]),
        ("benchmark --ways exact float32", ["what --ways takes has commas between, as in a,b"]),
        ("compare nothere.yaml config.yaml", ["there is no file 'nothere.yaml'"]),
        ("compare config.yaml config.yaml", ["A and B are one model, run in one way", "--ways exact,bfloat16"]),
        ("compare config.yaml five.yaml nothere.png", ["there is no file 'nothere.png'"]),
        ("compare config.yaml five.yaml clip.mp4", ["a video came: expected images"]),
        ("compare config.yaml five.yaml --weights a.pth,b.pth,c.pth", ["--weights has 3 parts: expected one, or A's"]),
        ("run photo.png", ["is no text: expected a Python program"]),
        ("run nothere.py", ["nothere.py' cannot be read: No such file"]),
        ("predict empty", ["has no image or video in it"]),
        ("inspect nothere.pth", ["no checkpoint file nothere.pth"]),
        ("inspect nothere.yaml", ["there is no file 'nothere.yaml'"]),
        ("convert nothere.pth out.pth", ["no checkpoint file nothere.pth"]),
        ("convert mask_rcn out.pth", ["litepred zoo has them all"]),
        ("export nothere.yaml out.onnx", ["there is no file 'nothere.yaml'"]),
        ("export out.onnx --check nothere.png", ["--check is 'nothere.png', but there is no such file"]),
        ("benchmark nothere.png", ["there is no file 'nothere.png'"]),
        ("benchmark --config nothere.yaml", ["there is no file 'nothere.yaml'"]),
        ("benchmark clip.mp4", ["is a video"]),
        ("densepose show nothere.yaml model.pkl photo.png dp_segm", ["there is no file 'nothere.yaml'"]),
        ("densepose show config.yaml nothere.pkl photo.png dp_segm", ["no checkpoint file nothere.pkl"]),
        ("densepose show config.yaml model_final.pth nothere.png dp_segm", ["there are no files 'nothere.png'"]),
        ("zoo yolo", ["no model of the zoo has 'yolo'", "the families are ", "Mask R-CNN, "]),
        # evaluate
        ("evaluate --images nothere --annotations coco.json", ["--images is 'nothere', but there is no such folder"]),
        ("evaluate --images . --annotations nothere.json", ["--annotations is 'nothere.json'", "no such file"]),
        ("evaluate --images .", ["pass --annotations, --panoptic-annotations or both"]),
        (
            "evaluate --images empty --annotations coco.json --config config.yaml --weights model_final.pth",
            ["none of the 1 annotated images is in --images 'empty'", "photo.png"],
        ),
        (
            "evaluate --images . --annotations panoptic.json --config config.yaml --weights model_final.pth",
            ["'panoptic.json' has panoptic annotations", "as --panoptic-annotations"],
        ),
        (
            "evaluate --images . --panoptic-annotations boxes.json --config config.yaml --weights model_final.pth",
            ["'boxes.json' has instance annotations", "as --annotations"],
        ),
        # classes and values
        (
            "predict --config five.yaml --weights model_final.pth photo.png",
            ["NUM_CLASSES is 5 but the checkpoint has 3", "pass --infer-num-classes"],
        ),
        (
            "convert model_final.pth out.safetensors --config five.yaml",
            ["NUM_CLASSES is 5 but the checkpoint has 3", "pass --infer-num-classes"],
        ),
        (
            "predict --config config.yaml --weights model_final.pth --class-names a,b photo.png",
            ["--class-names has 2 names", "3 classes"],
        ),
        ("predict --class-names nothere.txt photo.png", ["--class-names is 'nothere.txt'", "no such file"]),
        ("predict --class-names photo.png photo.png", ["expected UTF-8 text, a name a line"]),
        (
            "predict --config config.yaml --weights model_final.pth --class-names classes.txt --classes 99 photo.png",
            ["'99', which is no class", "cat, dog, owl", "0 to 2"],
        ),
        (
            "predict --config config.yaml --weights model_final.pth --classes cat photo.png",
            ["name them with --class-names, or give their numbers"],
        ),
        ("predict --device gpu photo.png", ["'gpu' is not a device"]),
        ("predict --skip-existing --no-save-images photo.png", ["add --save-json"]),
    ],
)
def test_a_command_says_what_helps(typed, told, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])  # whose first folder litepred run makes the program's
    monkeypatch.chdir(folder)
    assert main(typed.split()) == 1
    captured = capsys.readouterr()
    assert captured.err.count("litepred: error: ") == 1
    for text in told:
        assert text in captured.err
    for text in (*PYTHON, *PRIVATE):
        assert text not in captured.err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("predct photo.png", "'predct' is no command: did you mean predict?"),
        ("photo.png", "did you mean litepred predict photo.png?"),
        ("frobnicate", "expected one of predict, evaluate, "),
        ("densepose shw", "'shw' is no action: did you mean show?"),
        ("help", "did you mean --help?"),
        ("list", "did you mean zoo?"),
        ("detect photo.png", "did you mean predict?"),
        ("test coco.json", "did you mean evaluate?"),
        ("info model_final.pth", "did you mean inspect, or doctor?"),
        ("download x", "predict --config NAME downloads a model by itself"),
        ("train config.yaml", "models are only run here: train with Detectron2"),
        ("version", "did you mean --version?"),
        ("-v", "did you mean --version?"),
        ("zoo --lst", "unrecognized arguments: --lst; the options are -h, --help, --json"),
        ("zoo --list", "without a TEXT, all models are listed"),
        ("zoo --json=yes", "--json takes no value, but 'yes' came"),
        ("doctor torch", "'torch' is one too many: expected no names"),
        ("predict --config-file config.yaml --input photo.png", "did you mean --config?"),
        ("predict --video-input clip.mp4", "images, videos and camera:0 come without an option"),
        ("predict --confidence-threshold 0.5", "did you mean --threshold?"),
        ("predict --conf-thres 0.5", "did you mean --threshold?"),
        ("predict --gpu photo.png", "did you mean --device cuda?"),
        ("predict photo.png --half", "did you mean --precision bfloat16?"),
        (
            "predict photo.png --opts MODEL.DEVICE cpu",
            "settings stand in the config: write those that differ into a YAML file",
        ),
        ("predict photo.png --verbose", "--help lists the options"),
        ("predict photo.png --coco", "--coco has no value: expected --coco FILE"),
        ("predict photo.png --classes", "--classes has no value: expected --classes NAMES"),
        ("predict --threshold 0,5 photo.png", "0,5 is not a score: expected a number from 0 to 1"),
        ("predict --batch-size many photo.png", "'many' came: expected a whole number, 1 or more"),
        ("benchmark photo.png clip.mp4", "'clip.mp4' is one too many: expected IMAGE"),
        ("benchmark --ways exact float32 photo.png", "what --ways takes has commas between, as in a,b"),
        ("benchmark --ways fast photo.png", "'fast' is no way of running a model: expected exact, float32"),
        ("convert config.yaml model_final.pth out.pth", "expected IN OUT; a config is given as --config"),
        ("convert model_final.pth --to safetensors", "the ending of OUT tells the format"),
        ("export config.yaml model_final.pth out.onnx", "MODEL OUT.onnx; a checkpoint is given as --weights"),
        ("export out.onnx --size 640", "--size has no value: expected --size HEIGHT WIDTH"),
        ("compare config.yaml", "required: B"),
        ("run --input photo.png demo.py", "the options are -h, --help, --replace, -m"),
        ("predict --images photo.png", "images, videos and camera:0 come without an option"),
        ("benchmark -i photo.png", "images, videos and camera:0 come without an option"),
        ("predict --precision fp16", "choose from"),
        ("evaluate . coco.json", "required: --images"),
        ("predict -o out photo.png", "did you mean --output?"),
        ("predict -c config.yaml", "did you mean --config or "),
        ("predict --treshold 0.5", "did you mean --threshold?"),
        ("predict --mask rle photo.png", "did you mean --mask-format?"),
        ("predict --threshold 50", "50 is not a score: expected a number from 0 to 1"),
    ],
)
def test_a_word_that_no_command_knows(typed, told, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as stopped:
        main(typed.split())
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.startswith("usage: litepred ")
    for text in (*PYTHON, *PRIVATE):
        assert text not in err


def test_what_computes_nothing_imports_no_torch(folder):
    """Importing it takes seconds, and `benchmarks/run.py --rows commands` measures what is left."""
    typed = [
        "zoo",
        "zoo retinanet",
        "predict nothere.png",
        "predict empty",
        "predict --config nothere.yaml photo.png",
        "predict --weights nothere.pth photo.png",
        "predict --class-names nothere.txt photo.png",
        "predict --skip-existing --csv a.csv photo.png",
        "evaluate --images nothere --annotations coco.json",
        "evaluate --images . --annotations nothere.json",
        "inspect nothere.pth",
        "inspect nothere.yaml",
        "convert nothere.pth out.pth",
        "convert model_final.pth out.txt",
        "export nothere.yaml out.onnx",
        "export out.txt",
        "benchmark nothere.png",
        "densepose show nothere.yaml model.pkl photo.png dp_segm",
        "densepose show config.yaml model_final.pth nothere.png dp_segm",
    ]
    code = (
        "import sys; from litepred.cli import main\n"
        f"for typed in {typed!r}:\n"
        "    main(typed.split())\n"
        "    if 'torch' in sys.modules: sys.exit(typed)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-300:]


@pytest.mark.parametrize(
    ("old", "new", "arguments"),
    [
        ("--json", "--save-json", ["predict", "photo.png", "--json", "--threshold", "1"]),
        ("--masks", "--mask-format", ["predict", "photo.png", "--masks", "none", "--threshold", "1"]),
        ("--csv", "--table", ["benchmark", "photo.png", "--runs", "1", "--ways", "exact", "--csv", "{}/table.csv"]),
    ],
)
def test_old_names_of_options_work_with_a_warning(old, new, arguments, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    typed = [one.format(tmp_path) for one in arguments]
    typed += ["--output", str(tmp_path)] if arguments[0] == "predict" else []
    assert main([*typed, *MODEL]) == 0
    assert f"warning: {old} is called {new} now" in capsys.readouterr().err
    assert old == "--masks" or list(tmp_path.glob("*.json")) or list(tmp_path.glob("*.csv"))
    with pytest.raises(SystemExit):
        main([arguments[0], "--help"])
    assert f" {old} " not in capsys.readouterr().out.replace("[", " ").replace("]", " ")


@pytest.mark.parametrize("given", ["cat,dog,owl", "cat, dog ,owl", "classes.txt", "coco.json"])
def test_the_users_own_classes_on_the_command_line(given, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert class_names(given) == ["cat", "dog", "owl"]
    typed = ["predict", "photo.png", *MODEL, "--threshold", "0", "--output", str(tmp_path)]
    assert main([*typed, "--class-names", given, "--csv", str(tmp_path / "all.csv")]) == 0
    captured = capsys.readouterr()
    assert "class_" not in captured.out + captured.err + (tmp_path / "all.csv").read_text()
    assert any(name in captured.out for name in ("cat", "dog", "owl"))


def test_classes_without_names_say_how_to_name_them(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["predict", "photo.png", *MODEL, "--threshold", "0", "--output", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "class_" in captured.out
    assert captured.err.startswith("litepred: class_")
    assert "give them with --class-names a,b,c or --class-names FILE" in captured.err


def test_the_number_of_classes_from_the_checkpoint(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    typed = ["--config", "five.yaml", "--infer-num-classes"]
    weights = ["--weights", "model_final.pth", "--device", "cpu", "--output", str(tmp_path)]
    assert main(["predict", "photo.png", *typed, *weights]) == 0
    assert main(["convert", "model_final.pth", str(tmp_path / "model.safetensors"), *typed]) == 0
    assert Predictor(tmp_path / "model.safetensors", device="cpu").cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3


def test_a_run_says_where_it_is(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["predict", "photo.png", "photo.png", *MODEL, "--output", str(tmp_path)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["[1/2]", "[2/2]"]
    monkeypatch.setattr("litepred.cli.common._LINES_EVERY_S", 0)
    pytest.importorskip("pycocotools")
    assert main(["evaluate", "--images", ".", "--annotations", "boxes.json", *MODEL]) == 0
    assert "litepred: [1/1] " in capsys.readouterr().err


def test_images_that_cannot_be_read_are_counted_in_one_line(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(folder)
    content = json.loads((folder / "boxes.json").read_text())
    content["images"] += [{"id": i, "file_name": f"nothere{i}.png"} for i in range(2, 9)]
    (tmp_path / "many.json").write_text(json.dumps(content))
    assert main(["evaluate", "--images", ".", "--annotations", str(tmp_path / "many.json"), *MODEL]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "7 of 8 images could not be read" in line
    assert "nothere2.png" in line


@pytest.fixture(scope="module")
def predictor(folder) -> Predictor:
    return Predictor(folder / "config.yaml", weights=folder / "model_final.pth", device="cpu")


CALLS = {
    # a predictor
    "Predictor('nothere.yaml')": ["there is no file 'nothere.yaml'", "such as config.yaml"],
    "Predictor('mask_rcnn_R_50_FPN_3x')": ["did you mean COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"],
    "Predictor('model_final.pth')": ["Predictor('config.yaml', weights='model_final.pth')"],
    "Predictor('model_final.pth', 'config.yaml')": ["Predictor('config.yaml', weights='model_final.pth')"],
    "Predictor('config.yaml', 'nothere.pth')": ["there is no checkpoint file nothere.pth"],
    "Predictor('config.yaml', 'config.yaml')": ["is a text file", "expected the weights"],
    "Predictor('five.yaml', 'model_final.pth')": ["pass infer_num_classes=True", "NUM_CLASSES is 5"],
    "Predictor(cfg_with(SCORE_THRESH_TEST=1.5))": ["SCORE_THRESH_TEST is 1.5: expected a number from 0 to 1"],
    "Predictor(cfg_with(SCORE_THRESH_TEST='high'))": ["SCORE_THRESH_TEST is 'high': expected a number from 0 to 1"],
    "Predictor(weights='model_final.pth')": ["No config came with the weights", "Predictor('config.yaml', weights="],
    "Predictor('yolo.yaml')": ["is no config of Detectron2: it has nc, names, and expected are keys such as MODEL"],
    "Predictor('https://example.com/model_final.pth')": ["is an address: expected a config", "as weights="],
    "Predictor('s3://bucket/faster_rcnn_R_50_FPN_3x.yaml')": ["is an address: expected a config"],
    "Predictor(open('config.yaml').read())": ["a text of several lines came: expected the path of a YAML file"],
    "setattr(cfg_with().MODEL.ROI_HEADS, 'NUM_CLASSES', np.int64(3))": [
        "got np.int64(3) of type int64",
        "Convert it first",
    ],
    "Predictor(device='gpu')": ["'gpu' is not a device: expected 'cpu', 'cuda'"],
    "Predictor('config.yaml', 'model_final.pth', class_names='cat')": ["class_names is 'cat': expected a list"],
    "Predictor('config.yaml', 'model_final.pth', class_names=['a', 'b', 'c', 'd'])": ["has 4 names", "3 classes"],
    "Predictor('config.yaml', torch.load('model_final.pth'))": ["pass the part with the weights"],
    "litepred.build_model('config.yaml')": ["str is not a config: expected a CfgNode, as get_cfg() makes it"],
    "litepred.build_model(cfg_with())([image])": ["input 0 of the model is a ndarray: expected a dict"],
    "litepred.build_model(cfg_with()).train()": ["litepred only runs inference"],
    "litepred.DetectionCheckpointer(cfg_with())": ["CfgNode is not a model: expected a module"],
    "Predictor(outputs)": ["dict is not a config"],
    "Predictor(precision='fp16')": ["expected one of float32, bfloat16, float16"],
    # an image
    "predictor('empty')": ["is a directory", "predictor.batch(sorted(Path(folder).rglob('*.jpg')))"],
    "predictor.batch('empty')": ["a single str", "sorted(Path(folder).iterdir())"],
    "next(predictor.stream('empty'))": ["'empty' is a folder: expected one video", "predictor.batch(sorted("],
    "next(predictor.stream('nothere.mp4'))": ["there is no file 'nothere.mp4': expected a video file"],
    "next(predictor.stream(image))": ["ndarray is no video: expected a file's path", "predictor.batch(images)"],
    "predictor(open('photo.png'))": ["is open as text: open it with mode 'rb'"],
    "predictor('notes.pdf')": ["is a PDF: write its pages as images first"],
    "predictor('zero.png')": ["is empty"],
    "predictor({'image': image})": ["dict is not an image: expected a path, a Pillow image or a uint8 array"],
    "litepred.read_image(None)": ["NoneType is no image file: expected a path, or an open binary file"],
    "litepred.read_image(image)": ["ndarray is no image file"],
    "predictor(None)": ["cv2.imread() returns None for a file that it cannot read"],
    "predictor([image, image])": ["predictor.batch(images)"],
    "predictor(iter([image]))": ["predictor.batch(images)"],
    "predictor('clip.mp4')": ["is a video", "predictor.stream(path)"],
    "predictor(b'GIF89a')": ["io.BytesIO"],
    "predictor(torch.zeros(3, 64, 64))": [".numpy()", ".transpose(1, 2, 0)"],
    "predictor(np.moveaxis(image, 2, 0))": ["its channels come first", ".transpose(1, 2, 0)"],
    "predictor(image.astype(np.int64))": ["between 0 and 255 already", ".astype(numpy.uint8)"],
    "predictor(image > 9)": ["scale its values"],
    "predictor(image.astype(np.uint16) * 257)": [">> 8"],
    # what was found
    "draw('nothere.png', outputs)": ["there is no file 'nothere.png'"],
    "draw(outputs, image)": ["expected an image, and the dict"],
    "draw(image, [outputs])": ["expected an image, and the dict"],
    "draw(image, outputs, threshold=50)": ["threshold is 50: expected a number from 0 to 1"],
    "draw(image[1:], outputs)": ["the image has 64 × 63 pixels, but 'instances' is of one with 64 × 64"],
    "predictor(image, mask_format='rle')": ["mask_format came", "it belongs to Predictor(…)"],
    "predictor.batch([image], treshold=0.5)": ["treshold came, but a call takes threshold, classes"],
    "draw(image[None], outputs)": ["expected (height, width, 3) in BGR order"],
    "results.to_dicts({'sem_seg': 1})": ["a dict with sem_seg came: expected 'instances'"],
    "results.to_dicts([outputs])": ["expected instances, as outputs['instances']"],
    "results.write_csv('a.csv', [outputs])": ["a dict came", "('photo.jpg', outputs['instances'])"],
    "results.write_csv('a.csv', outputs)": ["a dict came", "('photo.jpg', outputs['instances'])"],
    "results.write_csv('a.csv', outputs['instances'])": ["expected a list of pairs"],
    "results.write_csv('a.csv', ('photo.png', outputs))": ["a str came where a pair belongs"],
    "results.write_coco('a.json', [outputs])": ["a dict came", "(image_id, outputs['instances'])"],
    "results.write_labels('a.png', outputs)": ["expected 'sem_seg' in it"],
    "results.write_panoptic('a.png', outputs)": ["expected 'panoptic_seg' in it"],
    "results.write_csv('nowhere/a.csv', [('a', outputs)])": ["there is no folder 'nowhere', make it first"],
    "draw(image, outputs, 7)": ["7 came as metadata: expected predictor.metadata, or a list of class names"],
    "model_zoo.get_config('mask_rcnn_R_50')": ["expected a name such as", "model_zoo.list() has them all"],
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_says_what_helps(call, folder, predictor, monkeypatch):
    monkeypatch.chdir(folder)

    def cfg_with(**values):
        cfg = litepred.get_cfg()
        cfg.merge_from_file("config.yaml")
        for key, value in values.items():
            cfg.MODEL.ROI_HEADS[key] = value
        return cfg

    names = {
        **{
            "litepred": litepred,
            "Predictor": Predictor,
            "predictor": predictor,
            "draw": draw,
            "results": results,
            "model_zoo": model_zoo,
        },
        **{"image": IMAGE, "outputs": predictor(IMAGE), "np": np, "torch": torch, "cfg_with": cfg_with},
    }
    with pytest.raises(LitepredError) as raised:
        eval(call, names)
    for text in CALLS[call]:
        assert text in str(raised.value)
    for text in PRIVATE:
        assert text not in str(raised.value)
    assert not (folder / "a.csv").exists()


@pytest.mark.parametrize(
    ("habit", "told"),
    [
        ("predictor.eval()", "Predictor has no attribute 'eval': write Predictor(…, device='cuda')"),
        ("predictor.to('cuda')", "write Predictor(…, device='cuda')"),
        ("predictor.predict(image)", "write predictor(image)"),
        ("predictor.names", "write predictor.metadata.thing_classes"),
        ("predictor.conf", "write predictor(image, threshold=0.5)"),
        ("predictor.train()", "litepred only predicts"),
        ("instances.boxes", "Instances has no attribute 'boxes': write its .pred_boxes"),
        ("instances.cpu()", "write its .to('cpu')"),
        ("instances.smell", "its fields are ['pred_boxes', 'pred_classes', 'scores']"),
        ("instances.pred_boxes.numpy()", "Boxes has no attribute 'numpy': write its .tensor.numpy()"),
        ("instances.pred_boxes.smell", "Boxes has no attribute 'smell'"),
    ],
)
def test_habits_of_other_libraries_are_told_what_to_write(habit, told, predictor):
    instances = predictor(IMAGE)["instances"]
    with pytest.raises(AttributeError) as raised:
        eval(habit, {"predictor": predictor, "image": IMAGE, "instances": instances})
    assert told in str(raised.value)


def test_one_level_more_or_less_is_taken(folder, predictor, tmp_path):
    outputs = predictor(IMAGE)
    instances = outputs["instances"]
    picture = draw(IMAGE, outputs, threshold=0)
    assert (draw(IMAGE, instances, threshold=0) == picture).all()
    assert (draw(folder / "photo.png", outputs, threshold=0) == picture).all()
    assert results.to_dicts(outputs) == results.to_dicts(instances)
    names = ["cat", "dog", "owl"]
    told = results.to_dicts(instances, litepred.data.Metadata(thing_classes=names))
    assert results.to_dicts(instances, names) == told
    named = Predictor(folder / "config.yaml", folder / "model_final.pth", device="cpu", class_names=names)
    assert results.to_dicts(instances, named) == told
    assert (draw(IMAGE, outputs, names, threshold=0) == draw(IMAGE, outputs, named, threshold=0)).all()
    with pytest.raises(TypeError, match=r"a field is an attribute: instances\.scores"):
        instances["scores"]
    assert results.instances_to_coco_json(outputs, 1, mask_format="none")[0]["image_id"] == 1
    for write, name in ((results.write_csv, "photo.png"), (results.write_coco, 1)):
        write(tmp_path / "one", [(name, outputs)])
        write(tmp_path / "other", [(name, instances)])
        assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    segments = {"panoptic_seg": (torch.ones(4, 5, dtype=torch.int32), [])}
    for given in (segments, segments["panoptic_seg"], segments["panoptic_seg"][0]):
        results.write_panoptic(tmp_path / "segments.png", given)
        assert Image.open(tmp_path / "segments.png").size == (5, 4)
    results.write_labels(tmp_path / "labels.png", {"sem_seg": torch.zeros(2, 4, 5)})
    assert Image.open(tmp_path / "labels.png").size == (5, 4)
    assert results.panoptic_annotation(segments, 1, "a.png")["segments_info"] == []


def test_the_old_name_of_mask_format_works_with_a_warning(predictor):
    instances = predictor(IMAGE)["instances"]
    with pytest.warns(FutureWarning, match="masks of to_dicts.* is called mask_format now"):
        assert results.to_dicts(instances, masks="none") == results.to_dicts(instances, mask_format="none")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, []),
        ({"MODEL.ROI_HEADS.SCORE_TRESH_TEST": 0.9}, ["Did you mean MODEL.ROI_HEADS.SCORE_THRESH_TEST?"]),
        ({"MODEL.MASKON": False}, ["Did you mean MODEL.MASK_ON?"]),
        ({"INPUT.MIN_SIZE": 600}, ["a key INPUT.MIN_SIZE, which nothing reads"]),
        ({"MODEL.DEVISE": "cpu", "TEST.DETECTION_PER_IMAGE": 5}, ["MODEL.DEVICE?", "TEST.DETECTIONS_PER_IMAGE?"]),
        ({"SOLVER.MY_OWN": 1}, []),  # of training
        ({"MODEL.MY_HEAD": litepred.CfgNode({"SIZE": 3})}, []),  # a section of one's own
    ],
)
def test_settings_that_do_nothing_are_told(keys, told, folder, recwarn):
    cfg = litepred.get_cfg()
    cfg.merge_from_file(folder / "config.yaml")
    for key, value in keys.items():
        *sections, name = key.split(".")
        section = cfg
        for one in sections:
            section = section[one]
        setattr(section, name, value)
    Predictor(cfg, weights=folder / "model_final.pth", device="cpu")
    messages = [str(one.message) for one in recwarn if "nothing reads" in str(one.message)]
    assert len(messages) == len(told)
    for text, message in zip(told, messages):
        assert text in message


def test_a_bundle_where_the_config_goes(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["convert", "model_final.pth", str(tmp_path / "b.safetensors"), "--config", "config.yaml"]) == 0
    outputs = Predictor(str(tmp_path / "b.safetensors"), device="cpu")(IMAGE)
    assert len(Predictor("config.yaml", "model_final.pth", device="cpu")(IMAGE)["instances"]) == len(
        outputs["instances"]
    )
