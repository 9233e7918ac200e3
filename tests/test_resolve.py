"""From what a user names to config, weights and class names."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest
import torch
from tiny_models import tiny_cfg, tiny_model

from litepred import CheckpointError, ConfigError, Predictor
from litepred.checkpoint import readers
from litepred.checkpoint.bundle import bundle_texts
from litepred.checkpoint.writers import write_checkpoint
from litepred.resolve import class_kind, class_metadata, known_names, resolve_model

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A config, and files of its weights with more and more in them."""
    folder = tmp_path_factory.mktemp("models")
    text, state = tiny_cfg("fpn").dump(), dict(tiny_model("fpn").state_dict())
    (folder / "config.yaml").write_text(text)
    torch.save({"model": state}, folder / "plain.pth")
    write_checkpoint(folder / "plain.safetensors", state, {})
    write_checkpoint(folder / "names.safetensors", state, {}, bundle_texts(class_names=NAMES))
    write_checkpoint(folder / "bundle.safetensors", state, {}, bundle_texts(text, NAMES))
    write_checkpoint(folder / "xyz.safetensors", state, {}, bundle_texts(text, ["x", "y", "z"]))
    write_checkpoint(folder / "two.safetensors", state, {}, bundle_texts(text, ["x", "y"]))
    return folder


def resolve(cfg, weights=None, class_names=None, infer_num_classes=False):
    return resolve_model(cfg, weights, "cpu", class_names, infer_num_classes)


@pytest.mark.parametrize(
    ("cfg", "weights", "given", "expected"),
    [
        ("config.yaml", None, None, None),
        ("config.yaml", "plain.pth", None, None),
        ("config.yaml", "plain.safetensors", None, None),
        ("config.yaml", "plain.pth", NAMES, NAMES),
        ("config.yaml", "names.safetensors", None, NAMES),
        ("config.yaml", "bundle.safetensors", None, NAMES),
        ("config.yaml", "bundle.safetensors", ["x", "y", "z"], ["x", "y", "z"]),
        ("config.yaml", "two.safetensors", None, None),
        ("bundle.safetensors", None, None, NAMES),
        ("bundle.safetensors", "plain.pth", None, NAMES),
        ("bundle.safetensors", "xyz.safetensors", None, ["x", "y", "z"]),
        ("bundle.safetensors", "two.safetensors", None, NAMES),
    ],
)
def test_where_the_class_names_come_from(folder, monkeypatch, cfg, weights, given, expected):
    monkeypatch.chdir(folder)
    found = resolve(cfg, weights, given)
    assert found.metadata.get("thing_classes") == expected
    assert (weights or (cfg if cfg.endswith(".safetensors") else "")) == found.cfg.MODEL.WEIGHTS
    assert (found.checkpoint is None) == (found.cfg.MODEL.WEIGHTS == "")


def test_a_predictor_has_the_names_in_the_file_of_its_weights(folder):
    predictor = Predictor(folder / "config.yaml", weights=folder / "bundle.safetensors", device="cpu")
    assert predictor.metadata.thing_classes == NAMES


@pytest.mark.parametrize("infer_num_classes", [False, True])
@pytest.mark.parametrize(("cfg", "weights"), [("bundle.safetensors", None), ("config.yaml", "bundle.safetensors")])
def test_each_file_is_read_once(folder, monkeypatch, cfg, weights, infer_num_classes):
    monkeypatch.chdir(folder)
    read, reader = [], readers._read
    monkeypatch.setattr(readers, "_read", lambda file, *how: read.append(file.name) or reader(file, *how))
    Predictor(cfg, weights=weights, device="cpu", infer_num_classes=infer_num_classes)
    assert read == ["bundle.safetensors"]


def test_a_bundle_whose_own_names_do_not_fit_is_refused(folder):
    with pytest.raises(ConfigError, match="class_names has 2 names, but the config's model has 3 classes"):
        resolve(folder / "two.safetensors")


def test_a_state_dict_is_the_checkpoint(folder):
    state = tiny_model("fpn").state_dict()
    found = resolve(folder / "config.yaml", state)
    assert (found.checkpoint.model, found.checkpoint.name) == (dict(state), "the state dict")
    assert found.cfg.MODEL.WEIGHTS == ""


def test_a_state_dict_whose_names_become_the_same(folder):
    state = dict(tiny_model("fpn").state_dict())
    name = next(key for key in state if key.startswith("backbone."))
    with pytest.raises(CheckpointError, match=f"two of its names, .* are both {name} without"):
        resolve(folder / "config.yaml", {**state, f"_orig_mod.{name}": state[name] + 1})


