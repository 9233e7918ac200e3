"""Models on the hub, by a server of ours that speaks its protocol."""

from __future__ import annotations

import io
import sys

import huggingface_hub
import numpy as np
import pytest
import torch
from hub_server import HubServer, commit_of, point_at
from tiny_models import tiny_cfg, tiny_model

from litepred import CheckpointError, LitepredError, Predictor, extensions
from litepred.checkpoint import read_checkpoint
from litepred.cli import main
from litepred.hub.places import Address, _choose, from_hub, parse
from litepred.resolve import named_config

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
NAME = "faster_rcnn_R_50_FPN_3x"


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = HubServer()
    point_at(server, tmp_path / "cache", monkeypatch)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def model():
    """Config and checkpoint of a model of three classes, as files."""
    cfg = tiny_cfg("fpn")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.DATASETS.TEST = ()
    file = io.BytesIO()
    torch.save({"model": dict(tiny_model("fpn").state_dict())}, file)
    return cfg.dump().encode(), file.getvalue()


@pytest.fixture
def repo(server, model):
    """A repository with the model in a folder."""
    server.repos["me/models"] = {
        "README.md": b"# Models",
        "tiny/config.yml": model[0],
        "tiny/model_final.pth": model[1],
        "tiny/model_0001.pth": b"not the last one",
    }
    return server.repos["me/models"]


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://me/models", ("me/models", None, "")),
        ("hf://me/models/", ("me/models", None, "")),
        ("hf://me/models/a/b.pth", ("me/models", None, "a/b.pth")),
        ("hf://me/models@v1.0/a", ("me/models", "v1.0", "a")),
        ("hf://me/models@refs/pr/7/a", ("me/models", "refs/pr/7", "a")),
    ],
)
def test_addresses(address, parts):
    assert parse(address) == Address(*parts)


@pytest.mark.parametrize("address", ["hf://", "hf://me", "hf:///me/models", "hf://me/models/../x", "hf://me/mo dels"])
def test_no_addresses(address):
    with pytest.raises(CheckpointError, match="expected hf://owner/repository"):
        parse(address)


def boxes(predictor):
    return predictor(IMAGE)["instances"].pred_boxes.tensor


@pytest.mark.parametrize("path", ["tiny", "tiny/config.yml"])
def test_a_folder_with_config_and_weights(repo, server, model, tmp_path, path):
    found = Predictor(f"hf://me/models/{path}")
    (tmp_path / "config.yaml").write_bytes(model[0])
    (tmp_path / "model.pth").write_bytes(model[1])
    assert torch.equal(boxes(found), boxes(Predictor(tmp_path / "config.yaml", weights=tmp_path / "model.pth")))
    assert not any("0001" in path or "README" in path for _, path, _ in server.requests)  # only what is needed
    assert {token for _, path, token in server.requests if "me/models" in path} == {"Bearer hf_secret"}


@pytest.mark.parametrize("status", [0, 408, 429, 500, 503])
def test_the_cache_serves_when_the_hub_is_out_of_reach(repo, server, monkeypatch, status):
    online = boxes(Predictor("hf://me/models/tiny"))
    if status:
        server.busy = status
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert torch.equal(boxes(Predictor("hf://me/models/tiny")), online)
    for address, told in (("me/others", ""), ("me/models/none.pth", ".*; of it the cache has .*tiny/config.yml")):
        with pytest.raises(CheckpointError, match=f"hf://{address} cannot be had: {told}"):
            Predictor(f"hf://{address}")


def test_several_checkpoints_in_the_cache_are_told_as_such(repo, server, monkeypatch):
    server.repos["me/several"] = {"a.pth": b"", "b.pth": b"", "c.yaml": b""}
    for name in ("a.pth", "b.pth"):
        from_hub(f"hf://me/several/{name}")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"several checkpoints, a\.pth, b\.pth: add the path of one"):
        from_hub("hf://me/several")


