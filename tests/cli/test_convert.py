"""``litepred convert``, as typed."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_cfg, tiny_image, tiny_model
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from litepred import ConfigError, Predictor, model_zoo
from litepred.checkpoint import read_checkpoint
from litepred.checkpoint.bundle import CLASS_NAMES, CONFIG
from litepred.cli import main
from litepred.default_model import default_config
from litepred.modeling.build import build_skeleton
from litepred.resolve import torchvision_config


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def folder(model, tmp_path, monkeypatch):
    """A folder to be in, with a tiny model as Detectron2 leaves it: config.yaml and model_final.pth."""
    monkeypatch.chdir(tmp_path)
    cfg = tiny_cfg()
    cfg.MODEL.WEIGHTS = "/home/me/model_final.pth"
    cfg.DATASETS.TEST = ("my_data",)
    cfg.INPUT.MIN_SIZE_TEST = 64
    (tmp_path / "config.yaml").write_text(cfg.dump())
    training = {"optimizer": {"state": {}}, "iteration": 89999}
    torch.save({"model": model.state_dict(), **training}, tmp_path / "model_final.pth")
    return tmp_path


def convert(*arguments: str) -> int:
    return main(["convert", *arguments])


def same(file: str, other: str, exact: bool = True) -> bool:
    one, two = read_checkpoint(file).model, read_checkpoint(other).model
    tolerance = {"rtol": 0 if exact else 1e-3, "atol": 0 if exact else 1e-6}
    return one.keys() == two.keys() and all(
        torch.allclose(one[key].float(), two[key].float(), **tolerance) for key in one
    )


def test_one_file_is_all_that_the_predictor_needs(model, folder, capsys):
    assert convert("model_final.pth", "model.safetensors", "--config", "config.yaml", "--class-names", "a,b, c") == 0
    tensors = len(read_checkpoint("model_final.pth").model)
    line = capsys.readouterr().out
    assert line.startswith("model.safetensors: 0.")
    assert line.endswith(f"MB, {tensors} tensors ({tensors} float32), with the config and 3 class names\n")
    (folder / "model_final.pth").unlink()
    one = Predictor("model.safetensors", exact=True)
    assert one.metadata.thing_classes == ["a", "b", "c"]
    assert one.cfg.MODEL.WEIGHTS == "model.safetensors"
    image = tiny_image().permute(1, 2, 0).numpy()
    expected = model([one.prepare(image)])[0]["instances"]
    assert len(expected)
    assert torch.equal(one(image)["instances"].pred_boxes.tensor, expected.pred_boxes.tensor)


def test_no_path_of_this_machine_goes_along(folder):
    convert("model_final.pth", "model.safetensors", "--config", "config.yaml")
    assert b"/home/me" not in (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("target", ["model.pth", "model.pkl", "plain.safetensors"])
def test_there_and_back(target, folder, capsys):
    assert convert("model_final.pth", "one.safetensors", "--config", "config.yaml", "--class-names", "a,b,c") == 0
    assert convert("one.safetensors", target) == 0
    assert same(target, "model_final.pth")
    checkpoint = read_checkpoint(target)
    assert checkpoint.extra["__author__"] == "litepred"
    bundled = target.endswith(".safetensors")
    assert {CONFIG, CLASS_NAMES} <= checkpoint.header.keys() if bundled else not checkpoint.header
    assert ("with the config and 3 class names" in capsys.readouterr().out.splitlines()[-1]) == bundled


def test_detectron2s_kinds_of_files(folder):
    """Detectron2 reads a .pkl as its own if it has both entries, and takes what is in them as it is."""
    convert("model_final.pth", "model.pkl")
    pickled = pickle.loads((folder / "model.pkl").read_bytes())
    assert pickled.keys() == {"model", "__author__"}
    convert("model_final.pth", "model.pth")
    assert torch.load("model.pth", weights_only=True).keys() == {"model", "__author__"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no config in it"),
        (["--class-names", "a,b"], "with 2 class names, no config in it"),
        (["--config", "config.yaml"], "with the config"),
        (["--config", "config.yaml", "--class-names", "names.txt"], "with the config and 3 class names"),
        (["--config", "coco.yaml"], "with the config and 80 class names"),
    ],
)
def test_what_goes_into_a_safetensors_file(arguments, told, folder, capsys):
    (folder / "names.txt").write_text("\ufeffa b\nc, d\n\n  é \n", encoding="utf-8")
    if "coco.yaml" in arguments:
        cfg = tiny_cfg(ROI_HEADS__NUM_CLASSES=80)
        cfg.DATASETS.TEST = ("coco_2017_val",)
        (folder / "coco.yaml").write_text(cfg.dump())
        torch.save(tiny_model(ROI_HEADS__NUM_CLASSES=80).state_dict(), "model_final.pth")
    assert convert("model_final.pth", "out.safetensors", *arguments) == 0
    assert capsys.readouterr().out.endswith(f"), {told}\n")
    names = read_checkpoint("out.safetensors").extra.get(CLASS_NAMES, [])
    if "names.txt" in arguments:
        assert names == ["a b", "c, d", "é"]


def test_names_of_a_data_set_of_another_number_are_left_out(folder, capsys):
    cfg = tiny_cfg()
    cfg.DATASETS.TEST = ("coco_2017_val",)
    (folder / "config.yaml").write_text(cfg.dump())
    assert convert("model_final.pth", "out.safetensors", "--config", "config.yaml") == 0
    assert capsys.readouterr().out.endswith("), with the config\n")


def test_half(folder, capsys):
    state = read_checkpoint("model_final.pth").model | {"stem.num_batches_tracked": torch.tensor(7)}
    torch.save({"model": state}, "counted.pth")
    assert convert("counted.pth", "half.safetensors", "--half") == 0
    assert f"({len(state) - 1} float16, 1 int64)" in capsys.readouterr().out
    assert same("half.safetensors", "counted.pth", exact=False)
    assert (folder / "half.safetensors").stat().st_size < 0.6 * (folder / "counted.pth").stat().st_size


def test_the_default_models_file_is_what_the_command_writes(folder):
    shipped = default_config().MODEL.WEIGHTS
    assert convert(shipped, "trained.pth") == 0
    assert convert("trained.pth", "again.safetensors", "--half") == 0
    assert (folder / "again.safetensors").read_bytes() == Path(shipped).read_bytes()


@pytest.mark.parametrize(("value", "fits"), [(65519.0, True), (65520.0, False), (-1e9, False), (float("inf"), True)])
def test_half_of_large_values(value, fits, folder, capsys):
    torch.save({"a.weight": torch.ones(2), "b.weight": torch.tensor([1.0, value])}, "large.pth")
    assert convert("large.pth", "half.pth", "--half") == (0 if fits else 1)
    assert ("b.weight has the value" in capsys.readouterr().err) == (not fits)
    assert (folder / "half.pth").exists() == fits


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pth", "out.pth"], "no checkpoint file nowhere.pth"),
        (["nowhere", "out.pth"], "there is no file 'nowhere'"),
        (["config.yaml", "out.pth"], "text file"),
        (["ftp://host/model.pth", "out.pth"], "ftp"),
        (["model_final.pth", "out"], "expected a name that ends in .pth, .pkl, .safetensors"),
        (["model_final.pth", "no/out.pth"], "no folder 'no'"),
        (["model_final.pth", "there.pth"], "there already: choose another name, or replace it with --force"),
        (["model_final.pth", "folder.pth", "--force"], "there already: choose another name\n"),
        (["model_final.pth", "model_final.pth", "--force"], "is both read and written"),
        (["model_final.pth?dl=1", "model_final.pth", "--force"], "is both read and written"),
        (["model_final.pth", "link.pth", "--force"], "is both read and written"),
        (["model_final.pth", "out.pth", "--class-names", "a"], "no place for class names"),
        (["model_final.pth", "out.pth", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (
            ["model_final.pth", "out.pth", "--config", "model_final.pth"],
            "holds weights without a config: give the config in its place",
        ),
        (["model_final.pth", "out.pth", "--config", "COCO-Detection/rpn_R_50_FPN_1x"], "does not fit the model"),
        (
            ["model_final.pth", "out.safetensors", "--config", "config.yaml", "--class-names", "a,b"],
            "2 class names (a, b), but the config's model has 3 classes",
        ),
        (
            ["model_final.pth", "out.safetensors", "--class-names", "model_final.pth"],
            "expected UTF-8 text, a name a line",
        ),
        (["model_final.pth", "out.safetensors", "--class-names", "Stra\udcdfe,b"], "expected text in UTF-8"),
        (["two_classes.pth", "out.pth", "--config", "config.yaml"], "NUM_CLASSES is 3 but the checkpoint has 2"),
    ],
)
def test_what_does_not_work(arguments, message, folder, capsys):
    (folder / "there.pth").write_text("precious")
    (folder / "folder.pth").mkdir()
    os.link("model_final.pth", "link.pth")
    state = read_checkpoint("model_final.pth").model
    classes = "roi_heads.box_predictor.cls_score."
    torch.save({k: v[:3] if k.startswith(classes) else v for k, v in state.items()}, "two_classes.pth")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert convert(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("litepred: error: ")
    assert message in captured.err
    assert captured.out == ""
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_force(folder):
    (folder / "out.pth").write_text("old")
    assert convert("model_final.pth", "out.pth", "--force") == 0
    assert same("out.pth", "model_final.pth")


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are text")
def test_a_file_of_names_whose_own_name_is_no_text(folder):
    path = os.fsdecode(b"caf\xe9.txt")
    Path(path).write_text("a\nb\nc\n")
    assert convert("model_final.pth", "one.safetensors", "--config", "config.yaml", "--class-names", path) == 0


def test_a_full_disk_leaves_the_old_file(folder, monkeypatch, capsys):
    def full(_):
        raise OSError(28, "No space left on device")

    (folder / "out.pth").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    assert convert("model_final.pth", "out.pth", "--force") == 1
    assert "cannot write 'out.pth': No space left on device" in capsys.readouterr().err
    assert (folder / "out.pth").read_text() == "old"
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "model_final.pth", "out.pth"}


def test_keys_without_a_place_are_one_warning(folder, capsys):
    torch.save(read_checkpoint("model_final.pth").model | {"extra.weight": torch.ones(1)}, "more.pth")
    assert convert("more.pth", "out.pth", "--config", "config.yaml") == 0
    err = capsys.readouterr().err
    assert err.startswith("litepred: warning: more.pth has 1 keys")
    assert "extra.weight" in err


def test_a_model_of_the_zoo_by_name(folder, monkeypatch, capsys):
    """Config and class names follow from the name; the checkpoint is here already, in Detectron2's cache."""
    name = "COCO-Detection/rpn_R_50_C4_1x"
    monkeypatch.setenv("FVCORE_CACHE", str(folder / "cache"))
    monkeypatch.setenv("LITEPRED_CACHE", str(folder / "empty"))
    path = folder / "cache" / model_zoo.get_checkpoint_url(name).split("/", 3)[3]
    path.parent.mkdir(parents=True)
    shapes = build_skeleton(model_zoo.get_config(name)).state_dict()
    arrays = {key: torch.zeros(value.shape, dtype=torch.float16).numpy() for key, value in shapes.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    assert convert(name, "rpn.safetensors") == 0
    assert capsys.readouterr().out.endswith("float16), with the config\n")
    assert "META_ARCHITECTURE: ProposalNetwork" in read_checkpoint("rpn.safetensors").header[CONFIG]


def test_short_names_become_full_ones_with_a_config(folder):
    state = read_checkpoint("model_final.pth").model
    short = {key.removeprefix("backbone.bottom_up."): value for key, value in state.items()}
    torch.save({"model": short, "__author__": "torchvision", "matching_heuristics": True}, "short.pth")
    assert convert("short.pth", "full.pth", "--config", "config.yaml") == 0
    assert same("full.pth", "model_final.pth")
    assert convert("short.pth", "short.safetensors") == 0
    assert convert("short.safetensors", "again.pth", "--config", "config.yaml") == 0
    assert same("again.pth", "model_final.pth")


def test_torchvisions_models_bring_their_config(folder, capsys):
    with torch.device("meta"):
        theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).state_dict()
    state = {key: torch.zeros((), dtype=torch.float16).expand(value.shape) for key, value in theirs.items()}
    torch.save(state, "torchvision.pth")
    assert convert("torchvision.pth", "model.safetensors") == 0
    assert capsys.readouterr().out.endswith(" with the config and 90 class names\n")
    expected = torchvision_config(state)
    expected.MODEL.WEIGHTS = ""
    written = read_checkpoint("model.safetensors")
    assert written.header[CONFIG] == expected.dump()
    assert "backbone.bottom_up.res2.0.conv1.weight" in written.model


