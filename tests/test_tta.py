"""Test-time augmentation, by what must hold: one version is the model itself, and mirrored images agree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import tiny_cfg, tiny_image, tiny_model

from litepred import ConfigError, Predictor
from litepred.tta import DatasetMapperTTA, GeneralizedRCNNWithTTA

# The first, fourth and tenth box of Detectron2 02b5c4e, for the input that its test loader makes of `tiny_image`.
DETECTRON2 = [
    [23.9974, 7.9577, 24.9019, 14.0124],
    [36.2256, 6.0483, 36.9573, 12.8011],
    [31.2365, 5.4345, 32.7797, 9.1412],
]


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


def test_a_mirrored_image_gives_mirrored_boxes():
    _, augmented = wrapped(sizes=(48, 64), flip=True)
    image = tiny_image()
    one, other = (augmented([{"image": pixels}])[0]["instances"] for pixels in (image, image.flip(2).contiguous()))
    boxes = other.pred_boxes.tensor[:, [2, 1, 0, 3]].clone()
    boxes[:, [0, 2]] = image.shape[2] - boxes[:, [0, 2]]
    assert len(one) == len(other) > 0
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-4)
    torch.testing.assert_close(one.pred_boxes.tensor, boxes, rtol=0, atol=0.05)


REFUSED = {
    "keypoints": ("fpn", {"KEYPOINT_ON": True}),
    "proposals that are given": ("precomputed", {}),
    "DensePose": ("densepose", {}),
    "models of the kind PanopticFPN": ("panoptic", {}),
    "models of the kind RetinaNet": ("retinanet", {}),
    "models of the kind SemanticSegmentor": ("semantic", {}),
    "models of the kind ProposalNetwork": ("proposals", {}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_refuses(what):
    family, changes = REFUSED[what]
    expected = f"test-time augmentation does not cover {what}: use the model without it"
    with pytest.raises(ConfigError, match=expected):
        GeneralizedRCNNWithTTA(tiny_cfg(family, **changes), tiny_model(family, **changes))


@pytest.mark.parametrize("sizes", [(), (0,), (64.5,), ("64",)])
def test_sizes_that_it_refuses(sizes):
    with pytest.raises(ConfigError, match=r"TEST\.AUG has the MIN_SIZES .* expected one size or more"):
        DatasetMapperTTA(sizes, 200, True)


@pytest.mark.parametrize("inputs", [[], [{"image": tiny_image()[:, :1, :1]}]], ids=["none", "a pixel"])
def test_nothing_and_little(inputs):
    found = wrapped(flip=True, MASK_ON=True)[1](inputs)
    assert len(found) == len(inputs)
    for one in found:
        assert one["instances"].pred_masks.shape == (len(one["instances"]), 1, 1)


def test_threads_share_it():
    """The model is not changed while boxes alone are looked for: another thread may be finding masks with it."""
    model, augmented = wrapped(sizes=(32, 64), flip=True, MASK_ON=True)
    inputs, seen = [{"image": tiny_image()}], []
    model.backbone.register_forward_hook(lambda *_: seen.append(model.roi_heads.mask_on))
    expected = augmented(inputs)[0]["instances"].pred_masks
    assert all(seen)
    assert len(seen) == 4  # twice two batches of at most three versions
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(augmented, [inputs] * 8):
            assert found[0]["instances"].pred_masks.equal(expected)


class TestPredictor:
    @pytest.fixture
    def cfg(self):
        cfg = tiny_cfg("fpn", MASK_ON=True)
        cfg.INPUT.MIN_SIZE_TEST, cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = 80, (64, 96), 200
        return cfg

    def test_it_is_the_wrapped_model(self, cfg):
        """Exact mode gives the bits of the wrapper around the model, on what Detectron2's test loader would make."""
        image = tiny_image().permute(1, 2, 0).byte().numpy()
        weights = tiny_model("fpn", MASK_ON=True).state_dict()
        predictor = Predictor(cfg, weights=weights, exact=True, tta=True)
        _, expected = wrapped(sizes=(64, 96), flip=True, MASK_ON=True)
        expected = expected([predictor.prepare(image)])[0]["instances"]
        found = predictor(image)["instances"]
        torch.testing.assert_close(found.pred_boxes.tensor[[0, 3, 9]], torch.tensor(DETECTRON2), rtol=0, atol=0.02)
        assert found.pred_masks.sum(dim=(1, 2)).tolist() == [1, 1, 0, 1, 1, 0, 1, 0, 1, 5]
        for name, value in expected.get_fields().items():
            assert getattr(value, "tensor", value).equal(getattr(found.get(name), "tensor", found.get(name)))
        assert predictor.prepare(image)["image"].shape[1] == 80  # resized as ever, and then to each size
        (batched,) = predictor.batch([image])
        assert batched["instances"].scores.equal(found.scores)

        faster = Predictor(cfg, weights=weights, tta=True, mask_format="rle")(image)["instances"]
        torch.testing.assert_close(faster.scores, found.scores, rtol=0, atol=5e-4)
        assert len(faster.pred_masks) == len(found)
        assert all(set(one) == {"size", "counts"} for one in faster.pred_masks)

    def test_what_it_refuses(self):
        with pytest.raises(ConfigError, match="does not cover models of the kind PanopticFPN"):
            Predictor(tta=True)
        with pytest.raises(ConfigError, match="engine='onnxruntime' came with exact=False, compile=False and tta=True"):
            Predictor(engine="onnxruntime", tta=True)
