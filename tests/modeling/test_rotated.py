"""R-CNN on rotated boxes, against answers that Detectron2 gave on the same weights and image."""

from __future__ import annotations

import pytest
import torch
from tiny_models import golden, tiny_cfg, tiny_image

from litepred.errors import ConfigError, LitepredError
from litepred.modeling import Box2BoxTransformRotated, ROIPooler, RotatedAnchorGenerator, build_model
from litepred.optimize import optimize
from litepred.structures import Boxes, RotatedBoxes

INPUT = {"image": tiny_image(), "height": 50, "width": 100}
# centre x, centre y, width, height, angle; score; class
DETECTIONS = [
    [26.355286, 9.905046, 14.026434, 8.508611, 67.013245, 0.995073, 2],
    [56.867859, 48.543365, 1.671210, 4.620647, 65.285049, 0.944884, 1],
    [62.294624, 2.976174, 2.407346, 13.066452, 108.526215, 0.924129, 1],
    [50.823772, 7.065083, 8.948994, 2.970615, 72.958038, 0.914998, 1],
    [54.609814, 8.207647, 0.838748, 12.337872, 152.665039, 0.905865, 1],
    [57.152634, 6.309759, 4.602949, 8.832505, 69.362991, 0.893070, 1],
    [53.617790, 6.738775, 0.464418, 12.089859, 125.066681, 0.882259, 1],
    [52.370125, 1.396352, 0.535838, 5.697137, -101.308609, 0.882138, 1],
    [53.323330, 8.075777, 1.071097, 10.108412, -162.654526, 0.825867, 1],
    [58.191063, 7.406742, 7.039632, 3.725966, 60.357330, 0.809954, 1],
]
ONE_BOX_FOR_ALL = [
    [42.808056, 13.029326, 0.423041, 17.511797, -93.045929, 0.976095, 2],
    [34.708649, 10.551439, 1.278136, 8.722687, -3.481445, 0.971068, 2],
    [53.276775, 11.437348, 1.218484, 17.454365, -101.500122, 0.968567, 2],
    [54.538120, 11.168293, 1.103283, 20.537882, -119.549301, 0.949773, 2],
    [26.692434, 10.696093, 13.678631, 12.895477, 73.335602, 0.943385, 2],
    [61.578812, 8.053706, 15.948920, 1.823644, 35.072144, 0.940055, 1],
    [37.068966, 29.885683, 15.704814, 2.926068, -13.159744, 0.902637, 1],
    [54.327652, 8.370275, 13.324311, 2.164151, 142.209839, 0.900002, 1],
    [52.393509, 7.793629, 0.443574, 7.848374, -49.646774, 0.896740, 1],
    [59.919994, 8.169764, 8.133951, 2.861771, 57.311478, 0.894458, 1],
]
PROPOSALS = [
    [40.663746, 6.615027, 0.370382, 6.380245, -132.395798, 6.133811],
    [42.856575, 12.628618, 0.525448, 10.544054, -151.583359, 5.874714],
    [42.118977, 12.681376, 0.605331, 15.833661, -135.615692, 5.476828],
    [52.316090, 4.944561, 0.541273, 8.336503, -168.347458, 5.450968],
    [57.272060, 6.938765, 7.051075, 8.176603, 29.593842, 5.312094],
    [62.403091, 3.603928, 2.826643, 14.761073, 81.500732, 4.981637],
]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, DETECTIONS),
        (
            {
                "ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG": True,
                "ROI_BOX_HEAD__POOLER_SAMPLING_RATIO": 2,
                "ANCHOR_GENERATOR__ANGLES": [[0, 45]],
            },
            ONE_BOX_FOR_ALL,
        ),
        ({"META_ARCHITECTURE": "ProposalNetwork", "RPN__POST_NMS_TOPK_TEST": 6}, PROPOSALS),
    ],
    ids=["boxes by class", "a box for all classes", "proposals"],
)
def test_as_detectron2(changes, expected):
    (found,) = golden(tiny_cfg("rotated", **changes))([INPUT])[0].values()
    boxes, *rest = found.get_fields().values()
    assert type(boxes) is RotatedBoxes
    columns = [boxes.tensor, *(values[:, None].float() for values in rest)]
    torch.testing.assert_close(torch.cat(columns, dim=1), torch.tensor(expected), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_nothing_found(exact):
    cfg = tiny_cfg("rotated", ROI_HEADS__SCORE_THRESH_TEST=1.0)
    model = golden(cfg)
    if not exact:
        optimize(model)
    found = model([INPUT])[0]["instances"]
    assert len(found) == 0
    assert found.pred_boxes.tensor.shape == (0, 5)


def test_anchors():
    anchors = RotatedAnchorGenerator(
        sizes=[[8, 4]], aspect_ratios=[[1.0, 4.0]], angles=[[-90, 0, 45]], strides=[16], offset=0.5
    )
    (cell,) = anchors.cell_anchors
    sides = [(8, 8), (4, 16), (4, 4), (2, 8)]
    assert cell.tolist() == [[0, 0, *pair, angle] for pair in sides for angle in (-90, 0, 45)]
    assert (anchors.num_anchors, anchors.box_dim) == ([12], 5)
    (boxes,) = anchors([torch.zeros(1, 1, 1, 2)])
    assert type(boxes) is RotatedBoxes
    assert boxes.tensor.tolist() == [[x, 8, *row[2:]] for x in (8, 24) for row in cell.tolist()]


@pytest.mark.parametrize("angles", [[], [[]], [[0], [90]], [[None]], "0"])
def test_angles_that_are_none(angles):
    with pytest.raises(ConfigError, match=r"ANGLES is .* for 1 feature maps: expected numbers, in one list"):
        RotatedAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], angles=angles, strides=[16])


