"""The face of the package, on the model that comes with it."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import threading
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from golden_answers import ASSETS, differences, load
from PIL import Image
from tiny_models import tiny_cfg

import litepred
from litepred import (
    CheckpointError,
    ConfigError,
    DefaultPredictor,
    DetectionCheckpointer,
    ImageError,
    MetadataCatalog,
    Predictor,
    build_model,
    get_cfg,
    model_zoo,
)
from litepred.data import ResizeShortestEdge
from litepred.default_model import default_config, example_page
from litepred.modeling import META_ARCH_REGISTRY
from litepred.structures import Boxes, Instances

PAGES = sorted(path for path in (ASSETS / "page_layout").iterdir() if path.suffix in (".png", ".jpg"))


def page(name: str) -> np.ndarray:
    array = cv2.imread(str(ASSETS / "page_layout" / name))
    assert array is not None
    return array


def assert_same(ours, theirs, score=5e-4, box_px=0.02):
    """Two answers on one image agree, and come in the same order."""
    one, other = ours["instances"], theirs["instances"]
    assert one.image_size == other.image_size
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=score)
    torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor, rtol=0, atol=box_px)
    assert torch.equal(one.pred_classes, other.pred_classes)
    assert (one.pred_masks != other.pred_masks).sum() <= 2e-4 * one.pred_masks.numel()
    assert (ours["sem_seg"].argmax(0) != theirs["sem_seg"].argmax(0)).float().mean() <= 2e-4


class TestAnswers:
    @pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
    def test_pages_match_detectron2(self, page_predictor, path):
        golden = load(path.with_suffix(".npz"))
        assert differences(page_predictor(cv2.imread(str(path))), golden) == []

    def test_the_standard_dict(self, page_predictor):
        image = page("skimage_page.png")
        outputs = page_predictor(image)
        assert list(outputs) == ["sem_seg", "instances", "panoptic_seg"]
        instances = outputs["instances"]
        height, width = image.shape[:2]
        assert instances.image_size == (height, width)
        assert instances.pred_masks.shape == (len(instances), height, width)
        assert instances.pred_masks.dtype == torch.bool
        assert outputs["sem_seg"].shape == (3, height, width)
        assert outputs["panoptic_seg"][0].shape == (height, width)
        assert not outputs["sem_seg"].requires_grad
        instances.pred_boxes.tensor[:] += 1  # results are the user's to change

    def test_attributes_of_detectron2s_predictor(self, page_predictor):
        assert page_predictor.cfg.MODEL.META_ARCHITECTURE == "PanopticFPN"
        assert page_predictor.metadata.thing_classes == ["text", "title", "list", "table", "figure"]
        assert isinstance(page_predictor.aug, ResizeShortestEdge)
        assert page_predictor.input_format == "BGR"
        assert not page_predictor.model.training
        assert DefaultPredictor is Predictor
        with pytest.raises(litepred.LitepredError, match="only runs inference"):
            page_predictor.model.train()

    def test_the_same_bits_twice(self, page_predictor):
        image = page("skimage_page.png")
        first, second = page_predictor(image), page_predictor(image)
        assert torch.equal(first["instances"].pred_boxes.tensor, second["instances"].pred_boxes.tensor)
        assert torch.equal(first["sem_seg"], second["sem_seg"])

    @pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (300, 1), (31, 33)])
    def test_tiny_and_thin_images(self, page_predictor, size_hw):
        outputs = page_predictor(np.full((*size_hw, 3), 255, np.uint8))
        assert outputs["instances"].image_size == size_hw
        assert outputs["sem_seg"].shape[1:] == size_hw
        assert torch.isfinite(outputs["instances"].pred_boxes.tensor).all()


class TestInput:
    def test_every_way_to_bring_one_image(self, page_predictor):
        path = ASSETS / "page_layout" / "skimage_page.png"  # gray in the file
        array = cv2.imread(str(path))
        expected = page_predictor(array)
        with Image.open(path) as pil:
            pil.load()
        ways = {
            "str": str(path),
            "Path": path,
            "PIL": pil,
            "PIL RGB": pil.convert("RGB"),
            "HW": array[:, :, 0],
            "HW1": array[:, :, :1],
            "BGRA": np.dstack([array, np.full(array.shape[:2], 7, np.uint8)]),
            "negative strides": np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1],
        }
        for way, image in ways.items():
            outputs = page_predictor(image)
            assert torch.equal(outputs["instances"].pred_boxes.tensor, expected["instances"].pred_boxes.tensor), way

    def test_colour_order_of_arrays_and_pillow(self, page_predictor):
        array = page("dotguide_figures.png")
        expected = page_predictor(array)["sem_seg"]
        rgb = np.ascontiguousarray(array[:, :, ::-1])
        assert torch.equal(page_predictor(Image.fromarray(rgb))["sem_seg"], expected)
        assert torch.equal(page_predictor(rgb[:, :, ::-1])["sem_seg"], expected)
        assert not torch.equal(page_predictor(rgb)["sem_seg"], expected)

    @pytest.mark.parametrize(
        "image",
        [None, [], np.zeros((0, 4, 3), np.uint8), np.full((4, 4, 3), np.nan), "nowhere.png", ".", torch.zeros(3, 8, 8)],
    )
    def test_what_is_no_image(self, page_predictor, image):
        with pytest.raises(ImageError):
            page_predictor(image)

    def test_rgb_models_get_rgb(self):
        cfg = default_config()
        bgr = Predictor(cfg).prepare(page("dotguide_figures.png"))["image"]
        cfg.INPUT.FORMAT = "RGB"
        predictor, path = Predictor(cfg), ASSETS / "page_layout" / "dotguide_figures.png"
        rgb = predictor.prepare(page("dotguide_figures.png"))["image"]
        assert torch.equal(rgb, bgr.flip(0))
        with Image.open(path) as pil:
            for image in (str(path), path, io.BytesIO(path.read_bytes()), pil):
                assert torch.equal(predictor.prepare(image)["image"], rgb)

    def test_images_are_uint8_until_the_model_normalises_them(self, page_predictor):
        image = page("skimage_page.png")
        inputs = page_predictor.prepare(image)
        assert (inputs["image"].dtype, inputs["height"], inputs["width"]) == (torch.uint8, *image.shape[:2])
        as_float = {**inputs, "image": inputs["image"].float()}
        (ours,), (theirs,) = page_predictor.run([inputs]), page_predictor.run([as_float])
        assert torch.equal(ours["sem_seg"], theirs["sem_seg"])
        assert torch.equal(ours["instances"].pred_boxes.tensor, theirs["instances"].pred_boxes.tensor)

    @pytest.mark.parametrize("as_type", [np.uint8, np.float32, np.float64])
    def test_a_transform_of_the_users_own(self, page_predictor, monkeypatch, as_type):
        """Detectron2's programs replace `aug`, by transforms that flip, or that return other types."""
        flip = SimpleNamespace(apply_image=lambda image: image[:, ::-1].astype(as_type, copy=False))
        monkeypatch.setattr(page_predictor, "aug", SimpleNamespace(get_transform=lambda image: flip))
        image = page("dotguide_figures.png")
        expected = torch.from_numpy(np.ascontiguousarray(image[:, ::-1].transpose(2, 0, 1)).astype(as_type))
        assert torch.equal(page_predictor.prepare(image)["image"], expected)

    def test_an_array_that_may_not_be_written_is_taken_without_a_warning(self, page_predictor):
        image = np.zeros((*page_predictor.prepare(page("skimage_page.png"))["image"].shape[1:], 3), np.uint8)
        image.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "instances" in page_predictor(image)