class TestPredictor:
    """What a bundle is to `Predictor`."""

    @pytest.fixture
    def bundle(self, folder):
        convert("model_final.pth", "one.safetensors", "--config", "config.yaml", "--class-names", "a,b,c")
        return folder / "one.safetensors"

    @pytest.mark.parametrize("as_type", [str, lambda path: path])
    def test_by_content_not_by_name(self, as_type, bundle):
        renamed = bundle.rename(bundle.with_name("model.bin"))
        assert Predictor(as_type(renamed)).metadata.thing_classes == ["a", "b", "c"]

    def test_arguments_override(self, bundle):
        other = {key: value * 2 for key, value in read_checkpoint(bundle).model.items()}
        torch.save(other, "other.pth")
        one = Predictor(bundle, weights="other.pth", device="cpu", class_names=["x", "y", "z"], exact=True)
        assert one.metadata.thing_classes == ["x", "y", "z"]
        assert one.cfg.MODEL.WEIGHTS == "other.pth"
        assert all(torch.equal(value, other[key]) for key, value in one.model.state_dict().items())

    def test_without_a_config(self, bundle):
        convert("model_final.pth", "plain.safetensors")
        with pytest.raises(ConfigError, match=r"without a config: pass both.*litepred convert plain\.safetensors"):
            Predictor("plain.safetensors")
        assert Predictor("config.yaml", weights="plain.safetensors").cfg.MODEL.WEIGHTS == "plain.safetensors"

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ("", "empty"),
            ("MODEL: 3\n", "MODEL is a section"),
            ("MODEL:\n  NO_SUCH: 1\n", "NO_SUCH"),
            ("!!python/object/apply:os.system [touch ran]\n", "refused"),
            ("_BASE_: /etc/passwd\n", "_BASE_"),
        ],
    )
    def test_a_config_that_is_wrong(self, config, message, bundle):
        from litepred.checkpoint.writers import write_checkpoint

        write_checkpoint(bundle, {"a": torch.ones(1)}, {}, {CONFIG: config})
        with pytest.raises(ConfigError, match=f"(?s)the config embedded in .*one.safetensors: .*{message}"):
            Predictor(bundle)
        assert not bundle.with_name("ran").exists()

    def test_names_that_the_catalog_has_bring_its_colours(self):
        page = Predictor(class_names=["text", "title", "list", "table", "figure"])
        assert page.metadata.thing_colors
        assert page.metadata.stuff_classes
