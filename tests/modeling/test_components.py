"""Components of one's own, written as users of Detectron2 write them."""

import itertools

import pytest
import torch
from tiny_models import golden, tiny_cfg, tiny_image, tiny_model
from torch import nn
from torch.nn import functional as F

from litepred import modeling
from litepred.config import configurable
from litepred.layers import Conv2d, InferenceModule, ShapeSpec, get_norm
from litepred.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    FPN,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    RPN,
    RPN_HEAD_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    Backbone,
    BaseKeypointRCNNHead,
    BaseMaskRCNNHead,
    CascadeROIHeads,
    DefaultAnchorGenerator,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    GeneralizedRCNN,
    MaskRCNNConvUpsampleHead,
    Registry,
    Res5ROIHeads,
    RetinaNet,
    ROIHeads,
    SemSegFPNHead,
    StandardROIHeads,
    StandardRPNHead,
    build_backbone,
    build_box_head,
    build_model,
    build_resnet_backbone,
    detector_postprocess,
)
from litepred.modeling.backbone import LastLevelMaxPool
from litepred.optimize import optimize
from litepred.structures import Boxes, Instances

REGISTRIES = [value for value in vars(modeling).values() if isinstance(value, Registry)]
MASKS = {"MASK_ON": True}


@pytest.fixture(autouse=True)
def registries_are_restored():
    before = [(registry, dict(registry)) for registry in REGISTRIES]
    yield
    for registry, components in before:
        registry._components = components


def test_all_registries_are_restored():
    assert len(REGISTRIES) == 11


def run(family="fpn", **changes):
    model = golden(tiny_cfg(family, **changes))
    assert not model.training
    assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return model, model([{"image": tiny_image(), "height": 128, "width": 192}, {"image": tiny_image(50, 70, seed=1)}])


def test_backbone():
    @BACKBONE_REGISTRY.register()
    class ToyBackbone(Backbone):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.conv1 = nn.Conv2d(input_shape.channels, 8, kernel_size=7, stride=16, padding=3)

        def forward(self, image):
            return {"conv1": self.conv1(image)}

        def output_shape(self):
            return {"conv1": ShapeSpec(channels=8, stride=16)}

    names = {"RPN__IN_FEATURES": ["conv1"], "ROI_HEADS__IN_FEATURES": ["conv1"], "ANCHOR_GENERATOR__SIZES": [[32]]}
    model, results = run(BACKBONE__NAME="ToyBackbone", **names)
    assert isinstance(model.backbone, ToyBackbone)
    assert [r["instances"].image_size for r in results] == [(128, 192), (50, 70)]
    assert len(results[0]["instances"]) > 0
    assert model.preprocess_image([{"image": tiny_image(50, 70)}]).tensor.shape == (1, 3, 50, 70)


def test_backbone_that_asks_for_padding():
    @BACKBONE_REGISTRY.register()
    class SquareBackbone(Backbone):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.conv = Conv2d(3, 8, 4, stride=4, norm=get_norm(cfg.MODEL.RESNETS.NORM, 8), activation=F.relu)
            self._out_features = ["x"]
            self._out_feature_channels = {"x": 8}
            self._out_feature_strides = {"x": 4}

        @property
        def padding_constraints(self):
            return {"square_size": 112}

        @property
        def size_divisibility(self):
            return 4

        def forward(self, x):
            assert x.shape[2:] == (112, 112)
            return {"x": self.conv(x)}

    names = {"RPN__IN_FEATURES": ["x"], "ROI_HEADS__IN_FEATURES": ["x"], "ANCHOR_GENERATOR__SIZES": [[32]]}
    model, _ = run(BACKBONE__NAME="SquareBackbone", **names)
    assert "backbone.conv.norm.running_mean" in model.state_dict()