def test_what_prepares_an_image_has_its_former_name_too():
    assert Predictor._model_input is Predictor.prepare


class TestBatch:
    @pytest.mark.parametrize("images", [[], (), iter(())])
    def test_nothing(self, page_predictor, images):
        assert list(page_predictor.batch(images)) == []

    @pytest.mark.parametrize(
        "batch_size", [pytest.param(1, marks=pytest.mark.long), 3, pytest.param(100, marks=pytest.mark.long)]
    )
    def test_order_kept_and_answers_as_one_by_one(self, page_predictor, batch_size):
        one, other = page("skimage_page.png"), page("ltnews_2col.png")
        images = [one, other, other[:, ::-1], one[:, :380], one, np.full((8, 8), 9, np.uint8)]
        batched = list(page_predictor.batch(images, batch_size=batch_size))
        assert len(batched) == len(images)
        for outputs, image in zip(batched, images):
            assert_same(outputs, page_predictor(image))

    def test_a_column_of_a_table_has_paths(self, page_predictor):
        page = str(example_page())
        assert len(list(page_predictor.batch(np.array([page], object)))) == 1

    def test_images_of_one_padded_size_share_a_batch(self, page_predictor, monkeypatch):
        sizes = []
        run = page_predictor.run
        monkeypatch.setattr(page_predictor, "run", lambda inputs: sizes.append(len(inputs)) or run(inputs))
        one = page("skimage_page.png")
        list(page_predictor.batch([one, one[:100, :100], one], batch_size=3))
        assert sorted(sizes) == [1, 2]

    def test_images_are_taken_as_needed(self, page_predictor):
        taken = []

        def source():
            for i in range(100):
                taken.append(i)
                yield np.zeros((8, 8, 3), np.uint8)

        results = page_predictor.batch(source(), batch_size=2)
        assert taken == []
        next(results)
        assert taken == [0, 1, 2, 3]  # two being predicted on, two being read meanwhile

    @pytest.mark.parametrize(
        "single", ["page.png", Path("page.png"), np.zeros((8, 8, 3), np.uint8), Image.new("L", (8, 8)), io.BytesIO()]
    )
    def test_a_single_image_is_refused(self, page_predictor, single):
        with pytest.raises(ImageError, match="expected a list of images"):
            page_predictor.batch(single)

    @pytest.mark.parametrize("batch_size", [0, -1, 1.5, "2", True])
    def test_batch_size(self, page_predictor, batch_size):
        with pytest.raises(ConfigError, match=r"batch_size is .*: expected 1 or more"):
            page_predictor.batch([], batch_size=batch_size)

    @pytest.mark.parametrize("images", [None, 3])
    def test_what_is_no_iterable(self, page_predictor, images):
        with pytest.raises(ImageError, match=f"got {images}: expected a list of images"):
            page_predictor.batch(images)

    @pytest.mark.parametrize("batch_size", [1, 2, 9])
    def test_an_error_of_the_source_comes_after_the_answers_for_what_it_gave(self, page_predictor, batch_size):
        def source():
            for _ in range(5):
                yield np.zeros((8, 8, 3), np.uint8)
            raise OSError("the disk is gone")

        answers = []
        with pytest.raises(OSError, match="the disk is gone"):
            answers.extend(page_predictor.batch(source(), batch_size))
        assert len(answers) == 5

    @pytest.mark.parametrize(("batch_size", "expected"), [(None, 1), (3, 3)])
    def test_as_many_tiles_run_together(self, batch_size, expected, page_predictor, monkeypatch):
        together = []
        monkeypatch.setattr(page_predictor, "run", lambda inputs, **_: together.append(len(inputs)) or nothing(inputs))

        def nothing(inputs):
            empty = {
                "pred_boxes": Boxes(torch.zeros(0, 4)),
                "scores": torch.zeros(0),
                "pred_classes": torch.zeros(0).long(),
            }
            return [{"instances": Instances((64, 64), **empty)} for _ in inputs]

        list(page_predictor.batch([np.zeros((64, 384, 3), np.uint8)], batch_size, tile=64, overlap=0))
        assert together == [expected] * (6 // expected)

    @pytest.mark.parametrize("batch_size", [1, 2, 9])
    @pytest.mark.parametrize("broken", [(), (0,), (1, 2), (0, 1, 2, 3)])
    def test_errors_come_in_the_place_of_answers(self, page_predictor, broken, batch_size):
        images = ["nowhere.png" if i in broken else np.full((8, 8 + i, 3), 9, np.uint8) for i in range(4)]
        answers = list(page_predictor.batch(images, batch_size, return_errors=True))
        assert len(answers) == 4
        for i, answer in enumerate(answers):
            if i in broken:
                assert isinstance(answer, ImageError)
                assert "there is no file 'nowhere.png'" in str(answer)
            else:
                assert answer["instances"].image_size == (8, 8 + i)

    @pytest.mark.parametrize("batch_size", [1, 2, 9])
    @pytest.mark.parametrize("refused", [(), (0,), (1, 2), (0, 1, 2, 3)])
    def test_what_the_model_refuses_is_an_error_of_that_image_alone(
        self, page_predictor, refused, batch_size, monkeypatch
    ):
        def run(inputs):
            if black := [i for i, one in enumerate(inputs) if not one["image"].any()]:
                raise ImageError(f"input {black[0]} is black")
            return [{"brightest": int(one["image"].max())} for one in inputs]

        monkeypatch.setattr(page_predictor, "run", run)
        images = [np.full((8, 8, 3), 0 if i in refused else 1 + i, np.uint8) for i in range(4)]
        answers = list(page_predictor.batch(images, batch_size, return_errors=True))
        told = [str(one) if isinstance(one, ImageError) else one["brightest"] for one in answers]
        assert told == ["input 0 is black" if i in refused else 1 + i for i in range(4)]
        if refused:
            answers = page_predictor.batch(images, batch_size)
            assert [next(answers)["brightest"] for _ in range(refused[0])] == [1 + i for i in range(refused[0])]
            with pytest.raises(ImageError, match="input 0 is black"):
                next(answers)

    @pytest.mark.parametrize("return_errors", [False, True])
    def test_an_error_that_is_not_the_images_is_raised(self, page_predictor, return_errors):
        def fail():
            raise OSError("the network is gone")

        answers = page_predictor.batch([np.zeros((8, 8, 3), np.uint8), fail], 1, return_errors=return_errors)
        assert "instances" in next(answers)
        with pytest.raises(OSError, match="the network is gone"):
            next(answers)

    def test_functions_are_called_in_the_thread_that_reads_ahead(self, page_predictor):
        threads = []

        def image():
            threads.append(threading.current_thread())
            return np.zeros((8, 8, 3), np.uint8)

        assert len(list(page_predictor.batch([image, image, image], 2))) == 3
        assert len(threads) == 3
        assert threading.main_thread() not in threads


class TestConstruction:
    def test_a_full_config_and_a_checkpoint_by_path(self, page_predictor, tmp_path):
        """As a user comes: a dumped config without weights in it, and a .pth beside it."""
        cfg = default_config()
        cfg.MODEL.WEIGHTS = ""
        (tmp_path / "config.yaml").write_text(cfg.dump())
        exact = Predictor(exact=True)
        DetectionCheckpointer(exact.model, str(tmp_path)).save("model_final")
        with pytest.raises(CheckpointError, match="was optimized when its Predictor was made"):
            DetectionCheckpointer(page_predictor.model, str(tmp_path)).save("optimized")
        predictor = Predictor(tmp_path / "config.yaml", weights=tmp_path / "model_final.pth")
        assert_same(predictor(page("skimage_page.png")), page_predictor(page("skimage_page.png")), 0, 0)

    def test_the_users_config_stays_as_it_is(self):
        cfg = default_config()
        cfg.freeze()
        before = cfg.dump()
        predictor = Predictor(cfg, device="cpu", weights=cfg.MODEL.WEIGHTS)
        assert cfg.dump() == before
        assert predictor.cfg is not cfg
        assert predictor.cfg.is_frozen()

    def test_no_weights_is_told(self):
        cfg = default_config()
        cfg.MODEL.WEIGHTS = ""
        with pytest.warns(UserWarning, match="random weights"):
            Predictor(cfg)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
    @pytest.mark.parametrize("by", ["config", "argument"])
    def test_cuda_where_none_is(self, by):
        cfg = default_config()
        cfg.MODEL.DEVICE = "cuda" if by == "config" else "cpu"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            predictor = Predictor(cfg, device="cuda:0" if by == "argument" else None)
        assert [str(w.message) for w in caught if "running on the CPU" in str(w.message)] == [str(caught[0].message)]
        assert len(caught) == 1
        assert predictor.model.device.type == "cpu"
        assert predictor.cfg.MODEL.DEVICE == "cpu"

    @pytest.mark.parametrize(
        ("cfg", "message"),
        [
            ({}, "dict is not a config"),
            ("nowhere.yaml", "nowhere.yaml"),
            (".", "not a file"),
            ("nowhere.yaml", "there is no file"),
        ],
    )
    def test_what_is_no_config(self, cfg, message):
        with pytest.raises(ConfigError, match=message):
            Predictor(cfg)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("MODEL.DEVICE", "gpu", "'gpu' is not a device"),
            ("INPUT.FORMAT", "HSV", "expected 'BGR' or 'RGB'"),
            ("MODEL.META_ARCHITECTURE", "PanopticFNP", "PanopticFPN"),
            ("MODEL.PIXEL_STD", [1.0], "one per channel"),
            ("MODEL.RESNETS.DEPTH", 51, "expected one of"),
        ],
    )
    def test_values_that_do_not_work(self, key, value, message):
        cfg = default_config()
        cfg.merge_from_list([key, value])
        with pytest.raises(ConfigError, match=message):
            Predictor(cfg)

    @pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**6, 2**70])
    def test_threads_that_cannot_be(self, threads):
        before = torch.get_num_threads()
        with pytest.raises(ConfigError, match=r"threads is .*: expected 1 or more.*1024 at most"):
            Predictor(threads=threads)
        assert torch.get_num_threads() == before

    def test_threads_of_numpy_are_a_plain_number(self, monkeypatch):
        found = []
        monkeypatch.setattr(
            Predictor, "_build", lambda self, resolved, precision, threads, exact: found.append(threads) or 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            Predictor(threads=np.int64(torch.get_num_threads()))
        assert [type(one) for one in found] == [int]

    @pytest.mark.parametrize("weights", [3, [], b"model.pth", torch.nn.Linear(1, 1)])
    def test_what_are_no_weights(self, weights):
        with pytest.raises(ConfigError, match=r"weights is a .*: expected the path of a checkpoint, or a state dict"):
            Predictor(weights=weights)

    @pytest.mark.parametrize("infer", [False, True])
    @pytest.mark.parametrize("state", [{"model": {}}, {3: torch.zeros(1)}, {"a": np.zeros(1)}])
    def test_what_is_no_state_dict(self, state, infer):
        for build in (partial(Predictor, infer_num_classes=infer), Predictor.from_torchvision):
            with pytest.raises(CheckpointError, match="expected tensors by name"):
                build(weights=state)

    def test_a_config_with_a_typo(self, tmp_path):
        (tmp_path / "config.yaml").write_text("MODEL:\n  ROI_HEADS:\n    NUM_CLASES: 5\n")
        with pytest.raises(ConfigError, match=r"MODEL\.ROI_HEADS\.NUM_CLASES.*MODEL\.ROI_HEADS\.NUM_CLASSES"):
            Predictor(tmp_path / "config.yaml")

    def test_a_class_count_that_differs(self):
        cfg = default_config()
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
        with pytest.raises(
            litepred.CheckpointError, match=r"MODEL\.ROI_HEADS\.NUM_CLASSES is 80 but the checkpoint has 5: set it to 5"
        ):
            Predictor(cfg)

    def test_a_class_count_taken_from_the_checkpoint(self, page_predictor):
        cfg = default_config()
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 54
        cfg.DATASETS.TEST = ("coco_2017_val_panoptic_separated",)
        predictor = Predictor(cfg, infer_num_classes=True)
        assert predictor.cfg.MODEL.ROI_HEADS.NUM_CLASSES == 5
        assert predictor.cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
        assert predictor.metadata.get("thing_classes") is None  # COCO's names are not this model's
        assert_same(predictor(page("skimage_page.png")), page_predictor(page("skimage_page.png")), 0, 0)
        assert len(Predictor(infer_num_classes=True).metadata.thing_classes) == 5  # nothing to change

    def test_a_checkpoint_for_another_model(self, tmp_path):
        torch.save({"model": {"encoder.layer.0.weight": torch.zeros(3)}}, tmp_path / "other.pth")
        with pytest.raises(litepred.CheckpointError, match="another"):
            Predictor(weights=tmp_path / "other.pth")

    def test_a_pickle_that_would_run_a_command(self, tmp_path):
        marker = tmp_path / "ran"

        class Hostile:
            def __reduce__(self):
                return os.system, (f"touch {marker}",)

        (tmp_path / "model.pkl").write_bytes(pickle.dumps({"model": Hostile(), "__author__": "x"}))
        with pytest.raises(litepred.CheckpointError, match="system"):
            Predictor(weights=tmp_path / "model.pkl")
        assert not marker.exists()


class TestPredictorsOfProjects:
    """A model whose answers are no dicts, and a subclass that sets what Detectron2's predictor has, and no more."""

    class Numbers(torch.nn.Module):
        def __init__(self, cfg):
            super().__init__()

        def forward(self, inputs):
            return [torch.tensor([float(one["height"])]) for one in inputs]

    class Own(DefaultPredictor):
        def __init__(self, cfg, model):
            self.cfg, self.model, self.input_format = cfg, model, "BGR"
            self.aug = ResizeShortestEdge(32, 64)

    @pytest.fixture
    def numbers(self, monkeypatch):
        components = {**META_ARCH_REGISTRY._components, "Numbers": self.Numbers}
        monkeypatch.setattr(META_ARCH_REGISTRY, "_components", components)
        cfg = tiny_cfg("semantic")
        cfg.MODEL.META_ARCHITECTURE = "Numbers"
        return cfg

    def test_answers_that_are_no_dicts(self, numbers):
        predictor = Predictor(numbers, weights={})
        image = np.zeros((40, 30, 3), np.uint8)
        assert predictor(image).item() == predictor(image, threshold=0.5).item() == 40
        assert [one.item() for one in predictor.batch([image, image])] == [40, 40]
        with pytest.raises(ConfigError, match="classes came, but this model finds a Tensor and no instances"):
            predictor(image, classes=[0])

    def test_an_init_of_its_own(self):
        cfg = tiny_cfg("c4")
        own, other = (self.Own(cfg, build_model(cfg)) for _ in range(2))
        image = np.zeros((40, 30, 3), np.uint8)
        assert own(image)["instances"].image_size == (40, 30)
        assert len(own(image, threshold=1.0)["instances"]) == 0
        own.metadata.set(thing_classes=["cat"])
        assert own.metadata.thing_classes == ["cat"]
        assert other.metadata.get("thing_classes") is None
        assert repr(other).startswith("Own(GeneralizedRCNN, weights='unknown'")


class TestNames:
    """Of classes, and of models of the zoo."""

    def test_a_model_without_a_data_set(self):
        cfg = default_config()
        cfg.DATASETS.TEST = ()
        predictor = Predictor(cfg)
        assert predictor.metadata.get("thing_classes") is None
        assert litepred.draw(page("skimage_page.png"), predictor(page("skimage_page.png"))).shape == (191, 384, 3)

    def test_class_names(self):
        predictor = Predictor(class_names=["a", "b", "c", "d", "e"])
        assert predictor.metadata.thing_classes == ["a", "b", "c", "d", "e"]
        assert MetadataCatalog.get("page_layout_val").thing_classes[0] == "text"

    @pytest.mark.parametrize("names", ["abcde", 5, dict.fromkeys("abcde"), [None] * 5])
    def test_what_are_no_class_names(self, names):
        with pytest.raises(ConfigError, match=r"class_names is .*: expected a (list of names|text or a number)"):
            Predictor(class_names=names)

    def test_class_names_of_another_number(self):
        with pytest.raises(ConfigError, match="3 names, but the config's model has 5 classes"):
            Predictor(class_names=["a", "b", "c"])

    def test_a_model_of_the_zoo_by_name(self, tmp_path, monkeypatch):
        """Config, checkpoint (here already in Detectron2's cache) and class names follow from the name."""
        name = "COCO-Detection/retinanet_R_50_FPN_1x"
        monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
        monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path / "empty"))
        cfg = model_zoo.get_config(name, trained=True)
        path = tmp_path / cfg.MODEL.WEIGHTS.split("/", 3)[3]
        path.parent.mkdir(parents=True)
        cfg.MODEL.DEVICE = "cpu"
        model = build_model(cfg)
        arrays = {key: value.numpy() for key, value in model.state_dict().items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
        predictor = Predictor(name, device="cpu", exact=True)
        assert len(predictor.metadata.thing_classes) == 80
        weights = predictor.model.state_dict()
        assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("COCO-Detection/retinanet_R_50_FPN_2x", "retinanet_R_50_FPN_[13]x"),
            ("Misc/semantic_R_50_FPN_1x", "no checkpoint was released"),
        ],
    )
    def test_names_that_do_not_work(self, name, message):
        with pytest.raises(ConfigError, match=message):
            Predictor(name)

    def test_defaults_of_get_cfg_are_not_touched(self):
        assert get_cfg().MODEL.META_ARCHITECTURE == "GeneralizedRCNN"
        assert example_page().is_file()


