"""Custom parts as people write them for Detectron2, with its imports only; run by ``litepred run`` in the tests.

Names are those of the parts that are tested; the program prints what the models made of them find.
"""

import sys

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable, get_cfg
from detectron2.layers import Conv2d, ShapeSpec, cat, get_norm
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    FPN,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    RPN,
    Backbone,
    GeneralizedRCNN,
    ROIHeads,
    StandardROIHeads,
    build_model,
)
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, build_box_head
from detectron2.modeling.roi_heads.box_head import ROI_BOX_HEAD_REGISTRY
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference_single_image
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn
from torch.nn import functional as F


class Stage(nn.Module):
    def __init__(self, in_channels, out_channels, norm):
        super().__init__()
        self.conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size=3,
            stride=2,
            padding=1,
            bias=not norm,
            norm=get_norm(norm, out_channels),
            activation=F.relu,
        )

    def forward(self, x):
        return self.conv(x)


@BACKBONE_REGISTRY.register()
class ToyBackbone(Backbone):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self.stem = Stage(input_shape.channels, 8, cfg.MODEL.TOY.NORM)
        self.stages = nn.ModuleList([Stage(8, 8, cfg.MODEL.TOY.NORM) for _ in range(4)])
        self._out_features = ["s2", "s3", "s4", "s5"]
        self._out_feature_channels = dict.fromkeys(self._out_features, 8)
        self._out_feature_strides = {"s2": 4, "s3": 8, "s4": 16, "s5": 32}

    def forward(self, x):
        x = self.stem(x)
        outputs = {}
        for name, stage in zip(self._out_features, self.stages):
            x = stage(x)
            outputs[name] = x
        return outputs


@BACKBONE_REGISTRY.register()
def build_toy_fpn_backbone(cfg, input_shape: ShapeSpec):
    bottom_up = ToyBackbone(cfg, input_shape)
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


@BACKBONE_REGISTRY.register()
def build_short_resnet_backbone(cfg, input_shape):
    norm = cfg.MODEL.RESNETS.NORM
    stem = BasicStem(in_channels=input_shape.channels, out_channels=8, norm=norm)
    stages = [
        ResNet.make_stage(
            BottleneckBlock,
            1,
            stride_per_block=[1 if i == 0 else 2],
            in_channels=8 * 2**i,
            bottleneck_channels=4,
            out_channels=16 * 2**i,
            norm=norm,
        )
        for i in range(4)
    ]
    return ResNet(stem, stages, out_features=["res4"], freeze_at=2).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)


@ROI_HEADS_REGISTRY.register()
class OwnInitROIHeads(StandardROIHeads):
    """The older style: ``(cfg, input_shape)``, and an ordinary method that makes a head of its own."""

    def __init__(self, cfg, input_shape):
        super().__init__(cfg, input_shape)
        self._init_extra_head(cfg)

    def _init_extra_head(self, cfg):
        self.extra = nn.Linear(self.box_head.output_shape.channels, 1)

    def forward(self, images, features, proposals, targets=None):
        instances, losses = super().forward(images, features, proposals, targets)
        if self.training:
            return instances, losses
        pooled = self.box_pooler([features[f] for f in self.box_in_features], [x.pred_boxes for x in instances])
        extra = self.extra(self.box_head(pooled)).split([len(x) for x in instances])
        for one, value in zip(instances, extra):
            one.pred_extra = value[:, 0]
        return instances, {}


