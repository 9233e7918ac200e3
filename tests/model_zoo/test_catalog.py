from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from litepred import model_zoo
from litepred.config import CfgNode
from litepred.data import MetadataCatalog
from litepred.errors import ConfigError
from litepred.resolve import class_metadata, known_names

# Those of other tests: tests/test_torchvision.py, tests/densepose/test_zoo.py, test_transformers.py, test_projects.py
OTHERS = ("torchvision/", "DensePose/", "ViTDet/", "MViTv2/", "PointRend/", "DeepLab/")
NAMES = [name for name in model_zoo.list() if not name.startswith(OTHERS)]
X_STD = [57.375, 57.12, 58.395]
NO_CHECKPOINT = {
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou",
    "COCO-InstanceSegmentation/mask_rcnn_regnetx_4gf_dds_fpn_1x",
    "COCO-InstanceSegmentation/mask_rcnn_regnety_4gf_dds_fpn_1x",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_101_FPN_1x",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "LVISv1-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x",
    "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic",
    "Misc/semantic_R_50_FPN_1x",
    "PascalVOC-Detection/faster_rcnn_R_50_FPN",
    "new_baselines/mask_rcnn_R_50_FPN_50ep_LSJ",
}

load = functools.cache(model_zoo.get_config)


def value(cfg: CfgNode, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), cfg)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_loads_with_the_values_its_name_tells(name):
    cfg = load(name)
    model, stem = cfg.MODEL, name.split("/")[1]
    assert cfg.MODEL.WEIGHTS == "" and not cfg.is_frozen()
    assert (cfg.VERSION, cfg.INPUT.FORMAT, model.PIXEL_MEAN) == (2, "BGR", [103.53, 116.28, 123.675])
    assert len(cfg.DATASETS.TEST) == 1
    assert ("mask_rcnn" in stem or "panoptic" in stem) == model.MASK_ON
    assert ("keypoint" in stem) == model.KEYPOINT_ON
    if depth := re.search(r"[RX]_(\d+)", stem):
        assert int(depth[1]) == model.RESNETS.DEPTH
    groups = (32, 8) if "X_1" in stem else (1, 64)
    assert groups == (model.RESNETS.NUM_GROUPS, model.RESNETS.WIDTH_PER_GROUP)
    assert ("cascade" in stem) == (model.ROI_HEADS.NAME == "CascadeROIHeads")
    assert ([False, True, True, True] if "dconv" in stem else [False] * 4) == model.RESNETS.DEFORM_ON_PER_STAGE


@pytest.mark.parametrize("name", NAMES)
def test_every_config_has_the_backbone_and_features_of_its_kind(name):
    cfg = load(name)
    model, stem = cfg.MODEL, name.split("/")[1]
    if "retinanet" in stem:
        assert model.BACKBONE.NAME == "build_retinanet_resnet_fpn_backbone"
    elif "C4" in stem:
        assert (model.BACKBONE.NAME, model.ROI_HEADS.NAME) == ("build_resnet_backbone", "Res5ROIHeads")
        assert (model.RPN.IN_FEATURES, model.ROI_BOX_HEAD.POOLER_RESOLUTION) == (["res4"], 14)
    elif "DC5" in stem:
        assert (model.BACKBONE.NAME, model.ROI_HEADS.NAME) == ("build_resnet_backbone", "StandardROIHeads")
        assert (model.RPN.IN_FEATURES, model.ROI_BOX_HEAD.POOLER_RESOLUTION) == (["res5"], 7)
        assert (model.RPN.PRE_NMS_TOPK_TEST, model.ROI_MASK_HEAD.NUM_CONV) == (6000, 4)
    else:
        assert model.BACKBONE.NAME.endswith("_fpn_backbone")
        assert (model.RPN.IN_FEATURES, model.ROI_HEADS.IN_FEATURES) == (
            ["p2", "p3", "p4", "p5", "p6"],
            ["p2", "p3", "p4", "p5"],
        )
        assert (model.RPN.PRE_NMS_TOPK_TEST, model.ROI_BOX_HEAD.POOLER_RESOLUTION) == (1000, 7)


