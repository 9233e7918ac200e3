"""What other projects import of Detectron2's projects."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from litepred import get_cfg, modeling
from litepred.drop_in import projects


@pytest.mark.parametrize(
    ("add", "key", "value"),
    [
        (projects.add_panoptic_deeplab_config, "HEAD_CHANNELS", 256),
        (projects.add_panoptic_deeplab_config, "ASPP_CHANNELS", 256),
    ],
)
def test_keys_of_the_semantic_head(add, key, value):
    cfg = get_cfg()
    assert key not in cfg.MODEL.SEM_SEG_HEAD
    add(cfg)
    assert cfg.MODEL.SEM_SEG_HEAD[key] == value
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 54
    assert "ASPP_CHANNELS" not in get_cfg().MODEL.SEM_SEG_HEAD


def test_random_points_are_more_where_a_map_is_uncertain():
    rows = torch.linspace(-1, 1, 32)[:, None].expand(32, 32)[None, None]  # 0 in the middle
    torch.manual_seed(0)
    points = projects.get_uncertain_point_coords_with_randomness(rows, lambda logits: -logits.abs(), 100, 3, 0.75)
    torch.manual_seed(0)
    drawn = torch.rand(1, 300, 2)
    best = (drawn[0, :, 1] - 0.5).abs().topk(75, largest=False).indices
    assert {*map(tuple, points[0, :75].tolist())} == {*map(tuple, drawn[0, best].tolist())}
    assert torch.equal(points[0, 75:], torch.rand(1, 25, 2)[0])
    assert projects.get_uncertain_point_coords_with_randomness(rows[:0], lambda x: x, 4, 1, 1).shape == (0, 4, 2)


@pytest.mark.usefixtures("drop_in")
def test_the_names_are_those_of_the_models():
    import detectron2.projects.deeplab as deeplab
    import detectron2.projects.point_rend as point_rend
    from detectron2.projects.deeplab.resnet import DeepLabStem
    from detectron2.projects.point_rend.point_features import point_sample
    from detectron2.projects.point_rend.point_head import POINT_HEAD_REGISTRY, StandardPointHead
    from detectron2.projects.point_rend.roi_heads import PointRendROIHeads
    from detectron2.projects.point_rend.semantic_seg import calculate_uncertainty

    assert modeling.SEM_SEG_HEADS_REGISTRY.get("DeepLabV3PlusHead") is deeplab.DeepLabV3PlusHead
    assert modeling.SEM_SEG_HEADS_REGISTRY.get("PointRendSemSegHead") is point_rend.PointRendSemSegHead
    assert modeling.ROI_MASK_HEAD_REGISTRY.get("PointRendMaskHead") is point_rend.PointRendMaskHead
    assert modeling.ROI_HEADS_REGISTRY.get("PointRendROIHeads") is PointRendROIHeads
    assert POINT_HEAD_REGISTRY.get("StandardPointHead") is StandardPointHead
    assert DeepLabStem().out_channels == 128 and point_sample is modeling.point_sample
    assert calculate_uncertainty(torch.tensor([[[[3.0]], [[1.0]], [[2.0]]]])).tolist() == [[[[-1.0]]]]
    cfg = get_cfg()
    deeplab.add_deeplab_config(cfg)
    point_rend.add_pointrend_config(cfg)
    assert (cfg.MODEL.RESNETS.STEM_TYPE, cfg.MODEL.POINT_HEAD.NAME) == ("deeplab", "StandardPointHead")
    with pytest.raises(NotImplementedError, match="litepred only infers"):
        point_rend.ColorAugSSDTransform("BGR")


def test_a_program_with_a_copy_of_pointrend_registers_its_own():
    program = """
from litepred.modeling import ROI_MASK_HEAD_REGISTRY
import litepred.drop_in.projects, litepred.optimize, litepred.predictor

@ROI_MASK_HEAD_REGISTRY.register()
class PointRendMaskHead:
    pass

assert ROI_MASK_HEAD_REGISTRY.get("PointRendMaskHead") is PointRendMaskHead
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_attention_to_a_few_points_of_maps():
    """Against the definition: each query's sum over levels and points of weight times the map there."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[3, 4], [2, 2]])
    starts, n, heads, channels, queries, points = torch.tensor([0, 12]), 2, 2, 3, 5, 4
    value = torch.randn(n, 16, heads, channels, generator=generator)
    where = torch.rand(n, queries, heads, 2, points, 2, generator=generator) * 1.4 - 0.2  # some outside
    weights = torch.rand(n, queries, heads, 2, points, generator=generator)
    expected = torch.zeros(n, queries, heads, channels)
    for i, q, m, level, k in torch.cartesian_prod(*map(torch.arange, (n, queries, heads, 2, points))).tolist():
        height, width = shapes[level].tolist()
        cells = value[i, starts[level] : starts[level] + height * width, m].T.view(1, channels, height, width)
        at = where[i, q, m, level, k].view(1, 1, 1, 2) * 2 - 1
        sampled = torch.nn.functional.grid_sample(cells, at, align_corners=False)[0, :, 0, 0]
        expected[i, q, m] += weights[i, q, m, level, k] * sampled
    found = projects.ms_deform_attn_forward(value, shapes, starts, where, weights, 64)
    torch.testing.assert_close(found, expected.flatten(2))
