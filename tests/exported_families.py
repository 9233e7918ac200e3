"""Every family that can be exported, small, and how an engine's answers are held against the predictor's."""

from __future__ import annotations

import numpy as np
import torch
from tiny_models import golden, tiny_cfg, tiny_image

from litepred import Predictor
from litepred.structures import Boxes, Instances

_WIDE = {  # channels that are multiples of the 32 groups of a group norm
    "RESNETS__STEM_OUT_CHANNELS": 32,
    "RESNETS__RES2_OUT_CHANNELS": 32,
    "RESNETS__WIDTH_PER_GROUP": 32,
    "FPN__OUT_CHANNELS": 32,
}
FAMILIES = {
    "RetinaNet": ("retinanet", {}),
    "RetinaNet that finds nothing": ("retinanet", {"RETINANET__SCORE_THRESH_TEST": 1.0}),
    "Panoptic FPN": ("panoptic", {}),
}
NOTHING = {"ROI_HEADS__SCORE_THRESH_TEST": 1.0}
MORE_FAMILIES = {  # half a minute each
    "Mask and Keypoint R-CNN": ("fpn", {"MASK_ON": True, "KEYPOINT_ON": True}),
    "Mask and Keypoint R-CNN that find nothing": ("fpn", {"MASK_ON": True, "KEYPOINT_ON": True, **NOTHING}),
    "Cascade R-CNN that finds nothing": ("cascade", {"MASK_ON": True, **NOTHING}),
    "DensePose that finds nobody": ("densepose", {"DENSEPOSE_ON": True, **NOTHING}),
    "C4": ("c4", {"MASK_ON": True}),
    "Cascade R-CNN": ("cascade", {"MASK_ON": True}),
    "Faster R-CNN": ("fpn", {}),
    "one box and one mask for all classes": (
        "fpn",
        {"MASK_ON": True, "ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG": True, "ROI_MASK_HEAD__CLS_AGNOSTIC_MASK": True},
    ),
    "RPN": ("proposals", {}),
    "Fast R-CNN with given proposals": ("precomputed", {"MASK_ON": True}),
    "Semantic FPN": ("semantic", {}),
    "DeepLab v3": ("deeplab v3", {}),
    "DeepLab v3+": ("deeplab v3+", {}),
    "DC5": (
        "c4",
        {
            "RESNETS__OUT_FEATURES": ["res5"],
            "RESNETS__RES5_DILATION": 2,
            "RPN__IN_FEATURES": ["res5"],
            "ROI_HEADS__NAME": "StandardROIHeads",
            "ROI_HEADS__IN_FEATURES": ["res5"],
            "ROI_BOX_HEAD__NAME": "FastRCNNConvFCHead",
            "ROI_BOX_HEAD__NUM_FC": 1,
            "ROI_BOX_HEAD__FC_DIM": 16,
        },
    ),
    "Swin Transformer": (
        "fpn",
        {
            "BACKBONE__NAME": "build_swin_fpn_backbone",
            "FPN__IN_FEATURES": ["p0", "p1", "p2", "p3"],
            "SWIN__EMBED_DIM": 16,
            "SWIN__DEPTHS": [2, 2, 2, 2],
            "SWIN__NUM_HEADS": [1, 2, 4, 8],
            "SWIN__SQUARE_PAD": 128,
        },
    ),
    "ResNeXt": ("fpn", {"RESNETS__NUM_GROUPS": 2}),
    "GN": ("fpn", {**_WIDE, "MASK_ON": True, "RESNETS__NORM": "GN", "FPN__NORM": "GN"}),
    "deformable": ("fpn", {"RESNETS__DEFORM_ON_PER_STAGE": [False, True, True, True]}),
    "modulated deformable": (
        "fpn",
        {"RESNETS__DEFORM_ON_PER_STAGE": [False, True, True, True], "RESNETS__DEFORM_MODULATED": True},
    ),
    "DensePose": ("densepose", {"DENSEPOSE_ON": True}),
    "DensePose without decoder": ("densepose", {"DENSEPOSE_ON": True, "ROI_DENSEPOSE_HEAD__DECODER_ON": False}),
}
IMAGES = [
    tiny_image(120, 150).permute(1, 2, 0).numpy(),
    tiny_image(40, 30).permute(1, 2, 0).numpy(),
    np.full((64, 80, 3), 255, np.uint8),
]