@ROI_HEADS_REGISTRY.register()
class FromConfigROIHeads(ROIHeads):
    """The newer style: explicit arguments, and ``from_config``."""

    @configurable
    def __init__(self, *, in_features, pooler, box_head, box_predictor, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.in_features, self.scale = in_features, scale
        self.pooler, self.box_head, self.box_predictor = pooler, box_head, box_predictor

    @classmethod
    def from_config(cls, cfg, input_shape):
        ret = super().from_config(cfg)
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        pooler = ROIPooler(
            output_size=cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION,
            scales=tuple(1.0 / input_shape[k].stride for k in in_features),
            sampling_ratio=cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO,
            pooler_type=cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE,
        )
        size = cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
        shape = ShapeSpec(channels=input_shape[in_features[0]].channels, width=size, height=size)
        ret["box_head"] = build_box_head(cfg, shape)
        ret["box_predictor"] = FastRCNNOutputLayers(
            cfg, ret["box_head"].output_shape, box2box_transform=Box2BoxTransform(weights=(5.0, 5.0, 2.0, 2.0))
        )
        ret.update(in_features=in_features, pooler=pooler, scale=cfg.MODEL.TOY.SCALE)
        return ret

    def forward(self, images, features, proposals, targets=None):
        del images
        pooled = self.pooler([features[f] for f in self.in_features], [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(self.box_head(pooled * self.scale))
        boxes = self.box_predictor.predict_boxes(predictions, proposals)
        scores = self.box_predictor.predict_probs(predictions, proposals)
        results = []
        for b, s, p in zip(boxes, scores, proposals):
            result, _ = fast_rcnn_inference_single_image(b, s, p.image_size, 0.0, 0.5, 7)
            results.append(result)
        return results, {}


@ROI_HEADS_REGISTRY.register()
class OwnBoxROIHeads(StandardROIHeads):
    """A box branch of its own, which calls the parts that the parent has."""

    def _forward_box(self, features, proposals):
        features = [features[f] for f in self.box_in_features]
        pooled = self.box_pooler(features, [x.proposal_boxes for x in proposals])
        predictions = self.box_predictor(self.box_head(pooled))
        if self.training:
            return self.box_predictor.losses(predictions, proposals)
        instances, kept = self.box_predictor.inference(predictions, proposals)
        for one, index in zip(instances, kept):
            one.proposal = index
        return instances


@PROPOSAL_GENERATOR_REGISTRY.register()
class AllDecodedRPN(RPN):
    """Decodes all boxes before it chooses, as Detectron2 does."""

    @torch.no_grad()
    def predict_proposals(self, anchors, pred_objectness_logits, pred_anchor_deltas, image_sizes):
        return find_top_rpn_proposals(
            self._decode_proposals(anchors, pred_anchor_deltas),
            pred_objectness_logits,
            image_sizes,
            self.nms_thresh,
            self.pre_nms_topk[self.training],
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )


@ROI_BOX_HEAD_REGISTRY.register()
class DoubledBoxHead(FastRCNNConvFCHead):
    def forward(self, x):
        return super().forward(x) * 2


@META_ARCH_REGISTRY.register()
class SubclassRCNN(GeneralizedRCNN):
    """Arguments of its own, and an ``inference`` that goes through the parent's parts."""

    @configurable
    def __init__(self, *, tag, **kwargs):
        super().__init__(**kwargs)
        self.tag = tag

    @classmethod
    def from_config(cls, cfg):
        ret = super().from_config(cfg)
        ret["tag"] = cfg.MODEL.TOY.TAG
        return ret

    def inference(self, batched_inputs, detected_instances=None, do_postprocess=True):
        assert not self.training
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, _ = self.proposal_generator(images, features, None)
        results, _ = self.roi_heads(images, features, proposals, None)
        if do_postprocess:
            results = GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)
        for result in results:
            result["tag"] = self.tag
        return results


@META_ARCH_REGISTRY.register()
class PlainModule(nn.Module):
    """A meta-architecture that is nobody's subclass."""

    def __init__(self, cfg):
        super().__init__()
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.score = nn.Parameter(torch.tensor(0.5))

    def forward(self, batched_inputs):
        images = ImageList.from_tensors([x["image"].to(self.device) for x in batched_inputs], 32)
        results = []
        for x, size in zip(batched_inputs, images.image_sizes):
            instances = Instances(size)
            instances.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, size[1], size[0]]]))
            instances.scores = cat([self.score[None]])
            instances.pred_classes = torch.zeros(1, dtype=torch.int64)
            results.append({"instances": detector_postprocess(instances, x["height"], x["width"])})
        return results


def setup(options):
    cfg = get_cfg()
    cfg.MODEL.TOY = CN()
    cfg.MODEL.TOY.NORM = "BN"
    cfg.MODEL.TOY.SCALE = 1.0
    cfg.MODEL.TOY.TAG = "toy"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_toy_fpn_backbone"
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.FPN.IN_FEATURES = ["s2", "s3", "s4", "s5"]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64], [128]]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    cfg.merge_from_list(options)
    cfg.freeze()
    return cfg


if __name__ == "__main__":
    for options in " ".join(sys.argv[1:]).split(" / "):
        torch.manual_seed(0)
        model = build_model(setup(options.split()))
        model.eval()
        image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
        with torch.no_grad():
            outputs = model(
                [{"image": image, "height": 128, "width": 192}, {"image": image, "height": 64, "width": 96}]
            )
        first, second = (x["instances"] for x in outputs)
        rest = {k: v for k, v in outputs[0].items() if k != "instances"}
        print(type(model).__name__, len(first), first.image_size, second.image_size, sorted(first.get_fields()), rest)
