"""Backbones: images to feature maps."""

from .base import Backbone
from .fpn import (
    FPN,
    LastLevelMaxPool,
    LastLevelP6P7,
    build_resnet_fpn_backbone,
    build_retinanet_resnet_fpn_backbone,
)
from .regnet import RegNet, build_regnetx_4gf_dds_fpn_backbone, build_regnety_4gf_dds_fpn_backbone
from .resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet, build_resnet_backbone

__all__ = [
    "FPN",
    "Backbone",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "RegNet",
    "ResNet",
    "build_regnetx_4gf_dds_fpn_backbone",
    "build_regnety_4gf_dds_fpn_backbone",
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
]