def test_backbone_below_a_pyramid():
    class ToyBottomUp(Backbone):
        def __init__(self, cfg, input_shape):
            super().__init__()
            channels = [input_shape.channels, 4, 5, 6, 7]
            self.stages = nn.ModuleList(nn.Conv2d(*pair, 3, 2, 1) for pair in itertools.pairwise(channels))
            self.stages[0].stride = (4, 4)
            self._out_features = ["a", "b", "c", "d"]
            self._out_feature_channels = dict(zip("abcd", channels[1:]))
            self._out_feature_strides = dict(zip("abcd", (4, 8, 16, 32)))

        def forward(self, x):
            features = {}
            for name, stage in zip("abcd", self.stages):
                features[name] = x = stage(x)
            return features

    @BACKBONE_REGISTRY.register()
    def build_toy_fpn_backbone(cfg, input_shape: ShapeSpec):
        return FPN(
            bottom_up=ToyBottomUp(cfg, input_shape),
            in_features=cfg.MODEL.FPN.IN_FEATURES,
            out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
            norm=cfg.MODEL.FPN.NORM,
            top_block=LastLevelMaxPool(),
            fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
        )

    model, results = run(BACKBONE__NAME="build_toy_fpn_backbone", FPN__IN_FEATURES=["a", "b", "c", "d"])
    assert list(model.backbone.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert len(results[0]["instances"]) > 0


def test_backbone_around_a_builtin_one():
    @BACKBONE_REGISTRY.register()
    def build_halved_backbone(cfg, input_shape):
        backbone = build_resnet_backbone(cfg, input_shape)
        original = backbone.forward
        backbone.forward = lambda x: {name: feature / 2 for name, feature in original(x).items()}
        return backbone

    halved, _ = run("c4", BACKBONE__NAME="build_halved_backbone")
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(halved.backbone(x)["res4"], tiny_model("c4").backbone(x)["res4"] / 2)


def test_proposal_generator():
    @PROPOSAL_GENERATOR_REGISTRY.register()
    class WholeImage(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.names = sorted(input_shape)

        def forward(self, images, features, gt_instances=None):
            assert sorted(features) == self.names
            return [Instances(s, proposal_boxes=Boxes([[0, 0, s[1], s[0]]])) for s in images.image_sizes], {}

    _, results = run(PROPOSAL_GENERATOR__NAME="WholeImage", ROI_HEADS__SCORE_THRESH_TEST=0.0)
    assert [len(r["instances"]) for r in results] == [3, 3]  # one of each class
    _, results = run("proposals", PROPOSAL_GENERATOR__NAME="WholeImage")
    assert results[0]["proposals"].proposal_boxes.tensor.tolist() == [[0, 0, 192, 128]]


def test_proposal_generator_that_extends_the_rpn():
    @PROPOSAL_GENERATOR_REGISTRY.register()
    class FewerRPN(RPN):
        @configurable
        def __init__(self, *, at_most, **kwargs):
            super().__init__(**kwargs)
            self.at_most = at_most

        @classmethod
        def from_config(cls, cfg, input_shape):
            ret = super().from_config(cfg, input_shape)
            ret["at_most"] = 5
            return ret

        def forward(self, images, features, gt_instances=None):
            proposals, losses = super().forward(images, features, gt_instances)
            return [p[: self.at_most] for p in proposals], losses

    _, results = run("proposals", PROPOSAL_GENERATOR__NAME="FewerRPN")
    assert [len(r["proposals"]) for r in results] == [5, 5]


def test_rpn_head():
    @RPN_HEAD_REGISTRY.register()
    class LinearRPNHead(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()
            generator = modeling.build_anchor_generator(cfg, input_shape)
            anchors, dim = generator.num_anchors[0], generator.box_dim
            self.logits = nn.Conv2d(input_shape[0].channels, anchors, 1)
            self.deltas = nn.Conv2d(input_shape[0].channels, anchors * dim, 1)

        def forward(self, features):
            return [self.logits(f) for f in features], [self.deltas(f) for f in features]

    model, results = run("proposals", RPN__HEAD_NAME="LinearRPNHead")
    assert sorted(key for key in model.state_dict() if "rpn_head" in key) == [
        f"proposal_generator.rpn_head.{name}.{leaf}" for name in ("deltas", "logits") for leaf in ("bias", "weight")
    ]
    assert len(results[0]["proposals"]) == 30


def test_rpn_head_that_extends_the_standard_one():
    @RPN_HEAD_REGISTRY.register()
    class DoubtfulRPNHead(StandardRPNHead):
        def forward(self, features):
            logits, deltas = super().forward(features)
            return [x.clamp(max=0.5) for x in logits], deltas

    _, results = run("proposals", RPN__HEAD_NAME="DoubtfulRPNHead")
    assert results[0]["proposals"].objectness_logits.max() == 0.5


def test_anchor_generator():
    @ANCHOR_GENERATOR_REGISTRY.register()
    class CentredAnchors(nn.Module):
        box_dim = 4

        def __init__(self, cfg, input_shape):
            super().__init__()
            self.strides = [shape.stride for shape in input_shape]
            self.num_anchors = [1] * len(input_shape)

        def forward(self, features):
            anchors = []
            for feature, stride in zip(features, self.strides):
                rows, columns = feature.shape[-2:]
                y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
                corner = torch.stack([x, y], dim=-1).reshape(-1, 2) * stride
                anchors.append(Boxes(torch.cat([corner, corner + stride], dim=1)))
            return anchors

    model, results = run("proposals", ANCHOR_GENERATOR__NAME="CentredAnchors")
    assert model.proposal_generator.rpn_head.objectness_logits.out_channels == 1
    assert len(results[0]["proposals"]) > 0
    model, results = run("retinanet", ANCHOR_GENERATOR__NAME="CentredAnchors")
    assert model.head.bbox_pred.out_channels == 4
    assert len(results[0]["instances"]) > 0


def test_anchor_generator_that_extends_the_default():
    @ANCHOR_GENERATOR_REGISTRY.register()
    class DoubledAnchors(DefaultAnchorGenerator):
        @classmethod
        def from_config(cls, cfg, input_shape):
            ret = super().from_config(cfg, input_shape)
            ret["sizes"] = [[2 * size for size in sizes] for sizes in ret["sizes"]]
            return ret

    model, _ = run("proposals", ANCHOR_GENERATOR__NAME="DoubledAnchors")
    square = model.proposal_generator.anchor_generator.cell_anchors[0][1]
    assert square.tolist() == [-8, -8, 8, 8]


def test_roi_heads_from_scratch():
    @ROI_HEADS_REGISTRY.register()
    class EchoHeads(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()

        def forward(self, images, features, proposals, targets=None):
            return [Instances(p.image_size, pred_boxes=p.proposal_boxes[:2]) for p in proposals], {}

    _, results = run(ROI_HEADS__NAME="EchoHeads")
    assert [list(r["instances"].get_fields()) for r in results] == [["pred_boxes"]] * 2
    assert [len(r["instances"]) for r in results] == [2, 2]


@pytest.mark.parametrize(
    ("base", "family"), [(StandardROIHeads, "fpn"), (CascadeROIHeads, "cascade"), (Res5ROIHeads, "c4")]
)
def test_roi_heads_that_add_a_field(base, family):
    @ROI_HEADS_REGISTRY.register()
    class MarkingHeads(base):
        def __init__(self, cfg, input_shape):
            super().__init__(cfg, input_shape)
            self.mark = cfg.MODEL.ROI_HEADS.NUM_CLASSES

        def _forward_box(self, features, proposals):
            instances = super()._forward_box(features, proposals)
            for found in instances:
                found.mark = torch.full((len(found),), self.mark)
            return instances

    _, results = run(family, ROI_HEADS__NAME="MarkingHeads", **MASKS)
    for result in results:
        assert list(result["instances"].get_fields()) == ["pred_boxes", "scores", "pred_classes", "mark", "pred_masks"]
        assert (result["instances"].mark == 3).all()


def test_roi_heads_with_another_box_branch():
    class Mean(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.output_shape = ShapeSpec(channels=shape.channels)

        def forward(self, x):
            return x.mean(dim=(2, 3))

    @ROI_HEADS_REGISTRY.register()
    class MeanHeads(StandardROIHeads):
        @classmethod
        def _init_box_head(cls, cfg, input_shape):
            ret = super()._init_box_head(cfg, input_shape)
            ret["box_head"] = Mean(ShapeSpec(channels=16, height=4, width=4))
            ret["box_predictor"] = FastRCNNOutputLayers(cfg, ret["box_head"].output_shape)
            return ret

    model, results = run(ROI_HEADS__NAME="MeanHeads", **MASKS)
    assert sorted({key.split(".")[1] for key in model.state_dict() if key.startswith("roi_heads")}) == [
        "box_predictor",
        "mask_head",
    ]
    assert results[0]["instances"].has("pred_masks")


def test_roi_heads_with_a_branch_of_their_own():
    @ROI_HEADS_REGISTRY.register()
    class CountingHeads(StandardROIHeads):
        @configurable
        def __init__(self, *, count_head, **kwargs):
            super().__init__(**kwargs)
            self.count_head = count_head

        @classmethod
        def from_config(cls, cfg, input_shape):
            ret = super().from_config(cfg, input_shape)
            ret["count_head"] = nn.Linear(input_shape["p2"].channels, 1)
            return ret

        def forward_with_given_boxes(self, features, instances):
            instances = super().forward_with_given_boxes(features, instances)
            for image, found in enumerate(instances):
                found.count = self.count_head(features["p2"][image].mean((1, 2))).expand(len(found))
            return instances

    model, results = run(ROI_HEADS__NAME="CountingHeads", **MASKS)
    assert results[0]["instances"].has("count")
    assert "roi_heads.count_head.weight" in model.state_dict()


def test_roi_heads_that_build_a_branch_as_a_method():
    @ROI_HEADS_REGISTRY.register()
    class OldHeads(StandardROIHeads):
        def __init__(self, cfg, input_shape):
            super().__init__(cfg, input_shape)
            self._init_mask_head(cfg, input_shape)

        def _init_mask_head(self, cfg, input_shape):
            self.built = list(input_shape)

    model, results = run(ROI_HEADS__NAME="OldHeads", **MASKS)
    assert model.roi_heads.built == ["p2", "p3", "p4", "p5", "p6"]
    assert not results[0]["instances"].has("pred_masks")


def test_roi_heads_that_extend_the_base():
    @ROI_HEADS_REGISTRY.register()
    class NoHeads(ROIHeads):
        def __init__(self, cfg, input_shape):
            super().__init__(cfg)

        def forward(self, images, features, proposals, targets=None):
            return [Instances(p.image_size, pred_boxes=Boxes([])) for p in proposals], {}

    model, results = run(ROI_HEADS__NAME="NoHeads")
    assert model.roi_heads.num_classes == 3
    assert len(results[0]["instances"]) == 0


def test_box_head():
    @ROI_BOX_HEAD_REGISTRY.register()
    class FlatBoxHead(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()
            size = input_shape.channels * input_shape.height * input_shape.width
            self.fc = nn.Linear(size, cfg.MODEL.ROI_BOX_HEAD.FC_DIM)

        @property
        def output_shape(self):
            return ShapeSpec(channels=self.fc.out_features)

        def forward(self, x):
            return self.fc(x.flatten(1))

    for family in ("fpn", "cascade"):
        model, results = run(family, ROI_BOX_HEAD__NAME="FlatBoxHead")
        stage = "0." if family == "cascade" else ""
        assert model.state_dict()[f"roi_heads.box_head.{stage}fc.weight"].shape == (16, 16 * 4 * 4)
        assert len(results[0]["instances"]) > 0


def test_box_head_that_extends_the_standard_one():
    @ROI_BOX_HEAD_REGISTRY.register()
    class ScaledBoxHead(FastRCNNConvFCHead):
        @configurable
        def __init__(self, input_shape, *, scale, **kwargs):
            super().__init__(input_shape, **kwargs)
            self.scale = scale

        @classmethod
        def from_config(cls, cfg, input_shape):
            return {**super().from_config(cfg, input_shape), "scale": 0.0}

        def forward(self, x):
            return super().forward(x) * self.scale

    head = build_box_head(tiny_cfg(ROI_BOX_HEAD__NAME="ScaledBoxHead"), ShapeSpec(channels=3, height=2, width=2))
    assert head.output_shape == ShapeSpec(channels=16)
    assert not head(torch.rand(2, 3, 2, 2)).any()


class Constant(nn.Module):
    def __init__(self, channels, side):
        super().__init__()
        self.channels, self.side = channels, side

    def forward(self, x):
        return x.new_ones(len(x), self.channels, self.side, self.side)


def old_mask_head():
    class OldMaskHead(BaseMaskRCNNHead):
        def __init__(self, cfg, input_shape):
            super().__init__(cfg, input_shape)
            self.constant = Constant(cfg.MODEL.ROI_HEADS.NUM_CLASSES, 2 * input_shape.height)

        def layers(self, x):
            return self.constant(x)

    return OldMaskHead


def configurable_mask_head():
    class ConfigurableMaskHead(BaseMaskRCNNHead):
        @configurable
        def __init__(self, input_shape, *, channels, **kwargs):
            super().__init__(**kwargs)
            self.constant = Constant(channels, 8)

        @classmethod
        def from_config(cls, cfg, input_shape):
            ret = super().from_config(cfg, input_shape)
            ret.update(input_shape=input_shape, channels=1)
            return ret

        def layers(self, x):
            return self.constant(x)

    return ConfigurableMaskHead


def extended_mask_head():
    class ExtendedMaskHead(MaskRCNNConvUpsampleHead):
        def layers(self, x):
            return super().layers(x) * 0 + 1

    return ExtendedMaskHead


@pytest.mark.parametrize("make", [old_mask_head, configurable_mask_head, extended_mask_head])
def test_mask_head(make):
    head = ROI_MASK_HEAD_REGISTRY.register(make())
    model, results = run(ROI_MASK_HEAD__NAME=head.__name__, **MASKS)
    assert type(model.roi_heads.mask_head) is head
    raw = model.inference([{"image": tiny_image()}], do_postprocess=False)[0]
    expected = torch.full((10, 1, 8, 8), 1 / (1 + torch.e**-1))
    torch.testing.assert_close(raw.pred_masks, expected)
    assert results[0]["instances"].pred_masks.shape[1:] == (128, 192)


@pytest.mark.parametrize("style", ["old", "configurable"])
def test_keypoint_head(style):
    if style == "old":

        class PointHead(BaseKeypointRCNNHead):
            def __init__(self, cfg, input_shape):
                super().__init__(cfg, input_shape)
                self.constant = Constant(self.num_keypoints, 5)

            def layers(self, x):
                return self.constant(x)

    else:

        class PointHead(BaseKeypointRCNNHead):
            @configurable
            def __init__(self, input_shape, **kwargs):
                super().__init__(**kwargs)
                self.constant = Constant(self.num_keypoints, 5)

            @classmethod
            def from_config(cls, cfg, input_shape):
                return {**super().from_config(cfg, input_shape), "input_shape": input_shape}

            def layers(self, x):
                return self.constant(x)

    ROI_KEYPOINT_HEAD_REGISTRY.register(PointHead)
    _, results = run(ROI_KEYPOINT_HEAD__NAME="PointHead", KEYPOINT_ON=True)
    instances = results[0]["instances"]
    assert instances.pred_keypoint_heatmaps.shape == (len(instances), 2, 5, 5)
    assert instances.pred_keypoints[0, :, 2].tolist() == pytest.approx([1 / 25, 1 / 25])


def test_semantic_head():
    @SEM_SEG_HEADS_REGISTRY.register()
    class PlainSemSegHead(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.predictor = nn.Conv2d(input_shape["p2"].channels, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, 1)

        def forward(self, features, targets=None):
            return F.interpolate(self.predictor(features["p2"]), scale_factor=4), {}

    for family in ("semantic", "panoptic"):
        model, results = run(family, SEM_SEG_HEAD__NAME="PlainSemSegHead")
        assert [tuple(r["sem_seg"].shape) for r in results] == [(4, 128, 192), (4, 50, 70)]
        assert "sem_seg_head.predictor.weight" in model.state_dict()


def test_semantic_head_that_extends_the_standard_one():
    @SEM_SEG_HEADS_REGISTRY.register()
    class BiasedSemSegHead(SemSegFPNHead):
        def layers(self, features):
            x = super().layers(features) * 0
            x[:, 2] += 1
            return x

    _, results = run("semantic", SEM_SEG_HEAD__NAME="BiasedSemSegHead")
    assert (results[0]["sem_seg"].argmax(0) == 2).all()


def test_meta_architecture_that_changes_the_inference():
    @META_ARCH_REGISTRY.register()
    class TopRCNN(GeneralizedRCNN):
        def inference(self, batched_inputs, detected_instances=None, do_postprocess=True):
            assert not self.training
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            proposals, _ = self.proposal_generator(images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
            results = [r[:1] for r in results]
            if not do_postprocess:
                return results
            return GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)

    model, results = run(META_ARCHITECTURE="TopRCNN", **MASKS)
    assert [len(r["instances"]) for r in results] == [1, 1]
    assert results[0]["instances"].pred_masks.shape == (1, 128, 192)
    assert model([]) == []


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("family", ["fpn", "panoptic"])
def test_meta_architecture_that_changes_the_last_step(family, optimized):
    base = META_ARCH_REGISTRY.get(tiny_cfg(family).MODEL.META_ARCHITECTURE)

    @META_ARCH_REGISTRY.register()
    class BestOnly(base):
        @staticmethod
        def _postprocess(instances, batched_inputs, image_sizes):  # as Detectron2 calls it
            results = []
            for one, inputs, size in zip(instances, batched_inputs, image_sizes):
                assert one.pred_masks.shape[1:] == (1, 8, 8)
                height, width = inputs.get("height", size[0]), inputs.get("width", size[1])
                results.append({"instances": detector_postprocess(one[:1], height, width)})
            return results

    model = golden(tiny_cfg(family, META_ARCHITECTURE="BestOnly", **MASKS))
    if optimized:
        optimize(model)
    results = model([{"image": tiny_image(), "height": 128, "width": 192}, {"image": tiny_image(50, 70)}])
    assert [result["instances"].pred_masks.shape for result in results] == [(1, 128, 192), (1, 50, 70)]
    assert all(result["instances"].pred_masks.any() for result in results)


def test_meta_architecture_that_wraps_the_inference():
    @META_ARCH_REGISTRY.register()
    class NamingRCNN(GeneralizedRCNN):
        @configurable
        def __init__(self, *, names, **kwargs):
            super().__init__(**kwargs)
            self.names = names

        @classmethod
        def from_config(cls, cfg):
            ret = super().from_config(cfg)
            ret["names"] = ["a", "b", "c"]
            return ret

        def inference(self, batched_inputs, *args, **kwargs):
            results = super().inference(batched_inputs, *args, **kwargs)
            for result in results:
                result["names"] = [self.names[i] for i in result["instances"].pred_classes.tolist()]
            return results

    _, results = run(META_ARCHITECTURE="NamingRCNN")
    assert set(results[0]["names"]) <= {"a", "b", "c"}
    assert len(results[0]["names"]) == len(results[0]["instances"]) > 0


def test_meta_architecture_from_scratch():
    @META_ARCH_REGISTRY.register()
    class MeanColour(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.backbone = build_backbone(cfg)
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, batched_inputs):
            if not self.training:
                return [{"mean": x["image"].float().mean() * self.scale} for x in batched_inputs]
            raise NotImplementedError

    model = build_model(tiny_cfg(META_ARCHITECTURE="MeanColour"))
    assert not model.training
    assert not model.scale.requires_grad
    assert model([{"image": torch.full((3, 2, 2), 7)}]) == [{"mean": 7.0}]


def test_meta_architecture_that_extends_retinanet():
    @META_ARCH_REGISTRY.register()
    class QuietRetinaNet(RetinaNet):
        def __init__(self, cfg):
            super().__init__(cfg)
            self.test_score_thresh = 1.0

    _, results = run("retinanet", META_ARCHITECTURE="QuietRetinaNet")
    assert [len(r["instances"]) for r in results] == [0, 0]


def test_a_component_may_be_an_inference_module():
    @ROI_BOX_HEAD_REGISTRY.register()
    class QuietBoxHead(InferenceModule):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.dropout = nn.Dropout(0.9)
            self.output_shape = input_shape

        def forward(self, x):
            return self.dropout(x)

    head = run(ROI_BOX_HEAD__NAME="QuietBoxHead")[0].roi_heads.box_head
    assert torch.equal(head(torch.ones(1, 2)), torch.ones(1, 2))