def predictor_of(family, **options):
    base, changes = {**FAMILIES, **MORE_FAMILIES}[family]
    cfg = tiny_cfg(base, **changes)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 160, 256
    return Predictor(cfg, weights=golden(cfg).state_dict(), **options)


def inputs_of(predictor, image):
    inputs = predictor.prepare(image)
    if predictor.cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
        size = tuple(inputs["image"].shape[1:])
        boxes = torch.tensor([[4.0, 4, 60, 50], [8, 16, 90, 70], [0, 0, 30, 60]])
        inputs["proposals"] = Instances(size, proposal_boxes=Boxes(boxes))
    return inputs


def assert_the_same_field(found, expected):
    if isinstance(expected, Boxes):
        torch.testing.assert_close(found.tensor, expected.tensor, atol=0.02, rtol=0)
    elif not isinstance(expected, torch.Tensor):  # DensePose's maps
        for name, value in vars(expected).items():
            if value is not None:
                torch.testing.assert_close(getattr(found, name), value, atol=1e-3, rtol=1e-3)
    elif expected.dtype == torch.bool:
        assert (found != expected).sum() <= 1e-3 * expected.numel()
    else:
        torch.testing.assert_close(found, expected, atol=5e-4, rtol=1e-4)


def places(instances):
    """Return the boxes, those of other classes far away from one another."""
    if instances.has("proposal_boxes"):
        return instances.proposal_boxes.tensor
    return instances.pred_boxes.tensor + 1e4 * instances.pred_classes[:, None]


def in_order_of(expected, found):
    """Put ``found`` into the order of ``expected``: where scores are equal, as in an empty image, rounding decides."""
    order = torch.cdist(places(expected), places(found)).argmin(dim=1).tolist() if len(found) else []
    return found[order] if sorted(order) == list(range(len(found))) else found


def above_the_cut(instances, most):
    """Leave out what scores like the last one, where there are ``most``: rounding decides which of these are kept."""
    scores = instances.get("scores" if instances.has("scores") else "objectness_logits")
    return instances[scores > scores.min() + 2e-6] if len(instances) == most else instances


def assert_the_same(found, expected):
    assert list(found) == list(expected)
    for name, most in (("instances", 10), ("proposals", 30)):  # the limits of the tiny models
        if name not in expected:
            continue
        one, other = found[name], expected[name]
        assert one.get_fields().keys() == other.get_fields().keys()
        assert one.image_size == other.image_size and len(one) == len(other)
        one, other = above_the_cut(one, most), above_the_cut(other, most)
        assert len(one) == len(other)
        one = in_order_of(other, one)
        for field, value in other.get_fields().items():
            assert_the_same_field(one.get(field), value)
    if "sem_seg" in expected:
        torch.testing.assert_close(found["sem_seg"], expected["sem_seg"], atol=1e-3, rtol=1e-3)
    if "panoptic_seg" in expected:
        (found_map, found_segments), (expected_map, expected_segments) = found["panoptic_seg"], expected["panoptic_seg"]
        assert (found_map != expected_map).float().mean() < 1e-3
        assert [one["category_id"] for one in found_segments] == [one["category_id"] for one in expected_segments]


def check_family(family, folder, **options):
    """Export a family, and hold the file against its predictor; returns the predictor and the file's path."""
    from litepred.export import export_onnx

    predictor = predictor_of(family)
    path = folder / "model.onnx"
    report = export_onnx(predictor, path, check=IMAGES, **options)
    assert report.images == 3 and report.num_bytes == path.stat().st_size
    assert list(report.differences) == list(report.outputs)
    again = Predictor(path)
    assert (again.engine, again.cfg.MODEL.WEIGHTS) == ("onnxruntime", str(path))
    for image in IMAGES:
        expected = predictor.run([inputs_of(predictor, image)])[0]
        assert_the_same(again.run([inputs_of(again, image)])[0], expected)
    return predictor, path
