"""The models of Detectron2's projects ViTDet and MViTv2: configs, addresses, and the keys and shapes of checkpoints."""

from __future__ import annotations

import functools
import hashlib
import re

import pytest

from litepred import model_zoo
from litepred.checkpoint.hints import read_numbers
from litepred.data import MetadataCatalog
from litepred.modeling.build import build_skeleton

# Of what Detectron2 builds from its own config: the number of keys, and the beginning of the SHA-256 of its lines
# "key shape", sorted. What only its training reads, fed_loss_cls_weights, is left out.
KEYS_AND_SHAPES = (
    ("ViTDet/COCO/cascade_mask_rcnn_mvitv2_b_in21k_100ep", 670, "215caeca59bb"),
    ("ViTDet/COCO/cascade_mask_rcnn_mvitv2_h_in21k_36ep", 1958, "ac7263c45a5e"),
    ("ViTDet/COCO/cascade_mask_rcnn_mvitv2_l_in21k_50ep", 1222, "33f266f7bea3"),
    ("ViTDet/COCO/cascade_mask_rcnn_swin_b_in21k_50ep", 459, "b5907e84b249"),
    ("ViTDet/COCO/cascade_mask_rcnn_swin_l_in21k_50ep", 459, "f68547203e98"),
    ("ViTDet/COCO/cascade_mask_rcnn_vitdet_b_100ep", 281, "381ea68ab24e"),
    ("ViTDet/COCO/cascade_mask_rcnn_vitdet_h_75ep", 561, "59bda0f6de46"),
    ("ViTDet/COCO/cascade_mask_rcnn_vitdet_l_100ep", 449, "aa5d47ee386e"),
    ("ViTDet/COCO/mask_rcnn_vitdet_b_100ep", 245, "146a61471ec7"),
    ("ViTDet/COCO/mask_rcnn_vitdet_h_75ep", 525, "e3a4ec78d5f3"),
    ("ViTDet/COCO/mask_rcnn_vitdet_l_100ep", 413, "6771333fff69"),
    ("ViTDet/LVIS/cascade_mask_rcnn_mvitv2_b_in21k_100ep", 670, "4c1a6384ce28"),
    ("ViTDet/LVIS/cascade_mask_rcnn_mvitv2_h_in21k_50ep", 1958, "ed9c4592bfcc"),
    ("ViTDet/LVIS/cascade_mask_rcnn_mvitv2_l_in21k_50ep", 1222, "57a0126205fd"),
    ("ViTDet/LVIS/cascade_mask_rcnn_swin_b_in21k_50ep", 459, "bfdbb2c78e30"),
    ("ViTDet/LVIS/cascade_mask_rcnn_swin_l_in21k_50ep", 459, "d71a3f86218f"),
    ("ViTDet/LVIS/cascade_mask_rcnn_vitdet_b_100ep", 281, "f663d9c281e6"),
    ("ViTDet/LVIS/cascade_mask_rcnn_vitdet_h_100ep", 561, "156dbf9238be"),
    ("ViTDet/LVIS/cascade_mask_rcnn_vitdet_l_100ep", 449, "747f596487af"),
    ("ViTDet/LVIS/mask_rcnn_vitdet_b_100ep", 245, "033d6f087223"),
    ("ViTDet/LVIS/mask_rcnn_vitdet_h_100ep", 525, "50df2d0d4b6f"),
    ("ViTDet/LVIS/mask_rcnn_vitdet_l_100ep", 413, "7954591a81cf"),
    ("MViTv2/cascade_mask_rcnn_mvitv2_b_3x", 710, "7b4e10fa0791"),
    ("MViTv2/cascade_mask_rcnn_mvitv2_b_in21k_3x", 710, "7b4e10fa0791"),
    ("MViTv2/cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x", 1998, "8417f398ad27"),
    ("MViTv2/cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep", 1262, "67e4f2172e29"),
    ("MViTv2/cascade_mask_rcnn_mvitv2_s_3x", 526, "728ed5f9f3bd"),
    ("MViTv2/cascade_mask_rcnn_mvitv2_t_3x", 388, "264c1bbec19b"),
    ("MViTv2/mask_rcnn_mvitv2_t_3x", 288, "1386db2226af"),
)
NAMES = [name for name in model_zoo.list() if name.startswith(("ViTDet/", "MViTv2/"))]
LETTER = re.compile(r"_(?:vitdet|mvitv2|swin)_([tsblh])_")
SIZES = {
    "vitdet": {"b": (768, 12, 12), "l": (1024, 24, 16), "h": (1280, 32, 16)},
    "mvitv2": {"t": (96, 10, 1), "s": (96, 16, 1), "b": (96, 24, 1), "l": (144, 48, 2), "h": (192, 80, 3)},
    "swin": {"b": (128, [2, 2, 18, 2], [4, 8, 16, 32]), "l": (192, [2, 2, 18, 2], [6, 12, 24, 48])},
}


def test_the_list():
    assert sorted(name for name, _, _ in KEYS_AND_SHAPES) == NAMES
    assert [sum(name.startswith(start) for name in NAMES) for start in ("ViTDet/COCO/", "ViTDet/LVIS/", "MViTv2/")] == [
        11,
        11,
        7,
    ]


