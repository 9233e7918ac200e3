from __future__ import annotations

from collections.abc import Collection

import pytest
import torch

from litepred.checkpoint.hints import (
    ShapesByName,
    explain_misfit,
    group_keys,
    infer_class_counts,
    number_hints,
    parts_only_in,
)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], []),
        (["mean"], ["mean"]),
        (["a.fc1.weight"], ["a.fc1.weight"]),
        (["a.fc2.weight", "a.fc1.weight", "a.fc1.bias"], ["a.fc1.{bias, weight}", "a.fc2.weight"]),
    ],
)
def test_group_keys(keys: list[str], expected: list[str]) -> None:
    assert group_keys(keys) == expected


def test_group_keys_shortens_a_long_list() -> None:
    lines = group_keys(f"l{index:03}.{leaf}" for index in range(50) for leaf in ("weight", "bias"))
    assert len(lines) == 41
    assert lines[-1] == "... and 10 more groups (20 keys)"


def resnet(blocks: int, convs: int = 3, prefix: str = "backbone.bottom_up.") -> ShapesByName:
    return {f"{prefix}res4.{block}.conv{conv}.weight": (1,) for block in range(blocks) for conv in range(1, convs + 1)}


def box_predictor(classes: int, stage: str = "") -> ShapesByName:
    return {f"roi_heads.box_predictor.{stage}cls_score.weight": (classes + 1, 8)}


def vit(windows: str, channels: int = 8, width: int = 4, prefix: str = "backbone.net.") -> ShapesByName:
    """A letter for each block: ``w`` attends within windows of 3, ``g`` over a map of side 5, ``-`` without places."""
    blocks = {f"{prefix}blocks.{i}.attn.qkv.weight": (3 * channels, channels) for i in range(len(windows))}
    places = {
        f"{prefix}blocks.{i}.attn.rel_pos_h": (5 if letter == "w" else 9, width)
        for i, letter in enumerate(windows)
        if letter != "-"
    }
    return {f"{prefix}patch_embed.proj.weight": (channels, 3, 4, 4), **blocks, **places}


def mvit(depth: int, starts: Collection[int]) -> ShapesByName:
    """An MViT, of whose stages all but the first start with these blocks."""
    start = "backbone.bottom_up.blocks."
    shapes = vit("-" * depth, prefix="backbone.bottom_up.")
    pools = {f"{start}{i}.attn.pool_q.weight": (4, 1, 3, 3) for i in range(depth)}
    return {**shapes, **pools, f"{start}0.attn.rel_pos_h": (9, 8), **{f"{start}{i}.proj.weight": (1,) for i in starts}}


def swin(depths: Collection[int], side: int = 7, channels: int = 8) -> ShapesByName:
    shapes: dict[str, tuple[int, ...]] = {"backbone.bottom_up.patch_embed.proj.weight": (channels, 3, 4, 4)}
    for i, depth in enumerate(depths):
        for j in range(depth):
            start = f"backbone.bottom_up.layers.{i}.blocks.{j}.attn."
            shapes |= {f"{start}qkv.weight": (1,)}
            shapes |= {f"{start}relative_position_bias_table": ((2 * side - 1) ** 2, 2**i)}
    return shapes


def retinanet(classes: int, anchors: int = 9) -> ShapesByName:
    return {"head.cls_score.weight": (anchors * classes, 8, 3, 3), "head.bbox_pred.weight": (anchors * 4, 8, 3, 3)}


