"""Test-time augmentation, by what must hold: one version is the model itself, and mirrored images agree."""

from __future__ import annotations

import pytest
import torch
from tiny_models import tiny_cfg, tiny_image, tiny_model

from litepred import ConfigError
from litepred.drop_in.tta import DatasetMapperTTA, GeneralizedRCNNWithTTA


def wrapped(family="fpn", sizes=(64,), flip=False, **changes):
    cfg = tiny_cfg(family, **changes)
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE, cfg.TEST.AUG.FLIP = sizes, 200, flip
    model = tiny_model(family, **changes)
    return model, GeneralizedRCNNWithTTA(cfg, model)


def test_versions():
    cfg = tiny_cfg()
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (32, 64), 90
    versions = DatasetMapperTTA(cfg)({"image": tiny_image(), "height": 128, "width": 192})
    assert [tuple(one["image"].shape[1:]) for one in versions] == [(32, 48), (32, 48), (60, 90), (60, 90)]
    assert versions[1]["image"].equal(versions[0]["image"].flip(2))
    box = torch.tensor([[0.0, 0, 96, 128]]).numpy()
    assert versions[0]["transforms"].apply_box(box.copy()).tolist() == [[0, 0, 24, 32]]
    assert versions[1]["transforms"].apply_box(box.copy()).tolist() == [[24, 0, 48, 32]]
    back = versions[3]["transforms"].inverse().apply_box(versions[3]["transforms"].apply_box(box.copy()))
    assert abs(back - box).max() < 1e-3


@pytest.mark.parametrize("changes", [{}, {"MASK_ON": True}])
def test_one_version_is_the_model_itself(changes):
    model, augmented = wrapped(**changes)
    image = {"image": tiny_image()}
    expected, found = (run([image])[0]["instances"] for run in (model, augmented))
    assert len(expected) > 0
    assert len(found) == len(expected)
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert found.scores.equal(expected.scores)
    if changes:
        assert (found.pred_masks != expected.pred_masks).float().mean() < 0.01
        assert model.roi_heads.mask_on


def test_a_mirrored_image_gives_mirrored_boxes():
    _, augmented = wrapped(sizes=(48, 64), flip=True)
    image = tiny_image()
    one, other = (augmented([{"image": pixels}])[0]["instances"] for pixels in (image, image.flip(2).contiguous()))
    boxes = other.pred_boxes.tensor[:, [2, 1, 0, 3]].clone()
    boxes[:, [0, 2]] = image.shape[2] - boxes[:, [0, 2]]
    assert len(one) == len(other) > 0
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-4)
    torch.testing.assert_close(one.pred_boxes.tensor, boxes, rtol=0, atol=0.05)


def test_what_it_refuses():
    cfg = tiny_cfg("fpn", KEYPOINT_ON=True)
    with pytest.raises(ConfigError, match="no way for keypoints"):
        GeneralizedRCNNWithTTA(cfg, tiny_model("fpn", KEYPOINT_ON=True))
    with pytest.raises(ConfigError, match="got a Identity: expected a GeneralizedRCNN"):
        GeneralizedRCNNWithTTA(cfg, torch.nn.Identity())