def test_a_frozen_config_stays_frozen_and_is_copied():
    cfg = tiny_cfg("fpn")
    cfg.freeze()
    found = resolve(cfg)
    assert found.cfg is not cfg
    assert found.cfg.is_frozen()


def test_class_counts_that_are_counted_leave_the_data_set(folder):
    cfg = tiny_cfg("fpn")
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
    cfg.DATASETS.TEST = ("coco_2017_val",)
    assert len(resolve(cfg, folder / "plain.pth").metadata.thing_classes) == 80
    found = resolve(cfg, folder / "names.safetensors", infer_num_classes=True)
    assert found.cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert found.metadata.thing_classes == NAMES


class TestClassMetadata:
    @pytest.mark.parametrize("names", ["abc", {"a": 1, "b": 2, "c": 3}, 3, ["a", "b", None], ["a"], []])
    def test_what_are_no_names(self, names):
        with pytest.raises(ConfigError, match=r"class_names (is|has) .*expected a"):
            class_metadata(tiny_cfg("fpn"), names)

    def test_without_names_or_data_set(self):
        cfg = tiny_cfg("fpn")
        cfg.DATASETS.TEST = ()
        assert class_metadata(cfg, None).get("thing_classes") is None

    def test_names_that_the_data_set_has_bring_its_colours(self):
        cfg = tiny_cfg("fpn")
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
        cfg.DATASETS.TEST = ("coco_2017_val",)
        known = class_metadata(cfg, None)
        assert class_metadata(cfg, list(known.thing_classes)) is known
        assert class_metadata(cfg, ["x"] * 80).get("thing_colors") is None


@pytest.mark.parametrize(
    ("family", "key", "expected"),
    [
        ("fpn", "MODEL.ROI_HEADS.NUM_CLASSES", ("thing_classes", 7)),
        ("cascade", "MODEL.ROI_HEADS.NUM_CLASSES", ("thing_classes", 7)),
        ("panoptic", "MODEL.ROI_HEADS.NUM_CLASSES", ("thing_classes", 7)),
        ("proposals", "MODEL.ROI_HEADS.NUM_CLASSES", ("thing_classes", 7)),
        ("retinanet", "MODEL.RETINANET.NUM_CLASSES", ("thing_classes", 7)),
        ("semantic", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", ("stuff_classes", 7)),
    ],
)
def test_class_kind(family, key, expected):
    cfg = tiny_cfg(family)
    cfg.merge_from_list([key, 7])
    assert class_kind(cfg) == expected


@pytest.mark.parametrize(
    ("family", "key", "data_set", "number", "expected"),
    [
        ("fpn", "MODEL.ROI_HEADS.NUM_CLASSES", "coco_2017_val", 5, None),
        ("fpn", "MODEL.ROI_HEADS.NUM_CLASSES", "coco_2017_val", 80, "person"),
        ("fpn", "MODEL.ROI_HEADS.NUM_CLASSES", "never_seen", 80, None),
        ("semantic", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "coco_2017_val_panoptic_stuffonly", 54, "things"),
        ("semantic", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "coco_2017_val_panoptic_stuffonly", 80, None),
        ("semantic", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "cityscapes_fine_sem_seg_val", 19, "road"),
    ],
)
def test_known_names(family, key, data_set, number, expected):
    cfg = tiny_cfg(family)
    cfg.merge_from_list([key, number])
    cfg.DATASETS.TEST = (data_set,)
    names = known_names(cfg, class_metadata(cfg, None))
    assert names is None if expected is None else (len(names), names[0]) == (number, expected)


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_the_other_unicode_form(form, other, tmp_path):
    """As of files from a Mac, whose names are typed elsewhere."""
    home = tmp_path / normalize(form, "Größe")
    home.mkdir()
    cfg, model = tiny_cfg(), tiny_model("fpn")
    torch.save({"model": model.state_dict()}, home / normalize(form, "Gewichte ü.pth"))
    (home / normalize(form, "Grundlage ä.yaml")).write_text(cfg.dump())
    weights = tmp_path / normalize(other, "Größe") / normalize(other, "Gewichte ü.pth")
    text = f'_BASE_: "{normalize(other, "Grundlage ä.yaml")}"\nMODEL: {{WEIGHTS: "{weights}"}}\n'
    (home / normalize(form, "Modell ö.yaml")).write_text(text, encoding="utf-8")
    predictor = Predictor(tmp_path / normalize(other, "Größe") / normalize(other, "Modell ö.yaml"))
    assert torch.equal(predictor.model.backbone.fpn_output2.weight, model.backbone.fpn_output2.weight)
    other_model = Predictor(predictor.cfg, weights=f"{weights}?matching_heuristics=True").model
    assert torch.equal(other_model.backbone.fpn_output2.weight, model.backbone.fpn_output2.weight)
