"""The models of Detectron2's projects PointRend and DeepLab: configs, addresses, and the keys of checkpoints."""

from __future__ import annotations

import functools
import hashlib
import re

import pytest

from litepred import model_zoo
from litepred.checkpoint.hints import read_numbers
from litepred.cli.architecture import recognise
from litepred.data import MetadataCatalog
from litepred.errors import ConfigError
from litepred.modeling.build import build_skeleton

DEEPLAB = "DeepLab/Cityscapes-SemanticSegmentation/deeplab_v3"
INSTANCES, SEMANTIC = "PointRend/InstanceSegmentation/", "PointRend/SemanticSegmentation/"
# Of what Detectron2 builds from its own config: the number of keys, and the beginning of the SHA-256 of its lines
# "key shape", sorted. Then the family that litepred calls it, and its backbone.
MODELS = (
    (f"{DEEPLAB}_R_103_os16_mg124_poly_90k_bs16", 670, "68c0db8fb0c6", "DeepLab v3", "BN, DeepLab's stem"),
    (f"{DEEPLAB}_plus_R_103_os16_mg124_poly_90k_bs16", 688, "07502a66e07a", "DeepLab v3+", "BN, DeepLab's stem"),
    (f"{INSTANCES}implicit_pointrend_R_50_FPN_1x_coco", 304, "5cede4235b99", "Implicit PointRend R-CNN", "ResNet-50"),
    (f"{INSTANCES}implicit_pointrend_R_50_FPN_3x_coco", 304, "5cede4235b99", "Implicit PointRend R-CNN", "ResNet-50"),
    (f"{INSTANCES}pointrend_rcnn_R_101_FPN_3x_coco", 566, "7f2292bfb8f8", "PointRend R-CNN", "ResNet-101"),
    (f"{INSTANCES}pointrend_rcnn_R_50_FPN_1x_cityscapes", 311, "0eca06c14405", "PointRend R-CNN", "ResNet-50"),
    (f"{INSTANCES}pointrend_rcnn_R_50_FPN_1x_coco", 311, "3118aa1aa065", "PointRend R-CNN", "ResNet-50"),
    (f"{INSTANCES}pointrend_rcnn_R_50_FPN_3x_coco", 311, "3118aa1aa065", "PointRend R-CNN", "ResNet-50"),
    (f"{INSTANCES}pointrend_rcnn_X_101_32x8d_FPN_3x_coco", 566, "18d90cbac4ec", "PointRend R-CNN", "ResNeXt-101 32x8d"),
    (f"{SEMANTIC}pointrend_semantic_R_101_FPN_1x_cityscapes", 567, "0f8a77b758d0", "PointRend Semantic FPN", "FPN"),
)
NAMES = [name for name in model_zoo.list() if name.startswith(("PointRend/", "DeepLab/"))]


def test_the_list():
    assert [name for name, *_ in MODELS] == NAMES


@pytest.mark.parametrize(("name", "number", "digest", "family", "backbone"), MODELS)
def test_keys_and_shapes_and_what_they_tell(name, number, digest, family, backbone):
    cfg = model_zoo.get_config(name)
    shapes = {key: tuple(tensor.shape) for key, tensor in build_skeleton(cfg).state_dict().items()}
    lines = sorted(f"{key} {shape}" for key, shape in shapes.items())
    assert (len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]) == (number, digest)
    numbers = read_numbers(shapes)
    assert len(numbers) >= 2 and ("MODEL.POINT_HEAD.NUM_CLASSES" in numbers) == ("PointRend" in name)
    assert {key: functools.reduce(getattr, key.split("."), cfg) for key in numbers} == numbers
    found = recognise(shapes)
    assert (found.name, found.meta_architecture) == (family, cfg.MODEL.META_ARCHITECTURE)
    assert backbone in found.backbone
    what = found.heads.get("stuff") or found.heads["masks"]
    assert re.search({"Deep": "ASPP", "Poin": "point head of 3 fc", "Impl": "^2 fc$"}[family[:4]], what)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_name_tells(name):
    cfg = model_zoo.get_config(name)
    model, metadata = cfg.MODEL, MetadataCatalog.get(cfg.DATASETS.TEST[0])
    if "cityscapes" in name.lower():
        assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (1024, 2048)
    if model.META_ARCHITECTURE == "SemanticSegmentor":
        assert len(metadata.stuff_classes) == model.SEM_SEG_HEAD.NUM_CLASSES == 19
        assert not model.MASK_ON
    else:
        assert len(metadata.thing_classes) == model.ROI_HEADS.NUM_CLASSES == model.POINT_HEAD.NUM_CLASSES
        assert model.MASK_ON and model.ROI_MASK_HEAD.POOLER_TYPE == ""
    assert ("deeplab" in name) == (cfg.INPUT.FORMAT == "RGB") == cfg.INPUT.CROP.ENABLED
    assert re.search(r"_(R|X)_(50|101|103)_", name)[2] == str(model.RESNETS.DEPTH).replace(
        "101", "103" if "deeplab" in name else "101"
    )


def test_addresses():
    start = "https://dl.fbaipublicfiles.com/detectron2/"
    assert model_zoo.get_checkpoint_url(NAMES[-2]) == f"{start}{NAMES[-2]}/28119989/model_final_ba17b9.pkl"
    released = [name for name in NAMES if "implicit" not in name]
    assert len({model_zoo.get_checkpoint_url(name).split("/")[-2] for name in released}) == len(released) == 8
    with pytest.raises(ConfigError, match="no checkpoint was released"):
        model_zoo.get_checkpoint_url(f"{INSTANCES}implicit_pointrend_R_50_FPN_1x_coco")
