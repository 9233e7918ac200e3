"""DensePose's models of the zoo: configs, addresses, and the keys and shapes of their checkpoints."""

from __future__ import annotations

import gzip
import json
import re

import pytest
import torch
from golden_answers import GOLDENS

from litepred import build_model, model_zoo

NAMES = [name for name in model_zoo.list() if name.startswith("DensePose/")]
RCNN = [name for name in NAMES if "evolution" not in name]
SHAPES = json.loads(gzip.decompress((GOLDENS / "state_dict_shapes.json.gz").read_bytes()))
WITH_SHAPES = sorted(name for name in SHAPES if name.startswith("DensePose/"))


def test_the_list():
    assert (len(RCNN), len(NAMES) - len(RCNN), len(WITH_SHAPES)) == (22, 5, 4)
    assert not [name for name in NAMES if "Base-" in name]


@pytest.mark.parametrize("name", NAMES)
def test_every_config_has_what_its_name_tells(name):
    model = model_zoo.get_config(name).MODEL
    head = model.ROI_DENSEPOSE_HEAD
    legacy, evolution = "legacy" in name, "evolution" in name
    assert model.DENSEPOSE_ON and model.ROI_HEADS.NAME == "DensePoseROIHeads" and model.ROI_HEADS.NUM_CLASSES == 1
    assert int(re.search(r"R_(\d+)_", name)[1]) == model.RESNETS.DEPTH
    assert ("DensePoseDeepLabHead" if "_DL_" in name else "DensePoseV1ConvXHead") == head.NAME
    assert ("WC" in name) == head.UV_CONFIDENCE.ENABLED
    assert ("indep_aniso" if "WC2" in name else "iid_iso") == head.UV_CONFIDENCE.TYPE
    assert bool(re.search(r"WC\dM_", name)) == head.SEGM_CONFIDENCE.ENABLED
    # the evolution models have other box poolers, but the same ones for DensePose
    box = model.ROI_BOX_HEAD
    assert (("ROIAlignV2", 0) if evolution else ("ROIAlign", 2)) == (box.POOLER_TYPE, box.POOLER_SAMPLING_RATIO)
    assert (head.POOLER_TYPE, head.POOLER_SAMPLING_RATIO) == ("ROIAlign", 2)
    assert ((False, 14, 15) if legacy else (True, 28, 2)) == (
        head.DECODER_ON,
        head.POOLER_RESOLUTION,
        head.NUM_COARSE_SEGM_CHANNELS,
    )


@pytest.mark.parametrize("name", NAMES)
def test_addresses(name):
    url = model_zoo.get_checkpoint_url(name)
    folder = re.escape(name.removeprefix("DensePose/"))
    assert re.fullmatch(rf"https://dl\.fbaipublicfiles\.com/densepose/{folder}/\d{{9}}/model_final_\w{{6}}\.pkl", url)
    assert url == model_zoo.get_config(name, trained=True).MODEL.WEIGHTS


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("densepose_rcnn_R_50_FPN_s1x", "165712039/model_final_162be9.pkl"),
        ("densepose_rcnn_R_101_FPN_DL_WC2M_s1x", "216245790/model_final_de6e7a.pkl"),
        ("evolution/densepose_R_50_FPN_DL_WC1M_3x_Atop10P_CA_B_uv", "256452095/model_final_d689e2.pkl"),
    ],
)
def test_some_addresses(name, tail):
    assert model_zoo.get_checkpoint_url(f"DensePose/{name}") == (
        f"https://dl.fbaipublicfiles.com/densepose/{name}/{tail}"
    )


def test_no_two_models_share_a_checkpoint():
    assert len({model_zoo.get_checkpoint_url(name).split("/")[-2] for name in NAMES}) == 27


@pytest.mark.parametrize("name", WITH_SHAPES)
def test_checkpoint_keys_and_shapes(name):
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    assert {key: list(tensor.shape) for key, tensor in state.items()} == SHAPES[name]
