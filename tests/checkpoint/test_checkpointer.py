from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

from litepred.checkpoint import DetectionCheckpointer, LoadReport, read_checkpoint, resolve_path
from litepred.errors import CheckpointError, WriteError


def model(value: float = 0.0) -> nn.Module:
    built = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    for tensor in built.state_dict().values():
        tensor.fill_(value)
    return built


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def test_an_empty_path_loads_nothing() -> None:
    built = model(1)
    assert DetectionCheckpointer(built).load("") == {}
    assert same(built, model(1))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("model_final", "model_final.pth"),
        ("model_999", "model_999.pth"),
        ("v1.2", "v1.2.pth"),
        ("a.pth", "a.pth"),
        ("a.pkl", "a.pkl"),
        ("a.safetensors", "a.safetensors"),
    ],
)
def test_save_and_load(name: str, file: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    saver = DetectionCheckpointer(model(3), folder)
    saver.save(name, iteration=7, note="é", loss=0.5)
    assert {entry.name for entry in folder.iterdir()} == {file, "last_checkpoint"}
    assert saver.get_checkpoint_file() == str(folder / file)
    assert saver.get_all_checkpoint_files() == [str(folder / file)]
    built = model()
    rest = DetectionCheckpointer(built).load(folder / file)
    rest.pop("__author__", None)
    assert rest == {"iteration": 7, "note": "é", "loss": 0.5}
    assert same(built, model(3))


def test_what_the_formats_hold(tmp_path: Path) -> None:
    saver = DetectionCheckpointer(model(3), str(tmp_path))
    for name in ("a.pth", "a.pkl", "a.safetensors"):
        saver.save(name, iteration=7, note="x")
    keys = list(model().state_dict())
    loaded = torch.load(tmp_path / "a.pth", weights_only=True)
    assert (list(loaded["model"]), loaded["iteration"]) == (keys, 7)
    pickled = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert list(pickled) == ["model", "__author__", "iteration", "note"]
    assert list(pickled["model"]) == keys
    assert all(type(value) is np.ndarray for value in pickled["model"].values())
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "iteration": "7", "note": '"x"'}
        assert set(opened.keys()) == set(keys)


def test_a_safetensors_file_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        DetectionCheckpointer(model(3), tmp_path).save(name, **{f"entry {number}": number for number in range(12)})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["a.pth", "a.pkl", "a.safetensors"])
def test_tensors_that_share_memory_or_have_other_strides(name: str, tmp_path: Path) -> None:
    built = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last))
    built[1].weight = built[0].weight
    DetectionCheckpointer(built, tmp_path).save(name)
    model = read_checkpoint(tmp_path / name).model
    assert all(torch.equal(model[key], value) for key, value in built.state_dict().items())


