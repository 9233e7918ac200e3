"""Models of every family, small enough to be built and run in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from golden_weights import fill_with_golden_weights
from torch import Tensor

from litepred.config import CfgNode, get_cfg
from litepred.modeling import SemanticSegmentor, build_model

_RESNET = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 100,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 30,
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.2,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 4,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 4,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "TEST.DETECTIONS_PER_IMAGE": 10,
}
_PYRAMID = {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
}
_FPN = {
    "MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64], [128]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION": 4,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": (8,),
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 2,
}
_SEMANTIC = {
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 4,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 8,
    "MODEL.SEM_SEG_HEAD.NORM": "",
}
_POINTS = {
    "MODEL.POINT_HEAD.FC_DIM": 16,
    "MODEL.POINT_HEAD.NUM_FC": 2,
    "MODEL.POINT_HEAD.SUBDIVISION_STEPS": 2,
    "MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS": 16,
}
_POINTREND = {
    **_POINTS,
    "MODEL.MASK_ON": True,
    "MODEL.POINT_HEAD.NUM_CLASSES": 3,
    "MODEL.ROI_MASK_HEAD.NAME": "PointRendMaskHead",
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "",
    "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON": True,
    "MODEL.ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION": 3,
    "MODEL.ROI_MASK_HEAD.FC_DIM": 16,
}
_DEEPLAB = {
    **_RESNET,
    **_SEMANTIC,
    "MODEL.META_ARCHITECTURE": "SemanticSegmentor",
    "MODEL.BACKBONE.NAME": "build_resnet_deeplab_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res5"],
    "MODEL.RESNETS.RES5_DILATION": 2,
    "MODEL.SEM_SEG_HEAD.NORM": "BN",
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS": 8,
    "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS": [1, 2, 3],
}
FAMILIES: dict[str, dict[str, Any]] = {
    "fpn": {**_RESNET, **_PYRAMID, **_FPN},
    "c4": {**_RESNET, "MODEL.ANCHOR_GENERATOR.SIZES": [[16, 32]]},
    "cascade": {
        **_RESNET,
        **_PYRAMID,
        **_FPN,
        "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
    },
    "densepose": {
        **_RESNET,
        **_PYRAMID,
        **_FPN,
        "MODEL.ROI_HEADS.NAME": "DensePoseROIHeads",
        "MODEL.ROI_HEADS.NUM_CLASSES": 1,
        "MODEL.ROI_DENSEPOSE_HEAD.NAME": "DensePoseV1ConvXHead",
        "MODEL.ROI_DENSEPOSE_HEAD.NUM_STACKED_CONVS": 2,
        "MODEL.ROI_DENSEPOSE_HEAD.CONV_HEAD_DIM": 32,
        "MODEL.ROI_DENSEPOSE_HEAD.POOLER_TYPE": "ROIAlign",
        "MODEL.ROI_DENSEPOSE_HEAD.POOLER_RESOLUTION": 6,
        "MODEL.ROI_DENSEPOSE_HEAD.DECODER_CONV_DIMS": 16,
        "MODEL.ROI_DENSEPOSE_HEAD.DECODER_NUM_CLASSES": 16,
    },
    "rotated": {
        **_RESNET,
        **_PYRAMID,
        **_FPN,
        "MODEL.PROPOSAL_GENERATOR.NAME": "RRPN",
        "MODEL.ANCHOR_GENERATOR.NAME": "RotatedAnchorGenerator",
        "MODEL.RPN.BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0, 1.0),
        "MODEL.ROI_HEADS.NAME": "RROIHeads",
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignRotated",
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0, 1.0),
    },
    "proposals": {**_RESNET, **_PYRAMID, **_FPN, "MODEL.META_ARCHITECTURE": "ProposalNetwork"},
    "precomputed": {**_RESNET, **_PYRAMID, **_FPN, "MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"},
    "retinanet": {
        **_RESNET,
        **_PYRAMID,
        "MODEL.META_ARCHITECTURE": "RetinaNet",
        "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
        "MODEL.ANCHOR_GENERATOR.SIZES": [[16, 20], [32, 40], [64, 80], [128, 160], [256, 320]],
        "MODEL.RETINANET.NUM_CLASSES": 3,
        "MODEL.RETINANET.NUM_CONVS": 1,
    },
    "semantic": {**_RESNET, **_PYRAMID, **_SEMANTIC, "MODEL.META_ARCHITECTURE": "SemanticSegmentor"},
    "pointrend": {**_RESNET, **_PYRAMID, **_FPN, **_POINTREND},
    "implicit pointrend": {
        **_RESNET,
        **_PYRAMID,
        **_FPN,
        **_POINTREND,
        "MODEL.ROI_MASK_HEAD.NAME": "ImplicitPointRendMaskHead",
        "MODEL.POINT_HEAD.NAME": "ImplicitPointHead",
    },
    "semantic pointrend": {
        **_RESNET,
        **_PYRAMID,
        **_SEMANTIC,
        **_POINTS,
        "MODEL.META_ARCHITECTURE": "SemanticSegmentor",
        "MODEL.SEM_SEG_HEAD.NAME": "PointRendSemSegHead",
        "MODEL.POINT_HEAD.NUM_CLASSES": 4,
        "MODEL.POINT_HEAD.COARSE_PRED_EACH_LAYER": False,
    },
    "deeplab v3": {
        **_DEEPLAB,
        "MODEL.RESNETS.OUT_FEATURES": ["res5"],
        "MODEL.SEM_SEG_HEAD.NAME": "DeepLabV3Head",
        "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res5"],
        "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": 16,
    },
    "deeplab v3+": {
        **_DEEPLAB,
        "MODEL.SEM_SEG_HEAD.NAME": "DeepLabV3PlusHead",
        "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2", "res5"],
    },
    "panoptic": {
        **_RESNET,
        **_PYRAMID,
        **_FPN,
        **_SEMANTIC,
        "MODEL.META_ARCHITECTURE": "PanopticFPN",
        "MODEL.MASK_ON": True,
        "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT": 64,
    },
}


def tiny_cfg(family: str = "fpn", /, **changes: Any) -> CfgNode:
    """The config of a family; ``MASK_ON=True`` and ``RPN__CONV_DIMS=[8, 8]`` change keys below ``MODEL``."""
    cfg = get_cfg()
    values = {**FAMILIES[family], **{"MODEL." + key.replace("__", "."): value for key, value in changes.items()}}
    cfg.merge_from_list([item for pair in values.items() for item in pair])
    return cfg


def tiny_model(family: str = "fpn", /, **changes: Any) -> Any:
    """The model of `tiny_cfg`, with the goldens' weights."""
    return golden(tiny_cfg(family, **changes))