@pytest.mark.parametrize("boxes", [0, 2])
def test_decoding(boxes):
    transform = Box2BoxTransformRotated((10.0, 10.0, 5.0, 5.0, 1.0), scale_clamp=1.0)
    start = torch.tensor([[50.0, 30, 20, 10, 170]]).repeat(boxes, 1)
    deltas = torch.tensor([[1.0, -2, 0, 99, torch.pi / 6, 0, 0, 0, 0, 0]]).repeat(boxes, 1)
    expected = torch.tensor([[52.0, 28, 20, 10 * torch.e, -160, *start[:1].flatten()]] if boxes else [[]])
    decoded = transform.apply_deltas(deltas, start)
    assert decoded.shape == (boxes, 10)
    torch.testing.assert_close(decoded, expected.repeat(boxes, 1).view(boxes, 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ANCHOR_GENERATOR__NAME": "DefaultAnchorGenerator"}, "anchors have 4 numbers: RRPN expects 5"),
        ({"PROPOSAL_GENERATOR__NAME": "RPN", "RPN__BBOX_REG_WEIGHTS": (1.0,) * 4}, "have 5 numbers: RPN expects 4"),
        ({"RPN__BBOX_REG_WEIGHTS": (1.0,) * 4}, "expected 5 numbers"),
        ({"ROI_BOX_HEAD__BBOX_REG_WEIGHTS": (1.0,) * 4}, "expected 5 numbers"),
        ({"ROI_BOX_HEAD__POOLER_TYPE": "ROIAlignV2"}, "expected MODEL.ROI_BOX_HEAD.POOLER_TYPE ROIAlignRotated"),
        ({"MASK_ON": True}, "RROIHeads find boxes alone"),
        ({"KEYPOINT_ON": True}, "RROIHeads find boxes alone"),
    ],
)
def test_misfits(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_cfg("rotated", **changes))


@pytest.mark.parametrize(("pooler_type", "boxes"), [("ROIAlignRotated", Boxes), ("ROIAlignV2", RotatedBoxes)])
def test_boxes_of_the_other_kind(pooler_type, boxes):
    with pytest.raises(LitepredError, match="POOLER_TYPE ROIAlignRotated goes with RRPN and RROIHeads"):
        ROIPooler(2, [1 / 4], 0, pooler_type)([torch.zeros(1, 1, 4, 4)], [boxes([])])