class TestStream:
    @pytest.fixture
    def video(self, tmp_path):
        from litepred.data import video_file

        image = cv2.resize(page("skimage_page.png"), (192, 96))
        with video_file(tmp_path / "a.mp4", 5, image.shape[:2]) as add_frame:
            for shift in range(5):
                add_frame(np.roll(image, 8 * shift, axis=1))
        return tmp_path / "a.mp4"

    @pytest.mark.parametrize("batch_size", [None, 2])
    def test_frames_are_answered_like_images(self, page_predictor, video, batch_size):
        seen = list(page_predictor.stream(video, batch_size))
        assert [one.index for one in seen] == [0, 1, 2, 3, 4]
        assert [one.time_s for one in seen] == [0.0, 0.2, 0.4, 0.6, 0.8]
        for frame, _, _, outputs in seen[::3]:
            assert_same(outputs, page_predictor(frame))

    def test_only_a_few_frames_are_read_ahead(self, page_predictor, video):
        from litepred.data import VideoReader

        read = []

        class Counted(VideoReader):
            def __iter__(self):
                for one in super().__iter__():
                    read.append(one[0])
                    yield one

        stream = page_predictor.stream(Counted(video))
        next(stream)
        assert read == [0, 1]
        stream.close()

    def test_what_is_no_video_is_an_error_at_once(self, page_predictor, tmp_path):
        with pytest.raises(ImageError, match="there is no file"):
            page_predictor.stream(tmp_path / "nowhere.mp4")

    def test_a_camera_is_answered_frame_by_frame(self, page_predictor):
        class Camera:
            is_camera = True
            read = 0

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.closed = True

            def __iter__(self):
                while True:
                    self.read += 1
                    yield self.read - 1, 0.5 * self.read, np.zeros((32, 32, 3), np.uint8)

        camera = Camera()
        stream = page_predictor._stream(camera, None)
        assert [next(stream).index for _ in range(3)] == [0, 1, 2]
        assert camera.read == 3  # none is read before its turn
        stream.close()
        assert camera.closed


