"""What programs lean on without naming it, through Detectron2's names."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import operator
import pickle

import numpy as np
import pytest
import torch
from tiny_models import tiny_cfg

from litepred import LitepredError

pytestmark = pytest.mark.usefixtures("drop_in")


def instances(count=3):
    from detectron2.structures import Boxes, Instances

    result = Instances((4, 6))
    result.pred_boxes = Boxes(torch.arange(count * 4).view(count, 4).float())
    result.scores = torch.linspace(1, 0, count)
    result.names = [f"n{i}" for i in range(count)]
    return result


class Anything:
    """A type of field that only has what is needed."""

    def __init__(self, values):
        self.values = list(values)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, item):
        return Anything(np.array(self.values)[item if isinstance(item, slice) else np.asarray(item)])


class TestInstances:
    @pytest.mark.parametrize("name", ["pred_masks", "pred_keypoints", "gt_boxes"])
    def test_absent_fields(self, name):
        assert not hasattr(instances(), name)
        assert not instances().has(name)
        with pytest.raises(AttributeError):
            getattr(instances(), name)

    def test_image_size_is_a_tuple(self):
        assert instances().image_size == (4, 6)
        assert type(instances().image_size) is tuple

    @pytest.mark.parametrize(
        ("index", "expected"),
        [
            (0, ["n0"]),
            (-1, ["n2"]),
            (slice(1, None), ["n1", "n2"]),
            (torch.tensor([True, False, True]), ["n0", "n2"]),
            (torch.tensor([2, 0]), ["n2", "n0"]),
            (torch.tensor([], dtype=torch.int64), []),
            (np.array([False, True, False]), ["n1"]),
            ([1], ["n1"]),
        ],
    )
    def test_indexing(self, index, expected):
        found = instances()[index]
        assert found.names == expected
        assert len(found.pred_boxes) == len(found.scores) == len(expected)

    def test_any_type_as_a_field(self):
        one = instances()
        one.anything = Anything("abc")
        assert one[1:].anything.values == ["b", "c"]
        assert one.to("cpu").anything is one.anything

    def test_private_fields(self):
        assert list(instances()._fields) == ["pred_boxes", "scores", "names"]

    @pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy])
    @pytest.mark.parametrize("count", [0, 3])
    def test_copies(self, copied, count):
        found = copied(instances(count))
        assert found.names == instances(count).names
        assert found.pred_boxes.tensor.equal(instances(count).pred_boxes.tensor)

    def test_through_a_process(self):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(copy.copy, [instances()])
        assert found.names == ["n0", "n1", "n2"]


class TestConfig:
    def test_it_gains_no_keys(self):
        from detectron2.config import get_cfg

        from litepred.config.node import read_defaults

        def keys(node):
            return {key: keys(value) if isinstance(value, dict) else None for key, value in node.items()}

        assert keys(get_cfg()) == keys(read_defaults())

    def test_new_keys(self):
        from detectron2.config import get_cfg

        cfg = get_cfg()
        with pytest.raises(KeyError):
            cfg.merge_from_list(["MODEL.MINE.DEPTH", 3])
        cfg.set_new_allowed(True)
        cfg.merge_from_list(["MODEL.MINE.DEPTH", 3])
        assert cfg.MODEL.MINE.DEPTH == 3

    def test_pickle(self):
        from detectron2.config import CfgNode, get_cfg

        found = pickle.loads(pickle.dumps(get_cfg()))
        assert type(found) is CfgNode
        assert found == get_cfg()

    def test_the_global_one(self):
        from detectron2.config import CfgNode, global_cfg, set_global_cfg

        set_global_cfg(CfgNode({"A": 1}))
        assert global_cfg.A == 1
        set_global_cfg(CfgNode())
        assert "A" not in global_cfg

    def test_versions(self):
        from detectron2.config import CfgNode, downgrade_config, get_cfg, upgrade_config

        old = CfgNode({"VERSION": 1, "MODEL": {"WEIGHT": "w"}})
        assert upgrade_config(old) == {"VERSION": 2, "MODEL": {"WEIGHTS": "w"}}
        assert old.MODEL.WEIGHT == "w"
        assert upgrade_config(get_cfg()) == get_cfg()
        with pytest.raises(LitepredError, match="downgrade_config"):
            downgrade_config(old, 1)


@pytest.mark.parametrize("name", ["nothing.yaml", "/tmp/config.yaml", "COCO-Detection/none.yaml", ""])
def test_unknown_configs_of_the_zoo(name):
    from detectron2 import model_zoo

    with pytest.raises(RuntimeError):
        model_zoo.get_config_file(name)


def test_catalogs():
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.catalog import Metadata

    metadata = MetadataCatalog.get("behaviours_nobody_set")
    assert isinstance(metadata, Metadata)
    with pytest.raises(AttributeError):
        metadata.thing_classes  # noqa: B018
    DatasetCatalog.register("behaviours_set", lambda: [{"file_name": "a.png"}])
    assert DatasetCatalog.get("behaviours_set") == [{"file_name": "a.png"}]
    DatasetCatalog.remove("behaviours_set")


class TestPredictor:
    @pytest.fixture(scope="class")
    def predictor(self):
        from litepred import DefaultPredictor

        with pytest.warns(UserWarning, match="random weights"):
            return DefaultPredictor(tiny_cfg("fpn", WEIGHTS="", DEVICE="cpu"))

    def test_attributes(self, predictor):
        from detectron2.data.transforms import AugInput, Augmentation

        assert predictor.input_format == "BGR"
        assert predictor.cfg.MODEL.DEVICE == "cpu"
        assert isinstance(predictor.aug, Augmentation)
        inputs = AugInput(np.zeros((20, 30, 3), np.uint8))
        predictor.aug(inputs)
        assert min(inputs.image.shape[:2]) == predictor.cfg.INPUT.MIN_SIZE_TEST or max(inputs.image.shape[:2])
        assert not hasattr(predictor.metadata, "nothing")

    def test_negative_strides(self, predictor):
        image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        expected = predictor(np.ascontiguousarray(image[:, :, ::-1]))["instances"]
        found = predictor(image[:, :, ::-1])["instances"]
        assert found.pred_boxes.tensor.equal(expected.pred_boxes.tensor)
        assert predictor(image[::-1, ::-1])["instances"].image_size == (40, 60)

    def test_results(self, predictor):
        found = predictor(np.full((40, 60, 3), 9, np.uint8))["instances"].to("cpu")
        assert found.image_size == (40, 60)
        assert found.pred_boxes.tensor.tolist() is not None
        assert found.pred_classes.dtype == torch.int64
        assert not hasattr(found, "pred_keypoints")


@pytest.mark.parametrize(
    ("module", "name", "parameters"),
    [
        ("layers", "get_norm", ["norm", "out_channels"]),
        ("model_zoo", "get", ["config_path", "trained", "device"]),
        ("model_zoo", "get_checkpoint_url", ["config_path"]),
        ("model_zoo", "get_config", ["config_path", "trained"]),
        ("model_zoo", "get_config_file", ["config_path"]),
        ("modeling.poolers", "ROIPooler.forward", ["self", "x", "box_lists"]),
        ("modeling", "sem_seg_postprocess", ["result", "img_size", "output_height", "output_width"]),
        ("modeling.roi_heads.keypoint_head", "keypoint_rcnn_inference", ["pred_keypoint_logits", "pred_instances"]),
        ("modeling.roi_heads.mask_head", "mask_rcnn_inference", ["pred_mask_logits", "pred_instances"]),
    ],
)
def test_parameters_that_programs_name(module, name, parameters):
    function = operator.attrgetter(name)(importlib.import_module(f"detectron2.{module}"))
    assert list(inspect.signature(function).parameters)[: len(parameters)] == parameters


def test_components_built_by_the_name_of_their_shape():
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.proposal_generator.rpn import build_rpn_head
    from detectron2.modeling.roi_heads.box_head import build_box_head
    from detectron2.modeling.roi_heads.mask_head import build_mask_head

    cfg, shape = tiny_cfg("fpn"), ShapeSpec(channels=4, height=7, width=7)
    assert build_box_head(cfg, input_shape=shape).fc1.weight.shape == (16, 4 * 7 * 7)
    assert build_mask_head(cfg, input_shape=shape).predictor.weight.shape == (3, 8, 1, 1)
    assert build_rpn_head(cfg, input_shape=[shape] * 5).objectness_logits.weight.shape == (3, 4, 1, 1)


def test_layers_that_subclasses_go_through():
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import build_backbone, build_model
    from detectron2.modeling.backbone.fpn import _assert_strides_are_log2_contiguous
    from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead
    from detectron2.modeling.roi_heads.cascade_rcnn import _ScaleGradient

    fpn = build_backbone(tiny_cfg("fpn"))
    assert fpn.lateral_convs == [getattr(fpn, f"fpn_lateral{level}") for level in (5, 4, 3, 2)]
    assert fpn.output_convs == [getattr(fpn, f"fpn_output{level}") for level in (5, 4, 3, 2)]
    image = torch.zeros(1, 3, 64, 64)
    x = fpn.bottom_up.stem(image)
    for stage in fpn.bottom_up.stages:
        x = stage(x)
    assert x.equal(fpn.bottom_up(image)["res5"])
    head = FastRCNNConvFCHead(ShapeSpec(channels=2, height=3, width=3), conv_dims=[4, 5], fc_dims=[6, 7])
    assert head.conv_norm_relus == [head.conv1, head.conv2]
    assert head.fcs == [head.fc1, head.fc2]
    model = build_model(tiny_cfg("fpn", MASK_ON=True))
    assert model.roi_heads.mask_head.conv_norm_relus == [model.roi_heads.mask_head.mask_fcn1]
    assert model._move_to_current_device(image).equal(image)
    assert _ScaleGradient.apply(image, 0.5).equal(image)
    _assert_strides_are_log2_contiguous([4, 8, 16])
    with pytest.raises(AssertionError, match=r"\[4, 16\]"):
        _assert_strides_are_log2_contiguous([4, 16])


def test_what_copied_packages_call_as_they_are_imported():
    from detectron2.utils.env import fixup_module_metadata, setup_environment

    names = {"kept": 1}
    assert fixup_module_metadata("package", names, ["kept"]) is None
    assert setup_environment() is None
    assert names == {"kept": 1}