@pytest.mark.parametrize("options", [{"save_dir": ""}, {"save_dir": "folder", "save_to_disk": False}])
def test_nothing_is_saved_when_told_so(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    DetectionCheckpointer(model(), **options).save("x")
    assert list(tmp_path.iterdir()) == []


class Interrupting:
    """Stops the writing of the file that holds it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("disk")], ids=repr)
@pytest.mark.parametrize("name", ["x.pth", "x.pkl"])
def test_a_file_is_written_whole_or_not_at_all(name: str, error: BaseException, tmp_path: Path) -> None:
    saver = DetectionCheckpointer(model(1), tmp_path)
    with pytest.raises(type(error)):
        saver.save(name, stop=Interrupting(error))
    assert list(tmp_path.iterdir()) == []
    saver.save(name)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(type(error)):
        DetectionCheckpointer(model(2), tmp_path).save(name, stop=Interrupting(error))
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["x.pth", "x.pkl", "x.safetensors"])
def test_a_full_disk_leaves_what_was_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    DetectionCheckpointer(model(1), tmp_path).save(name)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        DetectionCheckpointer(model(2), tmp_path).save(name)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_failing_rename_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(WriteError):
        DetectionCheckpointer(model(), tmp_path).save("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "extra", "expected"),
    [
        ("sub/x", {}, "has a folder in it"),
        ("x.safetensors", {"cfg": {"a": 1}, "n": 1}, r"not cfg \(dict\)"),
        ("x.safetensors", {"sizes": [1]}, r"not sizes \(list\)"),
    ],
)
def test_what_cannot_be_saved(name: str, extra: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=expected):
        DetectionCheckpointer(model(), tmp_path).save(name, **extra)
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_numpy_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"0\.weight is torch\.bfloat16.*save as \.pth"):
        DetectionCheckpointer(model().to(torch.bfloat16), tmp_path).save("x.pkl")


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    for checkpointer in (DetectionCheckpointer(model(), tmp_path), DetectionCheckpointer(model())):
        assert not checkpointer.has_checkpoint()
        assert checkpointer.get_checkpoint_file() == ""
        assert checkpointer.get_all_checkpoint_files() == []
    assert DetectionCheckpointer(model(), tmp_path / "none").get_all_checkpoint_files() == []


def test_only_checkpoints_are_listed(tmp_path: Path) -> None:
    for name in ("b.pth", "a.pkl", "c.safetensors", "log.txt", ".x.pth.1.tmp"):
        (tmp_path / name).touch()
    listed = DetectionCheckpointer(model(), tmp_path).get_all_checkpoint_files()
    assert [os.path.basename(file) for file in listed] == ["a.pkl", "b.pth", "c.safetensors"]


@pytest.mark.parametrize(("resume", "expected"), [(True, 5), (False, 4)])
def test_resume_or_load(resume: bool, expected: float, tmp_path: Path) -> None:
    DetectionCheckpointer(model(4), tmp_path / "other").save("base")
    DetectionCheckpointer(model(5), tmp_path / "run").save("last")
    built = model()
    checkpointer = DetectionCheckpointer(built, tmp_path / "run")
    checkpointer.resume_or_load(str(tmp_path / "other" / "base.pth"), resume=resume)
    assert same(built, model(expected))


def test_resume_without_a_checkpoint_loads_the_given_one(tmp_path: Path) -> None:
    DetectionCheckpointer(model(4), tmp_path / "other").save("base")
    built = model()
    DetectionCheckpointer(built, tmp_path / "run").resume_or_load(tmp_path / "other" / "base.pth", resume=True)
    assert same(built, model(4))


@pytest.mark.parametrize("names", [None, []])
def test_the_objects_of_a_trainer_are_left_alone(names: list[str] | None, tmp_path: Path) -> None:
    torch.save({"model": model(2).state_dict(), "optimizer": {"lr": 1}, "iteration": 9}, tmp_path / "x.pth")
    built = model()
    rest = DetectionCheckpointer(built).load(str(tmp_path / "x.pth"), names)
    assert rest == {"optimizer": {"lr": 1}, "iteration": 9}
    assert same(built, model(2))


def test_the_objects_of_a_trainer_are_refused(tmp_path: Path) -> None:
    torch.save({"model": model(2).state_dict()}, tmp_path / "x.pth")
    built = model()
    with pytest.raises(CheckpointError, match="checkpointables are 'optimizer': expected none"):
        DetectionCheckpointer(built).load(tmp_path / "x.pth", ["optimizer"])
    assert same(built, model())
    with pytest.raises(CheckpointError, match="checkpointables are 'optimizer', 'scheduler': expected none"):
        DetectionCheckpointer(built, optimizer={}, scheduler={})


def test_a_wrapped_model_is_unwrapped(tmp_path: Path) -> None:
    DetectionCheckpointer(nn.DataParallel(model(2)), tmp_path).save("x")
    assert set(read_checkpoint(tmp_path / "x.pth").model) == set(model().state_dict())


def test_strict_is_passed_on(tmp_path: Path) -> None:
    DetectionCheckpointer(nn.Sequential(nn.Conv2d(2, 3, 1)), tmp_path).save("x")
    built = model()
    checkpointer = DetectionCheckpointer(built)
    with pytest.raises(CheckpointError, match=r"x\.pth does not fit(.|\n)*1\.\{bias"):
        checkpointer.load(tmp_path / "x.pth")
    assert same(built, model())
    assert checkpointer.last_report == LoadReport()
    with pytest.warns(UserWarning, match=r"x\.pth fits the model only in part"):
        checkpointer.load(tmp_path / "x.pth", strict=False)
    assert not same(built, model())
    assert checkpointer.last_report == LoadReport(missing=("1.weight", "1.bias", "1.running_mean", "1.running_var"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        DetectionCheckpointer(model()).load(tmp_path / "none.pth")
    assert isinstance(caught.value, CheckpointError)


@pytest.mark.parametrize("path", ["x.pth", Path("a") / "x.pth", "C:\\models\\x.pth", "x.pth?dl=1"])
def test_local_paths(path: str | Path) -> None:
    assert resolve_path(path) == Path(path)


@pytest.mark.parametrize("address", ["detectron2://a/b.pkl", "https://host/x.pth", "catalog://ImageNetPretrained/x"])
def test_addresses_are_downloaded(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litepred.checkpoint.checkpointer.download", {address: tmp_path / "x.pth"}.__getitem__)
    assert resolve_path(address) == tmp_path / "x.pth"


def test_the_heuristics_are_no_part_of_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = {"https://host/x.pth?id=1": tmp_path / "x.pth"}
    for module in ("checkpointer", "readers"):
        monkeypatch.setattr(f"litepred.checkpoint.{module}.download", downloads.__getitem__)
    torch.save(model(2).state_dict(), tmp_path / "x.pth")
    address = "https://host/x.pth?matching_heuristics=True&id=1"
    assert resolve_path(address) == tmp_path / "x.pth"
    built = nn.ModuleDict({"inner": model()})
    assert DetectionCheckpointer(built).load(address) == {}
    assert same(built["inner"], model(2))


def test_addresses_of_other_kinds_are_refused() -> None:
    with pytest.raises(CheckpointError, match="plain path"):
        DetectionCheckpointer(model()).load("file:///x.pth")


class Renaming(nn.Module):
    """A head that kept its layer under another name before its version 2, as Mask2Former's has."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.decoder = nn.Linear(2, 2, bias=False)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if (local_metadata.get("version") or 1) < 2:
            for key in [key for key in state_dict if key.startswith(prefix) and "scale" not in key]:
                state_dict[f"{prefix}decoder.{key[len(prefix) :]}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


@pytest.mark.parametrize("wrapped", [False, True])
def test_modules_rename_what_is_older_than_they_are(tmp_path, wrapped):
    model, other = nn.Sequential(Renaming()), nn.Sequential(Renaming())
    nn.init.ones_(other[0].decoder.weight)
    old = {"0.weight": torch.ones(2, 2), "0.scale": torch.ones(1)}
    torch.save({"model": old}, tmp_path / "old.pth")
    new = nn.DataParallel(other) if wrapped else other
    torch.save({"model": new.state_dict()}, tmp_path / "new.pth")
    for name in ("old", "new"):
        nn.init.zeros_(model[0].decoder.weight)
        DetectionCheckpointer(model).load(tmp_path / f"{name}.pth")
        assert model[0].decoder.weight.equal(torch.ones(2, 2)), name

    torch.save({"model": {**old, "0.weight": torch.ones(3, 2)}}, tmp_path / "misfit.pth")
    model[0].scale.data.fill_(5)
    with pytest.raises(CheckpointError, match=r"0\.decoder\.weight: checkpoint \(3, 2\), model \(2, 2\)"):
        DetectionCheckpointer(model).load(tmp_path / "misfit.pth")
    assert model[0].scale == 5


class Whole(nn.Module):
    """It has all of its model in one attribute, as the DETR of Detectron2's interface."""

    def __init__(self, value: float):
        super().__init__()
        self.detr = nn.ModuleDict({"backbone": nn.Linear(1, 1), "head": Renaming()})
        nn.init.constant_(self.detr.backbone.weight, value)
        nn.init.constant_(self.detr.head.decoder.weight, value)


class Own(DetectionCheckpointer):
    def _load_file(self, filename):
        return super()._load_file(filename)


@pytest.mark.parametrize("wrapper", ["", "module", "_orig_mod", "model"])
def test_a_model_keeps_what_it_has_before_backbone(tmp_path, wrapper):
    wanted = nn.ModuleDict({wrapper: Whole(3)}) if wrapper else Whole(3)
    torch.save({"model": wanted.state_dict()}, tmp_path / "weights.pth")
    loaded = Whole(0)
    DetectionCheckpointer(loaded).load(tmp_path / "weights.pth")
    assert loaded.detr.backbone.weight == 3
    assert loaded.detr.head.decoder.weight.equal(torch.full((2, 2), 3.0))


def test_it_does_so_where_a_subclass_reads_the_file(tmp_path):
    torch.save(
        {"model": nn.ModuleDict({"net": nn.ModuleDict({"backbone": nn.Linear(1, 1)})}).state_dict()}, tmp_path / "x.pth"
    )
    loaded = nn.ModuleDict({"detr": nn.ModuleDict({"backbone": nn.Linear(1, 1)})})
    nn.init.zeros_(loaded.detr.backbone.weight)
    Own(loaded).load(tmp_path / "x.pth")
    assert loaded.detr.backbone.weight != 0


@pytest.mark.parametrize("reads_itself", [False, True])
@pytest.mark.parametrize("short", [False, True])
def test_a_subclass_that_reads_files_in_its_own_way(reads_itself: bool, short: bool, tmp_path: Path) -> None:
    class Own(DetectionCheckpointer):
        def _load_file(self, filename: str) -> dict[str, Any]:
            if reads_itself:
                loaded = {"model": dict(np.load(filename)), "iteration": 7}
            else:
                loaded = super()._load_file(filename)
            prefix = "old." if short else "old.net."
            named = {key.replace(prefix, "" if short else "net."): value for key, value in loaded["model"].items()}
            return {**loaded, "model": named, "matching_heuristics": short}

    wanted = nn.ModuleDict({"net": model(2)})
    arrays = {f"old.{key}": value.numpy() for key, value in wanted.state_dict().items()}
    if short:
        arrays = {key.replace("old.net.", "old."): value for key, value in arrays.items()}
    file = tmp_path / "weights.npz"
    if reads_itself:
        np.savez(file, **arrays)
    else:
        torch.save({"model": {key: torch.as_tensor(v) for key, v in arrays.items()}, "iteration": 7}, file)
    loaded = nn.ModuleDict({"net": model()})
    assert Own(loaded).load(file)["iteration"] == 7
    assert same(loaded, wanted)
    with pytest.raises(FileNotFoundError):
        Own(loaded).load(tmp_path / "none.pth")


@pytest.mark.parametrize("checkpointer", [DetectionCheckpointer, Own])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_a_teacher_and_a_student_in_one_model(checkpointer, wrapper, tmp_path):
    def both(value: float) -> nn.Module:
        parts = {name: nn.ModuleDict({"backbone": model(value)}) for name in ("modelTeacher", "modelStudent")}
        return nn.ModuleDict(parts)

    state = {f"{wrapper}{key}": value for key, value in both(2).state_dict().items()}
    torch.save({"model": state}, tmp_path / "x.pth")
    loaded = both(0)
    checkpointer(loaded).load(tmp_path / "x.pth")
    assert same(loaded, both(2))
    one = nn.ModuleDict({"backbone": model()})
    checkpointer(one).load(f"{tmp_path}/x.pth?prefix=modelTeacher")
    assert same(one.backbone, model(2))
    with pytest.raises(CheckpointError, match="several models"):
        checkpointer(one).load(tmp_path / "x.pth")


def test_models_that_have_an_entry_each(tmp_path: Path) -> None:
    """As of programs that train a student beside its teacher."""
    parts = {name: {"model": nn.ModuleDict({"backbone": model(value)}).state_dict(), "epoch": 3}
             for name, value in (("student", 1), ("teacher", 2))}  # fmt: skip
    torch.save(parts, tmp_path / "x.pth")
    one = nn.ModuleDict({"backbone": model()})
    with pytest.raises(
        CheckpointError, match=r"several models, 'student' and 'teacher': choose one with \?prefix=stud"
    ):
        DetectionCheckpointer(one).load(tmp_path / "x.pth")
    DetectionCheckpointer(one).load(f"{tmp_path}/x.pth?prefix=teacher")
    assert same(one.backbone, model(2))


@pytest.mark.parametrize("is_address", [False, True])
def test_a_subclass_gets_the_plain_path(is_address: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(DetectionCheckpointer):
        def _load_file(self, filename: str) -> dict[str, Any]:
            return {"model": dict(np.load(filename))}

    np.savez(tmp_path / "x.npz", **{f"module.{key}": value.numpy() for key, value in model(2).state_dict().items()})
    monkeypatch.setattr("litepred.checkpoint.readers.download", {"https://host/x.npz": tmp_path / "x.npz"}.__getitem__)
    loaded = nn.ModuleDict({"net": model()})
    Own(loaded).load(f"{'https://host' if is_address else tmp_path}/x.npz?matching_heuristics=True")
    assert same(loaded.net, model(2))
    with pytest.raises(CheckpointError, match=r"no names that begin with 'typo\.'"):
        Own(loaded).load(f"{tmp_path}/x.npz?prefix=typo")


@pytest.mark.parametrize("strict", [True, False])
def test_a_subclass_that_loads_the_model(strict: bool, tmp_path: Path) -> None:
    """It changes what is loaded, and is told how that fits; what is strict stays so."""

    class Own(DetectionCheckpointer):
        def _load_model(self, checkpoint: dict[str, Any]) -> Any:
            weights = {key.removeprefix("teacher."): value.numpy() for key, value in checkpoint["model"].items()}
            weights.pop("weight")
            self.seen = checkpoint["iteration"], super()._load_model({**checkpoint, "model": weights}).missing
            return self.last_report

    state = {f"teacher.{key}": value for key, value in nn.Linear(2, 3).state_dict().items()}
    torch.save({"model": state, "iteration": 9}, tmp_path / "x.pth")
    loaded = nn.Linear(2, 3)
    checkpointer = Own(loaded)
    if strict:
        with pytest.raises(CheckpointError, match="weight"):
            checkpointer.load(tmp_path / "x.pth")
    else:
        with pytest.warns(UserWarning, match="only in part"):
            assert checkpointer.load(tmp_path / "x.pth", strict=False)["iteration"] == 9
        assert checkpointer.seen == (9, ("weight",))
        assert torch.equal(loaded.bias, state["teacher.bias"])
    assert not hasattr(checkpointer, "_loading")


@pytest.mark.parametrize("reads_itself", [False, True])
def test_names_of_caffe2_from_a_subclass(reads_itself: bool, tmp_path: Path) -> None:
    class Own(DetectionCheckpointer):
        def _load_file(self, filename: str) -> dict[str, Any]:
            return pickle.loads(Path(filename).read_bytes()) if reads_itself else super()._load_file(filename)

    rows = {"cls_score_w": np.arange(6, dtype=np.float32).reshape(3, 2), "cls_score_b": np.zeros(3, np.float32)}
    data = {"model": rows, "__author__": "Caffe2", "matching_heuristics": True}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(data))
    for checkpointer in (DetectionCheckpointer, Own):
        loaded = nn.ModuleDict({"box_predictor": nn.ModuleDict({"cls_score": nn.Linear(2, 3)})})
        checkpointer(loaded).load(tmp_path / "x.pkl")
        assert loaded.box_predictor.cls_score.weight.tolist() == [[2, 3], [4, 5], [0, 1]]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot make the folder"):
        DetectionCheckpointer(model(), tmp_path / "file" / "folder").save("x")