# PIXEL_STD, STRIDE_IN_1X1 and the norm vary on their own: none follows from another, or from the name.
@pytest.mark.parametrize(
    ("name", "std", "stride_in_1x1", "norm"),
    [
        ("COCO-Detection/faster_rcnn_R_50_FPN_3x", [1.0] * 3, True, "FrozenBN"),
        ("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x", X_STD, False, "FrozenBN"),
        ("COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x", X_STD, False, "FrozenBN"),
        ("COCO-InstanceSegmentation/mask_rcnn_regnety_4gf_dds_fpn_1x", X_STD, True, "FrozenBN"),
        ("COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x", X_STD, False, "FrozenBN"),
        ("LVISv0.5-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x", X_STD, False, "FrozenBN"),
        ("LVISv1-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x", X_STD, False, "FrozenBN"),
        ("Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv", [1.0] * 3, False, "FrozenBN"),
        ("Misc/mask_rcnn_R_50_FPN_3x_gn", [1.0] * 3, False, "GN"),
        ("Misc/mask_rcnn_R_50_FPN_3x_syncbn", [1.0] * 3, True, "SyncBN"),
        ("Misc/scratch_mask_rcnn_R_50_FPN_3x_gn", [1.0] * 3, False, "GN"),
        ("Misc/scratch_mask_rcnn_R_50_FPN_9x_gn", X_STD, False, "GN"),
        ("Misc/scratch_mask_rcnn_R_50_FPN_9x_syncbn", X_STD, False, "SyncBN"),
        ("Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x", [1.0] * 3, False, "GN"),
        ("new_baselines/mask_rcnn_R_50_FPN_400ep_LSJ", [1.0] * 3, True, "SyncBN"),
        ("new_baselines/mask_rcnn_R_101_FPN_200ep_LSJ", [1.0] * 3, True, "SyncBN"),
        ("new_baselines/mask_rcnn_regnetx_4gf_dds_FPN_400ep_LSJ", X_STD, True, "SyncBN"),
    ],
)
def test_normalisation(name, std, stride_in_1x1, norm):
    model = load(name).MODEL
    assert (std, stride_in_1x1, norm) == (model.PIXEL_STD, model.RESNETS.STRIDE_IN_1X1, model.RESNETS.NORM)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("COCO-Detection/fast_rcnn_R_50_FPN_1x", {"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"}),
        (
            "COCO-Detection/rpn_R_50_C4_1x",
            {
                "MODEL.META_ARCHITECTURE": "ProposalNetwork",
                "MODEL.RPN.PRE_NMS_TOPK_TEST": 12000,
                "MODEL.RPN.POST_NMS_TOPK_TEST": 2000,
            },
        ),
        (
            "COCO-Detection/rpn_R_50_FPN_1x",
            {"MODEL.RPN.PRE_NMS_TOPK_TEST": 1000, "MODEL.RPN.POST_NMS_TOPK_TEST": 2000},
        ),
        (
            "COCO-Detection/retinanet_R_101_FPN_3x",
            {
                "MODEL.META_ARCHITECTURE": "RetinaNet",
                "MODEL.ANCHOR_GENERATOR.SIZES": [
                    [s, s * 2 ** (1 / 3), s * 2 ** (2 / 3)] for s in (32, 64, 128, 256, 512)
                ],
                "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
            },
        ),
        ("COCO-Detection/faster_rcnn_R_50_DC5_1x", {"MODEL.RESNETS.RES5_DILATION": 2, "MODEL.ROI_BOX_HEAD.NUM_FC": 2}),
        (
            "COCO-Keypoints/keypoint_rcnn_R_101_FPN_3x",
            {"MODEL.ROI_HEADS.NUM_CLASSES": 1, "DATASETS.TEST": ("keypoints_coco_2017_val",)},
        ),
        (
            "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x",
            {
                "MODEL.META_ARCHITECTURE": "PanopticFPN",
                "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 54,
                "DATASETS.TEST": ("coco_2017_val_panoptic_separated",),
            },
        ),
        (
            "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
            {
                "MODEL.ROI_HEADS.NUM_CLASSES": 1230,
                "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0001,
                "TEST.DETECTIONS_PER_IMAGE": 300,
            },
        ),
        ("LVISv1-InstanceSegmentation/mask_rcnn_R_101_FPN_1x", {"MODEL.ROI_HEADS.NUM_CLASSES": 1203}),
        (
            "Cityscapes/mask_rcnn_R_50_FPN",
            {"MODEL.ROI_HEADS.NUM_CLASSES": 8, "INPUT.MIN_SIZE_TEST": 1024, "INPUT.MAX_SIZE_TEST": 2048},
        ),
        (
            "PascalVOC-Detection/faster_rcnn_R_50_C4",
            {"MODEL.ROI_HEADS.NUM_CLASSES": 20, "DATASETS.TEST": ("voc_2007_test",)},
        ),
        (
            "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv",
            {
                "MODEL.FPN.NORM": "",
                "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
                "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
                "MODEL.ROI_BOX_HEAD.NORM": "GN",
                "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
                "MODEL.ROI_MASK_HEAD.NUM_CONV": 8,
                "MODEL.ROI_MASK_HEAD.NORM": "GN",
            },
        ),
        (
            "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x",
            {"MODEL.FPN.NORM": "GN", "MODEL.ROI_BOX_HEAD.NORM": "", "MODEL.ROI_BOX_HEAD.NUM_FC": 2},
        ),
        ("Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5", {"MODEL.RESNETS.DEFORM_MODULATED": False}),
        ("Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic", {"MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": True}),
        ("Misc/semantic_R_50_FPN_1x", {"MODEL.META_ARCHITECTURE": "SemanticSegmentor"}),
        (
            "Detectron1-Comparisons/keypoint_rcnn_R_50_FPN_1x",
            {
                "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
                "MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE": "ROIAlign",
                "MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO": 2,
                "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlignV2",
            },
        ),
        (
            "new_baselines/mask_rcnn_R_101_FPN_400ep_LSJ",
            {
                "MODEL.RPN.CONV_DIMS": [-1, -1],
                "MODEL.FPN.NORM": "SyncBN",
                "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
                "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
                "INPUT.MIN_SIZE_TEST": 800,
                "INPUT.MAX_SIZE_TEST": 1333,
            },
        ),
        (
            "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_200ep_LSJ",
            {
                "MODEL.BACKBONE.NAME": "build_regnety_4gf_dds_fpn_backbone",
                "MODEL.FPN.IN_FEATURES": ["s1", "s2", "s3", "s4"],
                "MODEL.RPN.CONV_DIMS": [-1, -1],
            },
        ),
    ],
)
def test_what_sets_a_config_apart(name, values):
    assert {key: value(load(name), key) for key in values} == values


