"""What is told from names and shapes alone, on the state dicts of Detectron2's zoo."""

from __future__ import annotations

import gzip
import json

import pytest
from golden_answers import ASSETS

from litepred import model_zoo
from litepred.cli.architecture import name_family, recognise
from litepred.modeling.build import build_skeleton

ZOO = {
    name: {key: tuple(shape) for key, shape in shapes.items()}
    for name, shapes in json.loads(
        gzip.decompress((ASSETS / "goldens" / "state_dict_shapes.json.gz").read_bytes())
    ).items()
}
RPN = "RPN of 3 anchors per cell"
FPN, SIMPLE = "FPN of 256 channels", "simple feature pyramid of 256 channels"


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"encoder.layer.0.weight": (3,)},
        {"backbone.res2.0.conv2.weight": (), "roi_heads.box_predictor.cls_score.weight": ()},
        {"backbone.res2.0.conv2.weight": (0, 0, 0, 0), "head.bbox_pred.weight": (3,), "head.cls_score.weight": (9,)},
    ],
)
def test_what_tells_little(shapes):
    found = recognise(shapes)
    assert found.classes == {}
    assert "ResNeXt" not in found.backbone
    assert bool(found.name) == any("head" in key for key in shapes)


@pytest.mark.parametrize(
    ("name", "model", "backbone", "heads"),
    [
        ("COCO-Detection/fast_rcnn_R_50_FPN_1x", "Fast R-CNN", "ResNet-50, FrozenBN, FPN of 256 channels", ["2 fc"]),
        (
            "COCO-Detection/faster_rcnn_R_101_C4_3x",
            "Faster R-CNN",
            "ResNet-101, FrozenBN, C4",
            ["RPN of 15 anchors per cell", "res5"],
        ),
        (
            "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x",
            "Mask R-CNN",
            "ResNet-50, FrozenBN, dilated C5",
            ["RPN of 15 anchors per cell", "2 fc", "4 conv, 1 deconv"],
        ),
        (
            "COCO-Detection/retinanet_R_50_FPN_3x",
            "RetinaNet",
            "ResNet-50, FrozenBN, FPN of 256 channels",
            ["4 conv, 9 anchors per cell"],
        ),
        ("COCO-Detection/rpn_R_50_C4_1x", "RPN", "ResNet-50, FrozenBN, C4", ["RPN of 15 anchors per cell"]),
        (
            "COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x",
            "Keypoint R-CNN",
            "ResNeXt-101 32x8d, FrozenBN, FPN of 256 channels",
            [RPN, "2 fc", "8 conv, 17 keypoints"],
        ),
        (
            "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic",
            "Mask R-CNN",
            "ResNet-50, FrozenBN, FPN of 256 channels",
            [RPN, "2 fc, class-agnostic", "4 conv, 1 deconv, class-agnostic"],
        ),
        (
            "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x",
            "Cascade Panoptic FPN",
            "ResNet-101, GN, deformable res3+res4+res5, FPN of 256 channels",
            [RPN, "3 stages, 2 fc, class-agnostic", "4 conv, 1 deconv", "4 levels"],
        ),
        (
            "DensePose/densepose_rcnn_R_50_FPN_DL_s1x",
            "DensePose R-CNN",
            "ResNet-50, FrozenBN, FPN of 256 channels",
            [RPN, "2 fc", "DeepLab, 8 conv, decoder"],
        ),
        (
            "DensePose/densepose_rcnn_R_50_FPN_s1x_legacy",
            "DensePose R-CNN",
            "ResNet-50, FrozenBN, FPN of 256 channels",
            [RPN, "2 fc", "8 conv"],
        ),
        ("Misc/semantic_R_50_FPN_1x", "Semantic FPN", "ResNet-50, FrozenBN, FPN of 256 channels", ["4 levels"]),
        (
            "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_100ep_LSJ",
            "Mask R-CNN",
            "RegNetY of 2-6-12-2 blocks, BN, FPN of 256 channels",
            [RPN, "4 conv, 1 fc", "4 conv, 1 deconv"],
        ),
    ],
)
def test_models_of_the_zoo(name, model, backbone, heads):
    found = recognise(ZOO[name])
    assert (found.name, found.backbone, [*found.heads.values()]) == (model, backbone, heads)


def shapes_of(name, *options):
    cfg = model_zoo.get_config(name)
    cfg.merge_from_list(options)
    return {key: tuple(value.shape) for key, value in build_skeleton(cfg).state_dict().items()}