def golden(cfg: CfgNode) -> Any:
    """The model of any config, with the goldens' weights."""
    model = build_model(cfg)
    fill_with_golden_weights(model, cfg.MODEL.PIXEL_STD[0])
    return model


def tiny_image(height: int = 64, width: int = 96, channels: int = 3, seed: int = 0) -> Tensor:
    """Noise with large structures: (C, H, W) uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 4, 4, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    return ((image + 0.1 * torch.rand(channels, height, width, generator=generator)) * 230).to(torch.uint8)


def assert_stored_answers(model: Any, file: str, name: str) -> None:
    """Hold what a model finds in noise against what Detectron2 found with the same weights: a sample of all values."""
    stored = json.loads((Path(__file__).parent / "modeling" / file).read_text(encoding="utf-8"))[name]
    images = [tiny_image(64, 96), tiny_image(64, 80, seed=1)][: len(stored["shapes"])]
    inputs = [{"image": image} for image in images]
    if isinstance(model, SemanticSegmentor):
        maps = [one["sem_seg"] for one in model(inputs)]
    else:
        maps = [one.pred_masks for one in model.inference(inputs, do_postprocess=False)]
    assert [list(one.shape) for one in maps] == stored["shapes"]
    values = torch.cat([one.flatten() for one in maps])
    sample = values[torch.linspace(0, len(values) - 1, len(stored["sample"])).long()]
    torch.testing.assert_close(sample, torch.tensor(stored["sample"]), rtol=1e-4, atol=1e-4)