@pytest.mark.parametrize(
    ("checkpoint", "model", "expected"),
    [
        (
            box_predictor(5),
            box_predictor(80),
            "MODEL.ROI_HEADS.NUM_CLASSES is 80 but the checkpoint has 5: set it to 5",
        ),
        (
            box_predictor(5, "0."),
            box_predictor(80, "0."),
            "MODEL.ROI_HEADS.NUM_CLASSES is 80 but the checkpoint has 5: set it to 5",
        ),
        (
            {"sem_seg_head.predictor.weight": (3, 8, 1, 1)},
            {"sem_seg_head.predictor.weight": (54, 8, 1, 1)},
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 54 but the checkpoint has 3: set it to 3",
        ),
        (
            {"roi_heads.keypoint_head.score_lowres.weight": (8, 4, 4, 4)},
            {"roi_heads.keypoint_head.score_lowres.weight": (8, 17, 4, 4)},
            "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is 17 but the checkpoint has 4: set it to 4",
        ),
        (
            retinanet(2),
            retinanet(80),
            "MODEL.RETINANET.NUM_CLASSES is 80 but the checkpoint has 2: set it to 2",
        ),
        (retinanet(80, anchors=3), retinanet(80), None),
        (resnet(23), resnet(6), "MODEL.RESNETS.DEPTH is 50 but the checkpoint has 101: set it to 101"),
        (resnet(6), resnet(36), "MODEL.RESNETS.DEPTH is 152 but the checkpoint has 50: set it to 50"),
        (resnet(6, convs=2), resnet(6), "MODEL.RESNETS.DEPTH is 50 but the checkpoint has 34: set it to 34"),
        (resnet(2, convs=2, prefix="backbone."), resnet(6, prefix="backbone."), "MODEL.RESNETS.DEPTH is 50 but the"),
        (resnet(5), resnet(6), None),
        (vit("wg", 16, 8), vit("wg"), "MODEL.VIT.EMBED_DIM is 8 but the checkpoint has 16: set it to 16"),
        (vit("wg", width=2), vit("wg"), "MODEL.VIT.NUM_HEADS is 2 but the checkpoint has 4: set it to 4"),
        (vit("ggg"), vit("wg"), "MODEL.VIT.DEPTH is 2 but the checkpoint has 3: set it to 3"),
        (
            vit("wwg"),
            vit("gwg"),
            "MODEL.VIT.WINDOW_BLOCK_INDEXES is [1] but the checkpoint has [0, 1]: set it to [0, 1]",
        ),
        (vit("--"), vit("wg"), None),
        (mvit(4, [1]), mvit(4, [2, 3]), "MODEL.MVIT.LAST_BLOCK_INDEXES is [1, 2, 3] but the checkpoint has [0, 3]"),
        (swin([2, 4]), swin([2, 2]), "MODEL.SWIN.DEPTHS is [2, 2] but the checkpoint has [2, 4]: set it to [2, 4]"),
        (swin([2], side=12), swin([2]), "MODEL.SWIN.WINDOW_SIZE is 7 but the checkpoint has 12: set it to 12"),
        (swin([1, 2, 1], channels=6), swin([1, 2, 1]), "MODEL.SWIN.EMBED_DIM is 8 but the checkpoint has 6"),
        (resnet(6), resnet(6), None),
    ],
)
def test_numbers_that_differ(checkpoint: ShapesByName, model: ShapesByName, expected: str | None) -> None:
    head = {"anchor": (1,)}  # something in common, and not a backbone alone
    hints = explain_misfit({**checkpoint, **head}, {**model, **head}, [])
    assert [hint for hint in hints if expected is None or hint.startswith(expected)] == hints
    assert len(hints) == (expected is not None)
    assert list(number_hints(checkpoint, model).values()) == hints


RCNN = ("backbone.fpn_lateral2.weight", "proposal_generator.rpn_head.conv.weight", "roi_heads.box_head.fc1.weight")
RCNN_NORM = (
    *RCNN,
    "roi_heads.mask_head.mask_fcn1.weight",
    "roi_heads.box_head.conv1.weight",
    "sem_seg_head.p2.0.weight",
)


