"""transformers' LayoutLMv2, whose visual backbone is the FPN of a Detectron2 model."""

from __future__ import annotations

import pytest
import torch

import litepred

from .conftest import client

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def transformers():
    return client("transformers")


def dotted(cfg, prefix=""):
    """All values of a config under names such as ``MODEL.RESNETS.DEPTH``, as LayoutLMv2Config keeps them."""
    flat = {}
    for key, value in cfg.items():
        flat.update(dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


@pytest.fixture(scope="module")
def layoutlm(transformers, trained):
    config = transformers.LayoutLMv2Config(
        vocab_size=30,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        coordinate_size=4,
        shape_size=4,
        image_feature_pool_shape=[7, 7, trained.source.MODEL.FPN.OUT_CHANNELS],
        detectron2_config_args=dotted(trained.source),
    )
    model = transformers.LayoutLMv2Model(config).eval()
    prefix = "backbone."
    weights = {key[len(prefix) :]: value for key, value in trained.weights.items() if key.startswith(prefix)}
    model.visual.backbone.load_state_dict(weights)
    return model


IMAGE = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 255


def features(trained):
    """What the pooled features of litepred's own backbone are."""
    model = litepred.build_model(trained.source)
    model.load_state_dict(trained.weights)
    with torch.inference_mode():
        p2 = model.backbone((IMAGE - model.pixel_mean) / model.pixel_std)["p2"]
        return torch.nn.functional.adaptive_avg_pool2d(p2, 7).flatten(start_dim=2).transpose(1, 2)


def test_visual_backbone(layoutlm, trained):
    with torch.inference_mode():
        theirs = layoutlm.visual(IMAGE)
    assert theirs.std() > 0
    assert theirs.equal(features(trained))


def test_saved_and_loaded(transformers, layoutlm, trained, tmp_path):
    """Also offline, the weights in transformers' own files are those of the backbone."""
    layoutlm.save_pretrained(tmp_path)
    again = transformers.LayoutLMv2Model.from_pretrained(tmp_path)
    with torch.inference_mode():
        assert again.visual(IMAGE).equal(features(trained))


def test_whole_model(layoutlm):
    with torch.inference_mode():
        outputs = layoutlm(input_ids=torch.tensor([[1, 2, 3]]), bbox=torch.tensor([[[0, 0, 9, 9]] * 3]), image=IMAGE)
    assert outputs.last_hidden_state.shape == (1, 3 + 7 * 7, 24)
    assert outputs.last_hidden_state.isfinite().all()


def test_the_default_visual_backbone(transformers):
    """The ResNeXt-101 that LayoutLMv2's released checkpoints have."""
    config = transformers.LayoutLMv2Config()
    with torch.device("meta"):
        model = transformers.LayoutLMv2Model(config)
    assert sum(key.endswith("conv2.weight") for key in model.visual.backbone.state_dict()) == 33
