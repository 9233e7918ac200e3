from __future__ import annotations

import pickle

import pytest
import torch
from tiny_models import golden, tiny_cfg, tiny_image, tiny_model

from litepred import Boxes, ConfigError, Instances, build_model, get_cfg, model_zoo
from litepred.densepose import DensePoseChartPredictorOutput, DensePoseChartPredictorOutputWithConfidences
from litepred.densepose.roi_heads import Decoder
from litepred.layers import ShapeSpec
from litepred.modeling.poolers import ROIPooler

HEAD = "ROI_DENSEPOSE_HEAD__"
FIELDS = ["pred_boxes", "scores", "pred_classes"]


def image(**kwargs):
    return {"image": tiny_image(), **kwargs}


def given(*boxes) -> Instances:
    one = Instances((64, 96), pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)))
    one.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return one


def test_each_detection_gets_its_maps():
    instances = tiny_model("densepose")([image(height=100, width=150)])[0]["instances"]
    assert list(instances.get_fields()) == [*FIELDS, "pred_densepose"] and len(instances) > 1
    maps = instances.pred_densepose
    assert type(maps) is DensePoseChartPredictorOutputWithConfidences and len(maps) == len(instances)
    assert {tuple(m.shape[1:]) for m in (maps.fine_segm, maps.u, maps.v)} == {(25, 24, 24)}
    assert tuple(maps.coarse_segm.shape[1:]) == (2, 24, 24) and maps.sigma_2 is None
    assert len(instances[1].pred_densepose) == 1
    pickle.loads(pickle.dumps(instances))


def test_the_field_comes_after_masks_and_keypoints():
    instances = tiny_model("densepose", MASK_ON=True, KEYPOINT_ON=True)([image()])[0]["instances"]
    others = ["pred_masks", "pred_keypoints", "pred_keypoint_heatmaps"]
    assert list(instances.get_fields()) == [*FIELDS, *others, "pred_densepose"]


def test_a_batch_without_detections_has_no_field():
    model = tiny_model("densepose", ROI_HEADS__SCORE_THRESH_TEST=1.0)
    (answer,) = model([image()])
    assert list(answer["instances"].get_fields()) == FIELDS and len(answer["instances"]) == 0


def test_an_image_without_detections_beside_one_with_some_has_an_empty_field():
    model = tiny_model("densepose")
    found = model.inference([image(), image()], detected_instances=[given(), given([5.0, 5, 60, 40], [2, 8, 30, 60])])
    empty, full = (answer["instances"].pred_densepose for answer in found)
    assert (len(empty), len(full)) == (0, 2)
    assert empty.fine_segm.shape == (0, 25, 24, 24)
    alone = model.inference([image()], detected_instances=[given([5.0, 5, 60, 40], [2, 8, 30, 60])])
    torch.testing.assert_close(alone[0]["instances"].pred_densepose.u, full.u)


def test_boxes_that_vanish_take_their_maps_along():
    model = tiny_model("densepose")
    boxes = given([5.0, 5, 60, 40], [96, 3, 99, 20], [2, 8, 30, 60])
    (answer,) = model.inference([image()], detected_instances=[boxes])
    instances = answer["instances"]
    assert len(instances) == len(instances.pred_densepose) == 2


@pytest.mark.parametrize(
    ("changes", "channels", "side", "kind"),
    [
        ({"DECODER_ON": False}, 2, 24, DensePoseChartPredictorOutputWithConfidences),
        ({"NUM_COARSE_SEGM_CHANNELS": 15}, 15, 24, DensePoseChartPredictorOutputWithConfidences),
        ({"HEATMAP_SIZE": 64}, 2, 24, DensePoseChartPredictorOutputWithConfidences),  # has no effect
        ({"UP_SCALE": 3, "POOLER_RESOLUTION": 5}, 2, 30, DensePoseChartPredictorOutputWithConfidences),
        ({"PREDICTOR_NAME": "DensePoseChartPredictor"}, 2, 24, DensePoseChartPredictorOutput),
        ({"LOSS_NAME": "NoSuchLoss"}, 2, 24, DensePoseChartPredictorOutputWithConfidences),  # for training
    ],
)
def test_settings(changes, channels, side, kind):
    model = tiny_model("densepose", **{HEAD + key: value for key, value in changes.items()})
    maps = model([image()])[0]["instances"].pred_densepose
    assert type(maps) is kind and tuple(maps.coarse_segm.shape[1:]) == (channels, side, side)
    assert (model.roi_heads.decoder is not None) == changes.get("DECODER_ON", True)