@pytest.mark.parametrize(("name", "number", "digest"), KEYS_AND_SHAPES)
def test_keys_and_shapes(name, number, digest):
    cfg = model_zoo.get_config(name)
    shapes = {key: tuple(tensor.shape) for key, tensor in build_skeleton(cfg).state_dict().items()}
    lines = sorted(f"{key} {shape}" for key, shape in shapes.items())
    assert (len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]) == (number, digest)
    numbers = read_numbers(shapes)  # which say, of a checkpoint, how its model was configured
    assert len(numbers) >= 5
    assert {key: functools.reduce(getattr, key.split("."), cfg) for key in numbers} == numbers


@pytest.mark.parametrize("name", NAMES)
def test_what_a_name_tells(name):
    cfg = model_zoo.get_config(name)
    model, heads, box = cfg.MODEL, cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD
    family = re.search("vitdet|mvitv2|swin", name)[0]
    section = model[{"vitdet": "VIT", "mvitv2": "MVIT", "swin": "SWIN"}[family]]
    depth = section.DEPTHS if family == "swin" else section.DEPTH
    assert (section.EMBED_DIM, depth, section.NUM_HEADS) == SIZES[family][LETTER.search(name)[1]]
    assert (cfg.INPUT.FORMAT, model.MASK_ON) == ("RGB", True)
    assert (model.PIXEL_MEAN, model.PIXEL_STD) == ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    project = name.startswith("ViTDet")
    sizes = (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, section.SQUARE_PAD)
    assert sizes == ((1024, 1024, 1024) if project else (800, 1333, 0))
    assert ("LN" if project else "") == model.FPN.NORM
    plain = name == "MViTv2/mask_rcnn_mvitv2_t_3x"
    norm = "LN" if project else "" if plain else "naiveSyncBN_N"
    assert (norm, norm) == (box.NORM, model.ROI_MASK_HEAD.NORM)
    assert (([-1], 0, 2) if plain else ([-1, -1], 4, 1)) == (model.RPN.CONV_DIMS, box.NUM_CONV, box.NUM_FC)
    cascade = "cascade" in name
    assert ("CascadeROIHeads" if cascade else "StandardROIHeads", cascade) == (heads.NAME, box.CLS_AGNOSTIC_BBOX_REG)
    lvis = "LVIS" in name
    assert ((1203, 0.02) if lvis else (80, 0.05)) == (heads.NUM_CLASSES, heads.SCORE_THRESH_TEST)
    assert ((True, 300) if lvis else (False, 100)) == (box.USE_SIGMOID_CE, cfg.TEST.DETECTIONS_PER_IMAGE)
    assert len(MetadataCatalog.get(cfg.DATASETS.TEST[0]).thing_classes) == heads.NUM_CLASSES


@pytest.mark.parametrize("name", [name for name in NAMES if "vitdet" in name])
def test_every_quarter_of_a_vit_ends_with_a_block_that_sees_the_whole_map(name):
    vit = model_zoo.get_config(name).MODEL.VIT
    quarter = vit.DEPTH // 4
    assert [i for i in range(vit.DEPTH) if i % quarter != quarter - 1] == vit.WINDOW_BLOCK_INDEXES


@pytest.mark.parametrize("name", NAMES)
def test_addresses(name):
    folder, _, stem = name.rpartition("/")
    stem = re.escape(re.sub(r"_\d+ep$", "", stem) if folder != "MViTv2" else stem).replace("21k", "(?:21|12)k")
    pattern = rf"https://dl\.fbaipublicfiles\.com/detectron2/{folder}/{stem}/f?\d{{9}}/model_final_[0-9a-f]{{6}}\.pkl"
    assert re.fullmatch(pattern, model_zoo.get_checkpoint_url(name))


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("ViTDet/COCO/mask_rcnn_vitdet_b_100ep", "ViTDet/COCO/mask_rcnn_vitdet_b/f325346929/model_final_61ccd1.pkl"),
        (
            "ViTDet/COCO/cascade_mask_rcnn_vitdet_h_75ep.py",
            "ViTDet/COCO/cascade_mask_rcnn_vitdet_h/f328730692/model_final_f05665.pkl",
        ),
        (
            "ViTDet/LVIS/cascade_mask_rcnn_swin_l_in21k_50ep",
            "ViTDet/LVIS/cascade_mask_rcnn_swin_l_in21k/329222724/model_final_2b94db.pkl",
        ),
        ("MViTv2/mask_rcnn_mvitv2_t_3x", "MViTv2/mask_rcnn_mvitv2_t_3x/f307611773/model_final_1a1c30.pkl"),
        (
            "MViTv2/cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x",
            "MViTv2/cascade_mask_rcnn_mvitv2_h_in12k_lsj_3x/f309013744/model_final_30d36b.pkl",
        ),
    ],
)
def test_some_addresses(name, end):
    assert model_zoo.get_checkpoint_url(name) == f"https://dl.fbaipublicfiles.com/detectron2/{end}"


def test_no_two_models_share_a_checkpoint():
    assert len({model_zoo.get_checkpoint_url(name).split("/")[-2] for name in NAMES}) == 29