def test_the_list_has_the_released_models_and_a_few_more():
    assert sorted(NAMES) == NAMES and len(NAMES) == 74
    assert set(NAMES) > NO_CHECKPOINT
    assert not [name for name in NAMES if "Base-" in name]


def test_the_files_hold_nothing_of_training_and_no_tags():
    folder = Path(model_zoo.get_config_file(NAMES[0])).parents[1]
    files = sorted(folder.rglob("*.yaml"))
    assert len(files) == 174  # the bases too
    for file in files:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert set(content) <= {"_BASE_", "VERSION", "MODEL", "INPUT", "DATASETS", "TEST"}, file
        assert "WEIGHTS" not in content.get("MODEL", {}), file
        assert "_TRAIN" not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_addresses(name):
    if name in NO_CHECKPOINT:
        for call in (model_zoo.get_checkpoint_url, lambda n: model_zoo.get_config(n, trained=True), model_zoo.get):
            with pytest.raises(RuntimeError, match=r"no checkpoint was released for .*such as '\S+/\S+'"):
                call(name)
        return
    url = model_zoo.get_checkpoint_url(name)
    pattern = rf"https://dl\.fbaipublicfiles\.com/detectron2/{re.escape(name)}/\d{{8,9}}/model_\w+_[0-9a-f]{{6}}\.pkl"
    assert re.fullmatch(pattern, url)


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("COCO-Detection/faster_rcnn_R_50_FPN_3x", "137849458/model_final_280758.pkl"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", "137849600/model_final_f10217.pkl"),
        ("new_baselines/mask_rcnn_R_50_FPN_400ep_LSJ.py", "42019571/model_final_14d201.pkl"),
        ("Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv.yaml", "18131413/model_0039999_e76410.pkl"),
    ],
)
def test_some_checkpoint_addresses(name, tail):
    url = model_zoo.get_checkpoint_url(name)
    assert url.endswith(tail)
    assert url == model_zoo.get_config(name, trained=True).MODEL.WEIGHTS


