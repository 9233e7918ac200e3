"""What only scripts for Detectron2 ask for: files, logs, one process, the environment."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from litepred import extensions
from litepred.checkpoint import DetectionCheckpointer
from litepred.config import get_cfg
from litepred.drop_in import logs, process
from litepred.drop_in.adapters import Matcher, align_and_update_state_dicts, find_top_rpn_proposals
from litepred.drop_in.files import PathHandler, PathManager
from litepred.errors import LitepredError


class Prefixed(PathHandler):
    def __init__(self, folder):
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["mine://"]

    def _get_local_path(self, path, force=False, **kwargs):
        return str(self.folder / path[len("mine://") :])


class TestPathManager:
    def test_files_of_this_machine(self, tmp_path):
        path = tmp_path / "a" / "b.txt"
        PathManager.mkdirs(path.parent)
        PathManager.mkdirs(path.parent)
        with PathManager.open(path, "w") as file:
            file.write("text")
        assert PathManager.open(str(path)).read() == "text"
        assert PathManager.exists(path)
        assert PathManager.isfile(path)
        assert PathManager.isdir(path.parent)
        assert PathManager.ls(path.parent) == ["b.txt"]
        assert PathManager.get_local_path(f"file://{path}") == str(path)
        assert PathManager.copy(path, tmp_path / "c.txt")
        assert not PathManager.copy(path, tmp_path / "c.txt")
        PathManager.rm(path)
        assert not PathManager.exists(path)

    def test_a_handler_of_weights(self, tmp_path, monkeypatch):
        monkeypatch.setattr(PathManager, "_handlers", dict(PathManager._handlers))
        monkeypatch.setattr(extensions, "_ADDRESSES", dict(extensions._ADDRESSES))
        model = torch.nn.Linear(2, 3)
        torch.save({"model": {name: value + 1 for name, value in model.state_dict().items()}}, tmp_path / "x.pth")
        wanted = model.bias + 1
        with pytest.raises(LitepredError, match="mine://"):
            DetectionCheckpointer(model).load("mine://x.pth")
        PathManager.register_handler(Prefixed(tmp_path))
        DetectionCheckpointer(model).load("mine://x.pth")
        assert torch.equal(model.bias, wanted)

    def test_a_manager_of_ones_own(self, tmp_path):
        model = torch.nn.Linear(2, 3)
        torch.save({"model": {f"a.{name}": value for name, value in model.state_dict().items()}}, tmp_path / "x.pth")
        whole = torch.nn.Module()
        whole.b = torch.nn.Module()
        whole.b.a = torch.nn.Linear(2, 3)
        checkpointer = DetectionCheckpointer(whole)
        checkpointer.path_manager = type(PathManager)()
        checkpointer.path_manager.register_handler(Prefixed(tmp_path))
        checkpointer.load("mine://x.pth?matching_heuristics=True")
        assert torch.equal(whole.b.a.bias, model.bias)

    def test_a_handler(self, tmp_path):
        manager = type(PathManager)()
        manager.register_handler(Prefixed(tmp_path))
        (tmp_path / "x.txt").write_text("y")
        assert manager.open("mine://x.txt").read() == "y"
        assert manager.exists("mine://x.txt")
        with pytest.raises(KeyError, match="already has a handler"):
            manager.register_handler(Prefixed(tmp_path))
        manager.register_handler(Prefixed(tmp_path / "other"), allow_override=True)
        assert not manager.exists("mine://x.txt")

    def test_addresses_are_only_read(self):
        with pytest.raises(LitepredError, match="is only read"):
            PathManager.open("https://nowhere.invalid/x", "w")


class TestLogger:
    @pytest.fixture(autouse=True)
    def _clean(self):
        root, library = logging.getLogger("detectron2"), logging.getLogger("litepred")
        levels, propagate = (root.level, library.level), root.propagate
        yield
        for logger, level in zip((root, library), levels):
            for handler in [one for one in logger.handlers if (one.get_name() or "").startswith("litepred drop-in")]:
                handler.close()
                logger.removeHandler(handler)
            logger.setLevel(level)
        root.propagate = propagate

    def test_lines(self, capsys):
        logger = logs.setup_logger()
        assert logs.setup_logger() is logger
        logger.info("hello")
        logging.getLogger("detectron2.data").info("there")
        logging.getLogger("litepred.checkpoint").info("Loading")
        first, second, third = capsys.readouterr().out.splitlines()
        assert first.endswith("d2]: INFO hello")
        assert second.endswith("d2.data]: INFO there")
        assert third.endswith("litepred.checkpoint]: INFO Loading")

    @pytest.mark.parametrize(
        ("output", "rank", "file"),
        [("out", 0, "out/log.txt"), ("out/own.log", 0, "out/own.log"), ("out", 2, "out/log.txt.rank2")],
    )
    def test_files(self, tmp_path, capsys, output, rank, file):
        logs.setup_logger(tmp_path / output, distributed_rank=rank, abbrev_name="mine").warning("kept")
        assert (tmp_path / file).read_text().endswith("mine]: WARNING kept\n")
        assert ("kept" in capsys.readouterr().out) == (rank == 0)

    def test_now_and_then(self, caplog):
        caplog.set_level(logging.INFO)
        for _ in range(5):
            logs.log_first_n(logging.INFO, "first", n=2)
            logs.log_every_n(logging.INFO, "every", n=2)
            logs.log_every_n_seconds(logging.INFO, "seconds", n=100)
        assert [record.message for record in caplog.records].count("first") == 2
        assert [record.message for record in caplog.records].count("every") == 3
        assert [record.message for record in caplog.records].count("seconds") == 1


@pytest.mark.usefixtures("drop_in")
def test_one_process():
    from detectron2.utils import comm

    assert (comm.get_world_size(), comm.get_local_size(), comm.get_rank(), comm.get_local_rank()) == (1, 1, 0, 0)
    assert comm.is_main_process()
    assert comm.all_gather(3) == comm.gather(3, dst=0) == [3]
    comm.synchronize()
    model = torch.nn.Linear(2, 3)
    assert process.create_ddp_model(model, fp16_compression=True, broadcast_buffers=False) is model


def test_arguments():
    parsed = process.default_argument_parser("more").parse_args(["--config-file", "c", "MODEL.DEVICE", "cpu"])
    assert (parsed.config_file, parsed.opts, parsed.num_gpus) == ("c", ["MODEL.DEVICE", "cpu"], 1)


def test_set_up(tmp_path):
    cfg = get_cfg()
    cfg.OUTPUT_DIR, cfg.SEED = str(tmp_path / "out"), 3
    process.default_setup(cfg, "arguments")
    assert "Command line arguments: arguments" in (tmp_path / "out" / "log.txt").read_text()
    again = get_cfg()
    again.merge_from_file(tmp_path / "out" / "config.yaml")
    assert (again.SEED, again.OUTPUT_DIR) == (3, cfg.OUTPUT_DIR)
    drawn = torch.rand(1), np.random.rand()
    process.seed_all_rng(3)
    assert (torch.rand(1), np.random.rand()) == drawn


@pytest.mark.parametrize("keys", [("output_dir", "seed"), ("train.output_dir", "train.seed")])
def test_set_up_by_a_lazy_config(keys, tmp_path):
    lazy = pytest.importorskip("litepred.drop_in.lazy", exc_type=ImportError)
    cfg, LazyConfig = lazy.get_config("COCO-Detection/retinanet_R_50_FPN_1x.py"), lazy.LazyConfig
    LazyConfig.apply_overrides(cfg, [f"{keys[0]}={tmp_path / 'out'}", f"{keys[1]}=3"])
    process.default_setup(cfg, "arguments")
    assert "Command line arguments: arguments" in (tmp_path / "out" / "log.txt").read_text()
    saved = LazyConfig.load(str(tmp_path / "out" / "config.yaml"))
    assert (saved.keys(), saved.model.num_classes) == (cfg.keys(), 80)
    drawn = torch.rand(1)
    process.seed_all_rng(3)
    assert torch.rand(1) == drawn


def test_environment():
    assert f"torch {torch.__version__.partition('+')[0]}" in process.collect_env_info()
    assert process.TORCH_VERSION >= (2, 4)


def test_out_of_memory():
    devices = []

    @process.retry_if_cuda_oom
    def function(x, *, y):
        devices.append(x.device.type)
        if len(devices) < 3:
            raise torch.cuda.OutOfMemoryError("full")
        return x + y

    assert function(torch.ones(1), y=torch.ones(1)).tolist() == [2]
    assert len(devices) == 3


def test_names_of_weights_by_their_ends():
    model = {"module.backbone.conv.weight": torch.zeros(2)}
    assert list(align_and_update_state_dicts(model, {"conv.weight": torch.ones(2)})) == ["module.backbone.conv.weight"]


def test_names_of_caffe2():
    model = {"backbone.bottom_up.res2.0.conv1.weight": torch.zeros(2)}
    weights = {"res2_0_branch2a_w": np.ones(2, np.float32)}
    assert align_and_update_state_dicts(model, weights).keys() == model.keys()
    assert align_and_update_state_dicts(model, weights, c2_conversion=False).keys() == weights.keys()


def test_proposals():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]])
    (found,) = find_top_rpn_proposals([boxes], [torch.tensor([[1.0, 3, 2]])], [(40, 40)], 0.5, 2, 5, 0.0, False)
    assert found.proposal_boxes.tensor.tolist() == [[0, 0, 10, 9], [20, 20, 30, 30]]


def test_a_matcher_is_built_and_not_called():
    matcher = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)
    assert matcher.thresholds == [0.3, 0.7]
    with pytest.raises(NotImplementedError, match="Matcher was called: litepred only infers"):
        matcher(torch.ones(2, 3))