def test_a_part_of_a_repository_in_the_cache_is_enough(repo, server, monkeypatch):
    """As newer versions of huggingface_hub tell of it."""
    online = boxes(Predictor("hf://me/models/tiny"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    real = huggingface_hub.HfApi.snapshot_download

    def incomplete(*args, **kwargs):
        error = LookupError("some files are missing")
        error.snapshot_path = real(*args, **kwargs)
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "snapshot_download", incomplete)
    assert torch.equal(boxes(Predictor("hf://me/models/tiny")), online)


def test_weights_alone(repo, model, tmp_path):
    (tmp_path / "config.yaml").write_bytes(model[0])
    address = "hf://me/models/tiny/model_final.pth"
    assert len(boxes(Predictor(tmp_path / "config.yaml", weights=address)))
    assert read_checkpoint(address).format == "torch"
    with pytest.raises(LitepredError, match="holds weights without a config"):
        Predictor(address)


def test_a_config_alone_is_what_weights_of_mine_are_run_by(repo, model, tmp_path):
    (tmp_path / "model.pth").write_bytes(model[1])
    assert len(boxes(Predictor("hf://me/models/tiny", weights=tmp_path / "model.pth")))
    assert named_config("hf://me/models/tiny").MODEL.WEIGHTS == ""
    assert named_config("hf://me/models/tiny", trained=True).MODEL.WEIGHTS.endswith("tiny/model_final.pth")


def test_a_revision(repo, server):
    server.repos["me/models@v1"] = {
        "config.yaml": repo["tiny/config.yml"],
        "model_final.pth": repo["tiny/model_final.pth"],
    }
    assert len(boxes(Predictor("hf://me/models@v1")))
    assert len(boxes(Predictor(f"hf://me/models@{commit_of(repo)}/tiny")))


@pytest.mark.parametrize("address", [f"lp://PubLayNet/{NAME}/config", f"lp://detectron2/PubLayNet/{NAME}/weight"])
def test_layoutparser(server, model, address):
    folder = f"PubLayNet/{NAME}"
    five = tiny_cfg("fpn", ROI_HEADS__NUM_CLASSES=5)
    five.DATASETS.TEST = ()
    file = io.BytesIO()
    torch.save({"model": dict(tiny_model("fpn", ROI_HEADS__NUM_CLASSES=5).state_dict())}, file)
    files = {f"{folder}/config.yml": five.dump().encode(), f"{folder}/model_final.pth": file.getvalue()}
    server.repos["layoutparser/detectron2"] = files
    names = ["Text", "Title", "List", "Table", "Figure"]
    assert Predictor(address).metadata.thing_classes == names
    assert Predictor(f"hf://layoutparser/detectron2/{folder}").metadata.thing_classes == names
    assert Predictor(address, class_names=list("abcde")).metadata.thing_classes == list("abcde")
    files[f"{folder}/config.yml"], files[f"{folder}/model_final.pth"] = model  # of three classes: the names are others'
    assert Predictor(f"hf://layoutparser/detectron2@main/{folder}").metadata.get("thing_classes") is None


def test_no_such_model_of_layoutparser():
    with pytest.raises(CheckpointError, match=f"did you mean lp://PubLayNet/{NAME}/config"):
        Predictor(f"lp://PubLaynet/{NAME}/config")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hf://me/nothere", "there is no such repository for you: check its name"),
        ("hf://me/models@v9", "it has no such revision"),
        ("hf://me/models/tinny", "the repository has no file or folder 'tinny', did you mean tiny?"),
        ("hf://me/models", "has no weights beside its files README.md: name their folder"),
        ("hf://me/several", r"several checkpoints, a\.pth, b\.pth: add the path of one"),
        ("hf://me/configs", r"several configs, a\.yaml, b\.yaml: add the path of one"),
        ("hf://me/empty", "has no file or folder"),
        ("hf://me/hostile", "asks for os.system"),
    ],
)
def test_what_is_not_there(repo, server, model, address, told):
    server.repos["me/several"] = {"a.pth": b"", "b.pth": b"", "c.yaml": b""}
    server.repos["me/configs"] = {"a.yaml": b"", "b.yaml": b"", "model.safetensors": b""}
    server.repos["me/empty"] = {}
    server.repos["me/hostile"] = {"config.yaml": model[0], "model_final.pth": b"cos\nsystem\n(S'echo hacked'\ntR."}
    with pytest.raises(LitepredError, match=told):
        Predictor(address)


@pytest.mark.parametrize(
    ("path", "names", "chosen"),
    [
        ("", ["config.yaml", "model.onnx"], ("model.onnx", None)),
        ("", ["a.yaml", "b.yaml", "model.onnx"], ("model.onnx", None)),
        ("config.yaml", ["config.yaml", "model.onnx"], ("model.onnx", None)),
        ("", ["config.yaml", "model.onnx", "model.safetensors"], ("config.yaml", "model.safetensors")),
        ("a", ["a/model.ONNX", "config.yaml"], ("a/model.ONNX", None)),
    ],
)
def test_an_exported_file_has_its_config(path, names, chosen):
    assert _choose("hf://me/models", path, names) == chosen