@pytest.mark.parametrize(
    ("name", "options", "model", "backbone"),
    [
        ("ViTDet/COCO/cascade_mask_rcnn_vitdet_h_75ep", (), "Cascade Mask R-CNN", f"ViT-H, {SIMPLE}"),
        ("ViTDet/LVIS/mask_rcnn_vitdet_b_100ep", (), "Mask R-CNN", f"ViT-B, {SIMPLE}"),
        (
            "ViTDet/COCO/mask_rcnn_vitdet_b_100ep",
            ("MODEL.VIT.DEPTH", 4, "MODEL.FPN.OUT_CHANNELS", 64),
            "Mask R-CNN",
            "ViT of 4 blocks, 768 channels, simple feature pyramid of 64 channels",
        ),
        ("ViTDet/COCO/cascade_mask_rcnn_swin_l_in21k_50ep", (), "Cascade Mask R-CNN", f"Swin-L, {FPN}"),
        ("MViTv2/cascade_mask_rcnn_mvitv2_s_3x", (), "Cascade Mask R-CNN", f"MViTv2-S, {FPN}"),
    ],
)
def test_models_of_transformers(name, options, model, backbone):
    found = recognise(shapes_of(name, *options))
    assert (found.name, found.meta_architecture, found.backbone) == (model, "GeneralizedRCNN", backbone)


def test_a_transformer_alone():
    shapes = shapes_of("ViTDet/COCO/cascade_mask_rcnn_swin_b_in21k_50ep")
    start = "backbone.bottom_up."
    found = recognise({key.removeprefix(start): shape for key, shape in shapes.items() if key.startswith(start)})
    assert (found.name, found.backbone) == ("a backbone alone, such as ImageNet weights", "Swin-B")


@pytest.mark.parametrize("name", sorted(ZOO.keys() & {*model_zoo.list()}))
def test_agrees_with_the_config(name):
    model, found = model_zoo.get_config(name).MODEL, recognise(ZOO[name])
    assert found.meta_architecture == model.META_ARCHITECTURE
    section = model.RETINANET if model.META_ARCHITECTURE == "RetinaNet" else model.ROI_HEADS
    expected = {"things": section.NUM_CLASSES, "stuff": model.SEM_SEG_HEAD.NUM_CLASSES}
    assert found.classes == {kind: expected[kind] for kind in found.classes}
    assert ("masks" in found.heads) == (model.MASK_ON and "boxes" in found.heads)
    assert ("FPN" in found.backbone) == ("fpn" in model.BACKBONE.NAME)
    assert ("deformable" in found.backbone) == any(model.RESNETS.DEFORM_ON_PER_STAGE)
    if "resnet" in model.BACKBONE.NAME:
        assert f"-{model.RESNETS.DEPTH}" in found.backbone


def test_a_backbone_alone():
    start = "backbone.bottom_up."
    shapes = ZOO["COCO-Detection/faster_rcnn_R_50_FPN_3x"]
    found = recognise({key.removeprefix(start): shape for key, shape in shapes.items() if key.startswith(start)})
    assert found.name == "a backbone alone, such as ImageNet weights"
    assert (found.meta_architecture, found.backbone, found.heads) == ("", "ResNet-50, FrozenBN", {})


def test_short_names_of_converted_caffe2_files():
    starts = ("backbone.bottom_up.", "backbone.", "roi_heads.box_predictor.", "roi_heads.")
    shapes = ZOO["COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"]
    short = {}
    for key, shape in shapes.items():
        short[next((key.removeprefix(start) for start in starts if key.startswith(start)), key)] = shape
    assert len(short) == len(shapes)
    assert recognise(short) == recognise(shapes)


@pytest.mark.parametrize(
    ("heads", "options", "name", "meta_architecture"),
    [
        ([], {}, "", ""),
        (["proposals"], {}, "RPN", "ProposalNetwork"),
        (["stuff"], {}, "Semantic FPN", "SemanticSegmentor"),
        (["boxes"], {}, "Fast R-CNN", "GeneralizedRCNN"),
        (["boxes"], {"dense": True}, "RetinaNet", "RetinaNet"),
        (["proposals", "boxes"], {}, "Faster R-CNN", "GeneralizedRCNN"),
        (["proposals", "boxes"], {"cascade": True}, "Cascade R-CNN", "GeneralizedRCNN"),
        (["boxes", "masks", "keypoints"], {"cascade": True}, "Cascade Mask Keypoint R-CNN", "GeneralizedRCNN"),
        (["proposals", "boxes", "surfaces"], {}, "DensePose R-CNN", "GeneralizedRCNN"),
        (["proposals", "boxes", "masks", "stuff"], {"cascade": True}, "Cascade Panoptic FPN", "PanopticFPN"),
    ],
)
def test_name_family(heads, options, name, meta_architecture):
    assert name_family(heads, **options) == (name, meta_architecture)