@pytest.mark.parametrize(
    ("unexpected", "model", "expected"),
    [
        ([], RCNN, []),
        (["something.else"], RCNN, []),
        (["roi_heads.mask_head.deconv.weight"], RCNN, ["MODEL.MASK_ON True"]),
        (["roi_heads.mask_head.mask_fcn1.norm.weight"], RCNN, ["MODEL.MASK_ON True"]),
        (["roi_heads.keypoint_head.conv_fcn1.bias"], RCNN, ["MODEL.KEYPOINT_ON True"]),
        (["roi_heads.densepose_head.body_conv_fcn1.bias"], RCNN, ["MODEL.ROI_HEADS.NAME DensePoseROIHeads"]),
        (["roi_heads.decoder.p2.0.bias"], RCNN, ["MODEL.ROI_DENSEPOSE_HEAD.DECODER_ON True"]),
        (["sem_seg_head.predictor.weight"], RCNN, ["MODEL.META_ARCHITECTURE PanopticFPN (or SemanticSegmentor)"]),
        (["backbone.bottom_up.res4.0.conv2_offset.weight"], RCNN, ["MODEL.RESNETS.DEFORM_ON_PER_STAGE"]),
        (["roi_heads.box_head.0.fc1.weight"], RCNN, ["MODEL.ROI_HEADS.NAME CascadeROIHeads"]),
        (
            ["roi_heads.box_head.fc1.weight", "roi_heads.mask_head.x.y"],
            RCNN[:2],
            ["MODEL.META_ARCHITECTURE Generalized"],
        ),
        (["proposal_generator.rpn_head.conv.weight"], RCNN[2:], ["MODEL.PROPOSAL_GENERATOR.NAME RPN"]),
        (["head.cls_score.weight"], RCNN, ["MODEL.META_ARCHITECTURE RetinaNet"]),
        (["backbone.fpn_lateral2.norm.weight"], RCNN, ["MODEL.FPN.NORM"]),
        (["roi_heads.box_head.conv1.norm.bias"], RCNN_NORM, ["MODEL.ROI_BOX_HEAD.NORM"]),
        (["roi_heads.mask_head.mask_fcn1.norm.bias"], RCNN_NORM, ["MODEL.ROI_MASK_HEAD.NORM"]),
        (["sem_seg_head.p2.0.norm.bias"], RCNN_NORM, ["MODEL.SEM_SEG_HEAD.NORM"]),
        (["backbone.simfp_2.0.bias", *vit("wg")], RCNN, ["MODEL.BACKBONE.NAME build_vit_simple_fpn_backbone"]),
        (mvit(2, [1]), RCNN, ["MODEL.BACKBONE.NAME build_mvit_fpn_backbone"]),
        (swin([2]), RCNN, ["MODEL.BACKBONE.NAME build_swin_fpn_backbone"]),
        (["backbone.net.blocks.0.attn.rel_pos_w"], vit("--"), ["MODEL.VIT.USE_REL_POS True"]),
        (
            ["roi_heads.mask_head.x", "roi_heads.keypoint_head.x"],
            RCNN,
            ["MODEL.MASK_ON True", "MODEL.KEYPOINT_ON True"],
        ),
    ],
)
def test_settings_that_unused_keys_hint_at(unexpected: list[str], model: Collection[str], expected: list[str]) -> None:
    settings = [part.on for part in parts_only_in(unexpected, model)]
    assert len(settings) == len(expected)
    assert all(setting.startswith(start) for setting, start in zip(settings, expected, strict=True))


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([], []),
        (["roi_heads.mask_head.deconv.weight"], ["MODEL.MASK_ON False"]),
        (["backbone.fpn_lateral2.norm.weight"], ['MODEL.FPN.NORM ""']),
        (["roi_heads.box_head.0.fc1.weight"], ["MODEL.ROI_HEADS.NAME StandardROIHeads"]),
    ],
)
def test_settings_that_missing_keys_hint_at(missing: list[str], expected: list[str]) -> None:
    assert [part.off for part in parts_only_in(missing, RCNN)] == expected


@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.bottom_up."])
def test_a_backbone_alone_is_recognised(prefix: str) -> None:
    checkpoint = {f"{prefix}stem.conv1.weight": (1,), f"{prefix}res2.0.conv1.weight": (1,)}
    model = {"backbone.bottom_up.stem.conv1.weight": (1,), "roi_heads.box_head.fc1.weight": (1,)}
    (hint,) = explain_misfit(checkpoint, model, model.keys() - checkpoint.keys())
    assert "a backbone alone" in hint


@pytest.mark.parametrize(
    "checkpoint",
    [
        ["cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.0.attn.qkv.weight", "norm.bias"],
        ["patch_embed.proj.bias", "layers.0.blocks.0.norm1.bias", "norm.bias", "head.weight"],
        ["patch_embed.proj.bias", "blocks.0.attn.pool_q.weight", "head.projection.bias"],
    ],
)
def test_a_transformer_alone_is_recognised(checkpoint: list[str]) -> None:
    (hint,) = explain_misfit(dict.fromkeys(checkpoint, (1,)), dict.fromkeys(RCNN, (1,)), RCNN)
    assert "a backbone alone" in hint