def test_densepose_can_be_off():
    model = tiny_model("densepose", DENSEPOSE_ON=False)
    assert not [key for key in model.state_dict() if "densepose" in key or "decoder" in key]
    assert list(model([image()])[0]["instances"].get_fields()) == FIELDS


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PREDICTOR_NAME": "DensePoseEmbeddingPredictor"}, "continuous surface embeddings"),
        ({"PREDICTOR_NAME": "DensePoseEmbeddingWithConfidencePredictor"}, "continuous surface embeddings"),
        ({"PREDICTOR_NAME": "Nothing"}, "PREDICTOR_NAME is 'Nothing'"),
        ({"NAME": ""}, "ROI_DENSEPOSE_HEAD.NAME is ''.*expected DensePose"),
        ({"NAME": "DensePoseV1ConvX"}, "expected DensePoseV1ConvXHead"),
        ({"DECODER_COMMON_STRIDE": 8}, "DECODER_COMMON_STRIDE is 8: expected the stride 4 of p2"),
        (
            {"UV_CONFIDENCE__ENABLED": True, "UV_CONFIDENCE__TYPE": "iso"},
            "TYPE is 'iso': expected one of iid_iso, indep",
        ),
        ({"NAME": "DensePoseDeepLabHead", "DEEPLAB__NORM": "BN"}, "DEEPLAB.NORM is 'BN': expected 'GN' or ''"),
        ({"POOLER_TYPE": "ROIAlignTilted"}, "POOLER_TYPE is 'ROIAlignTilted'"),
    ],
)
def test_what_is_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        build_model(tiny_cfg("densepose", **{HEAD + key: value for key, value in changes.items()}))


def test_embedders_and_hrnets_are_refused():
    cfg = tiny_cfg("densepose")
    cfg.merge_from_other_cfg({"MODEL": {"ROI_DENSEPOSE_HEAD": {"CSE": {"EMBEDDERS": {"smpl_27554": {"TYPE": "x"}}}}}})
    with pytest.raises(ConfigError, match=r"EMBEDDERS has smpl_27554: .*\(CSE\) are not supported"):
        build_model(cfg)
    cfg = model_zoo.get_config("DensePose/densepose_rcnn_R_50_FPN_s1x")
    cfg.MODEL.DEVICE, cfg.MODEL.BACKBONE.NAME = "cpu", "build_hrfpn_backbone"
    with pytest.raises(ConfigError, match="'build_hrfpn_backbone' is an HRNet, which litepred does not have"):
        build_model(cfg)


def test_a_config_without_the_keys_says_how_to_add_them():
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_3x"))
    cfg.merge_from_list(["MODEL.ROI_HEADS.NAME", "DensePoseROIHeads", "MODEL.DEVICE", "cpu"])
    with pytest.raises(ConfigError, match=r"call litepred\.densepose\.add_densepose_config\(cfg\) after get_cfg\(\)"):
        build_model(cfg)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(0)
    shapes = {f"p{level}": ShapeSpec(channels=6, stride=2**level) for level in (2, 3, 4, 5)}
    return Decoder(shapes, conv_dim=8, out_channels=4).requires_grad_(False)


def pyramid(height: int, width: int) -> list[torch.Tensor]:
    """Maps of two images of so many coarsest cells."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 6, height * 2**i, width * 2**i, generator=generator) for i in (3, 2, 1, 0)]


@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_the_decoder_has_the_finest_maps_size_and_no_activation_at_its_end(decoder, size):
    out = decoder(pyramid(*size))
    assert tuple(out.shape) == (2, 4, 8 * size[0], 8 * size[1]) and float(out.min()) < 0 < float(out.max())
    assert [key for key in decoder.state_dict() if "weight" in key] == [
        *("p2.0.weight", "p3.0.weight", "p4.0.weight", "p4.2.weight"),
        *("p5.0.weight", "p5.2.weight", "p5.4.weight", "predictor.weight"),
    ]


@pytest.mark.parametrize(
    "boxes",
    [
        [[0.0, 0, 320, 256]],  # the whole map
        [[0.0, 0, 0, 0]],
        [[316.0, 250, 320, 256]],
        [[320.0, 256, 320, 256]],  # the far corner
        [[320.0, 10, 320, 20]],
        [[64.0, 64, 128, 128]],  # at the edges of coarse cells
        [[63.9, 95.9, 95.9, 128.1]],
        [[130.5, 70.2, 141.0, 90.0], [150.0, 64.0, 170, 180]],
        [[-20.0, -20, 400, 400]],
    ],
)
def test_decoding_around_boxes_gives_what_pooling_the_whole_gives(decoder, boxes):
    maps, pooler = pyramid(8, 10), ROIPooler(7, [1 / 4], 2, "ROIAlign")
    boxes = [Boxes(torch.tensor(boxes)), Boxes(torch.tensor(boxes[:1]))]
    window = (top, left), _ = decoder.window_around(boxes, maps[-1])
    part = decoder(maps, window)
    moved = [Boxes(one.tensor - 32.0 * torch.tensor([left, top, left, top])) for one in boxes]
    torch.testing.assert_close(pooler([part], moved), pooler([decoder(maps)], boxes), rtol=0, atol=1e-4)


def test_a_small_box_needs_a_small_part(decoder):
    maps = pyramid(8, 10)
    window = decoder.window_around([Boxes([[130.0, 70, 141, 90]])], maps[-1])
    assert window == ((2, 4), (4, 5))
    assert decoder(maps, window).shape[2:] == (16, 8)


@pytest.mark.parametrize("exact", [True, False])
def test_heads_decode_all_or_around_boxes(exact, monkeypatch):
    model = golden(tiny_cfg("densepose"))
    wanted = model([image()])[0]["instances"].pred_densepose.u
    model.roi_heads.exact = exact
    torch.testing.assert_close(model([image()])[0]["instances"].pred_densepose.u, wanted, rtol=1e-4, atol=1e-4)