def test_private_ones_need_a_token(repo, server, monkeypatch):
    server.private.add("me/models")
    assert len(boxes(Predictor("hf://me/models/tiny")))
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CheckpointError, match="if it is private, log in"):
        Predictor("hf://me/models@main/tiny")


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(LitepredError, match=r"pip install 'litepred\[hub\]'"):
        Predictor("hf://me/models")
    assert main(["push", "x.pth", "hf://me/models"]) == 1
    assert "pip install 'litepred[hub]'" in capsys.readouterr().err


def test_other_addresses_are_not_ours():
    assert extensions.model_place("https://host/model.pth") is None
    assert not extensions.is_announced("hf")
    assert not extensions.is_announced("config.yaml")


def test_commands(repo, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "hf://me/models/tiny/model_final.pth"]) == 0
    assert main(["convert", "hf://me/models/tiny", "out.safetensors", "--class-names", "a,b,c"]) == 0
    assert "with the config and 3 class names" in capsys.readouterr().out
    assert Predictor("out.safetensors").metadata.thing_classes == ["a", "b", "c"]


def test_push_and_take_back(server, model, tmp_path, capsys):
    (tmp_path / "config.yaml").write_bytes(model[0])
    (tmp_path / "model.pth").write_bytes(model[1])
    typed = ["push", str(tmp_path / "model.pth"), "hf://me/tiny/v1", "--config", str(tmp_path / "config.yaml")]
    assert (
        main([*typed, "--class-names", "cat,dog,owl", "--license", "mit", "--message", "The first", "--private"]) == 0
    )
    assert (
        capsys.readouterr().out.splitlines()[-1] == f"{server.url}/me/tiny/commit/{commit_of(server.repos['me/tiny'])}"
    )
    files = server.repos["me/tiny"]
    assert set(files) == {"v1/model.safetensors", "v1/config.yaml", "v1/README.md"}
    assert server.private == {"me/tiny"}
    assert server.commits == ["The first"]
    found = Predictor("hf://me/tiny/v1")
    assert found.metadata.thing_classes == ["cat", "dog", "owl"]
    expected = Predictor(tmp_path / "config.yaml", weights=tmp_path / "model.pth")
    assert torch.equal(boxes(found), boxes(expected))
    card = files["v1/README.md"].decode()
    assert huggingface_hub.ModelCard(card).data.to_dict()["license"] == "mit"
    for line in ("# v1", "0. cat", "2. owl", 'predictor = Predictor("hf://me/tiny/v1")', "| order of channels | BGR |"):
        assert line in card.splitlines()
    assert main([*typed[:2], "hf://me/tiny", *typed[3:]]) == 0  # again, into a repository that is there
    assert "0. class 0, without a name" in files["README.md"].decode()


def test_push_that_the_hub_refuses(server, model, tmp_path, capsys, monkeypatch):
    (tmp_path / "config.yaml").write_bytes(model[0])
    (tmp_path / "model.pth").write_bytes(model[1])
    typed = ["push", str(tmp_path / "model.pth"), "hf://me/tiny", "--config", str(tmp_path / "config.yaml")]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main(typed) == 1
    assert "hf://me/tiny could not be pushed to: " in capsys.readouterr().err
    assert main([*typed, "--only-write", str(tmp_path / "made")]) == 0
    assert {file.name for file in (tmp_path / "made").iterdir()} == {"model.safetensors", "config.yaml", "README.md"}
    assert main([*typed, "--only-write", str(tmp_path / "made")]) == 1
    assert "choose an empty folder" in capsys.readouterr().err
    assert main([*typed[:3]]) == 1
    assert "have no config with them" in capsys.readouterr().err


def test_every_model_of_layoutparsers_catalogue_has_its_names():
    from litepred.hub.places import _LAYOUTPARSER_NAMES

    assert len(_LAYOUTPARSER_NAMES) == 11
    assert sorted(_LAYOUTPARSER_NAMES) == list(_LAYOUTPARSER_NAMES)
    assert {name.partition("/")[0]: len(names) for name, names in _LAYOUTPARSER_NAMES.items()} == {
        "HJDataset": 8,
        "MFD": 2,
        "NewspaperNavigator": 7,
        "PrimaLayout": 7,
        "PubLayNet": 5,
        "TableBank": 1,
    }