def answer_in_another_process(predictor, cfg, image):
    outputs = predictor(image)
    return outputs["instances"], cfg, outputs["panoptic_seg"]


class TestPickling:
    def test_the_same_answers_here(self, page_predictor):
        image = page("skimage_page.png")
        loaded = pickle.loads(pickle.dumps(page_predictor))
        ours, theirs = loaded(image), page_predictor(image)
        assert torch.equal(ours["instances"].pred_boxes.tensor, theirs["instances"].pred_boxes.tensor)
        assert torch.equal(ours["sem_seg"], theirs["sem_seg"])
        assert loaded.cfg == page_predictor.cfg
        assert loaded.metadata == page_predictor.metadata

    @pytest.mark.parametrize("family", ["c4", "cascade", "retinanet", "semantic", "proposals"])
    def test_every_family(self, family):
        cfg = tiny_cfg(family)
        with pytest.warns(UserWarning, match="random weights"):
            predictor = Predictor(cfg)
        loaded = pickle.loads(pickle.dumps(predictor))
        image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
        ours, theirs = loaded(image), predictor(image)
        assert list(ours) == list(theirs)
        for key in ("instances", "proposals"):
            if key in ours:
                assert len(ours[key]) == len(theirs[key])

    @pytest.mark.parametrize("mask_format", ["roi", "rle", "polygon"])
    def test_every_mask_format(self, mask_format):
        if mask_format == "rle":
            pytest.importorskip("pycocotools")
        predictor = Predictor(mask_format=mask_format)
        image = page("skimage_page.png")
        ours, theirs = pickle.loads(pickle.dumps(predictor))(image), predictor(image)
        assert len(ours["instances"]) == len(theirs["instances"]) > 0
        assert type(ours["instances"].pred_masks) is type(theirs["instances"].pred_masks)

    def test_across_processes(self, page_predictor):
        """By spawn, as on Windows: predictor, config and image go there, instances and config come back."""
        from concurrent.futures import ProcessPoolExecutor

        image = page("skimage_page.png")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            arguments = (page_predictor, page_predictor.cfg, image)
            instances, cfg, (ids, segments) = pool.submit(answer_in_another_process, *arguments).result(timeout=300)
        expected = page_predictor(image)
        torch.testing.assert_close(instances.scores, expected["instances"].scores, rtol=0, atol=5e-4)
        assert torch.equal(instances.pred_classes, expected["instances"].pred_classes)
        assert instances.image_size == expected["instances"].image_size
        assert cfg == page_predictor.cfg
        assert cfg.is_frozen() == page_predictor.cfg.is_frozen()
        assert ids.shape == expected["panoptic_seg"][0].shape
        assert len(segments) == len(expected["panoptic_seg"][1])