def test_no_two_models_share_a_checkpoint():
    urls = [model_zoo.get_checkpoint_url(name) for name in NAMES if name not in NO_CHECKPOINT]
    assert len({url.rsplit("/", 2)[1] for url in urls}) == len({url.rsplit("_", 1)[1] for url in urls}) == 64


@pytest.mark.parametrize("ending", ["", ".yaml", ".py"])
@pytest.mark.parametrize("name", ["Cityscapes/mask_rcnn_R_50_FPN", "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ"])
def test_endings(name, ending):
    file = Path(model_zoo.get_config_file(name + ending))
    assert file.is_absolute() and file.is_file() and file.as_posix().endswith(f"/model_zoo/configs/{name}.yaml")
    assert model_zoo.get_config(name + ending) == load(name)


def test_base_files_can_be_had():
    assert Path(model_zoo.get_config_file("Base-RCNN-FPN.yaml")).is_file()
    assert Path(model_zoo.get_config_file("COCO-Keypoints/Base-Keypoint-RCNN-FPN.yaml")).is_file()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("", "COCO-Detection/"),
        ("quite/another", "COCO-Detection/"),
        ("mask_rcnn_R_50_FPN_3x", "expected a name such as COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x "),
        ("COCO-Detection/faster_rcnn_R50_FPN_3x.yaml", "COCO-Detection/faster_rcnn_R_50_FPN_3x,"),
        ("Cityscapes/mask_rcnn_R_50_FPN.yml", "Cityscapes/mask_rcnn_R_50_FPN"),
        ("COCO-Detection/../COCO-Detection/faster_rcnn_R_50_FPN_3x", "COCO-Detection/"),
        (str(Path(__file__).resolve()), "merge_from_file"),
    ],
)
@pytest.mark.parametrize("error", [ConfigError, RuntimeError])
def test_unknown_names(name, near, error):
    for call in (model_zoo.get_config_file, model_zoo.get_config, model_zoo.get_checkpoint_url, model_zoo.get):
        with pytest.raises(error, match="is not in the model zoo") as caught:
            call(name)
        assert near in str(caught.value)


def test_configs_are_fresh_each_time():
    first = model_zoo.get_config(NAMES[0])
    first.MODEL.ROI_HEADS.NUM_CLASSES = 3
    assert model_zoo.get_config(NAMES[0]).MODEL.ROI_HEADS.NUM_CLASSES == 80


def test_get_builds_and_loads(monkeypatch):
    import litepred.checkpoint
    import litepred.modeling

    seen = []

    class Checkpointer:
        def __init__(self, model):
            self.model = model

        def load(self, path):
            seen.append((self.model, path))

    monkeypatch.setattr(litepred.modeling, "build_model", lambda cfg: cfg.MODEL.DEVICE)
    monkeypatch.setattr(litepred.checkpoint, "DetectionCheckpointer", Checkpointer)
    name = "COCO-Detection/faster_rcnn_R_50_FPN_3x"
    assert model_zoo.get(name, trained=False, device="cpu") == "cpu" and not seen
    assert model_zoo.get(name, device="cuda:1") == "cuda:1"
    assert model_zoo.get(name) in ("cpu", "cuda")
    assert [path for _, path in seen] == [model_zoo.get_checkpoint_url(name)] * 2


def test_the_catalog_needs_no_torch():
    code = "import sys; from litepred import model_zoo; model_zoo.list(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("name", model_zoo.list())
def test_both_data_sets_are_known(name):
    """Scripts take the names of the classes from either, the one for training or the one for testing."""
    cfg = model_zoo.get_config(name)
    datasets = cfg.DATASETS
    for one in (*datasets.TRAIN, *datasets.TEST):
        assert one in MetadataCatalog.list() or one == "densepose_chimps"  # whose names are in its annotations
    assert len(datasets.TRAIN)
    assert len(datasets.TEST)
    names = known_names(cfg, class_metadata(cfg, None))
    assert (names is None) == (datasets.TEST == ("densepose_chimps",))
    class_metadata(cfg, names)  # which a file with these names is read with