def test_another_architecture_is_recognised() -> None:
    checkpoint = {"encoder.0.weight": (1,), "decoder.0.weight": (1,)}
    (hint,) = explain_misfit(checkpoint, dict.fromkeys(RCNN, (1,)), RCNN)
    assert hint.startswith(
        "this checkpoint is for another architecture: its keys look like encoder.0.weight, decoder.0.weight; "
        "this model's look like backbone."
    )


def test_keys_of_another_architecture_silence_hints_about_what_is_missing() -> None:
    checkpoint = {RCNN[0]: (1,), "head.cls_score.weight": (1,)}
    hints = explain_misfit(checkpoint, dict.fromkeys(RCNN, (1,)), RCNN[1:])
    assert hints == ["the checkpoint has keys that fit MODEL.META_ARCHITECTURE RetinaNet"]


def test_names_without_their_beginnings_are_recognised() -> None:
    model = {"roi_heads.box_predictor.cls_score.weight": (4, 8), "roi_heads.box_predictor.cls_score.bias": (4,)}
    (hint,) = explain_misfit({"cls_score.weight": (4, 8), "bias": (4,)}, model, model)
    assert hint.startswith("1 of the checkpoint's names are the ends of the model's, such as cls_score.weight: load it")
    assert "?matching_heuristics=True" in hint


def test_a_retinanet_of_detectron1_is_recognised() -> None:
    checkpoint = {"retnet.cls.pred.fpn3.weight": (1,), "backbone.fpn_lateral5.weight": (1,)}
    model = {"backbone.fpn_lateral5.weight": (1,), "head.cls_score.weight": (1,)}
    (hint,) = explain_misfit(checkpoint, model, ["head.cls_score.weight"])
    assert "RetinaNet of Detectron1" in hint


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({}, {}),
        ({"backbone.res4.5.conv3.weight": (1,), "backbone.res4.0.conv1.weight": (1,)}, {}),
        ({"roi_heads.box_predictor.cls_score.weight": (6, 8)}, {"MODEL.ROI_HEADS.NUM_CLASSES": 5}),
        (
            {"roi_heads.box_predictor.cls_score.weight": (6, 8), "roi_heads.box_predictor.bbox_pred.weight": (4, 8)},
            {"MODEL.ROI_HEADS.NUM_CLASSES": 5},
        ),
        (
            {f"roi_heads.box_predictor.{stage}.cls_score.weight": (6, 8) for stage in range(3)},
            {"MODEL.ROI_HEADS.NUM_CLASSES": 5},
        ),
        ({"roi_heads.box_predictor.cls_score.weight": (6, 8), **vit("wg")}, {"MODEL.ROI_HEADS.NUM_CLASSES": 5}),
        ({"cls_score.weight": (6, 8), "bbox_pred.weight": (20, 8)}, {"MODEL.ROI_HEADS.NUM_CLASSES": 5}),
        ({"roi_heads.box_predictor.cls_score.weight": (1, 8)}, {}),
        (
            {"head.cls_score.weight": (18, 8, 3, 3), "head.bbox_pred.weight": (36, 8, 3, 3)},
            {"MODEL.RETINANET.NUM_CLASSES": 2},
        ),
        (
            {"head.cls_score.weight": (6, 8, 3, 3), "head.bbox_pred.weight": (12, 8, 3, 3)},
            {"MODEL.RETINANET.NUM_CLASSES": 2},
        ),
        ({"head.cls_score.weight": (6, 8, 3, 3)}, {}),
        (
            {"roi_heads.box_predictor.cls_score.weight": (6, 8), "sem_seg_head.predictor.weight": (54, 8, 1, 1)},
            {"MODEL.ROI_HEADS.NUM_CLASSES": 5, "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 54},
        ),
        (
            {"roi_heads.keypoint_head.score_lowres.weight": (8, 4, 4, 4)},
            {"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 4},
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_infer_class_counts(shapes: ShapesByName, expected: dict[str, int]) -> None:
    assert infer_class_counts({key: torch.empty(shape, device="meta") for key, shape in shapes.items()}) == expected
