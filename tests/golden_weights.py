"""The weights behind the goldens: every tensor follows from its checkpoint key, so nothing needs to be stored."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import torch

_OUTPUT_GAIN = {
    "cls_score": 3.0,
    "bbox_pred": 1.0,
    "objectness_logits": 1.0,
    "anchor_deltas": 0.5,
    "predictor": 2.0,
    "score_lowres": 1.0,
}


def golden_array(key: str, shape: tuple[int, ...], pixel_std: float = 1.0) -> np.ndarray:
    """The array of checkpoint key ``key``; ``pixel_std`` is cfg.MODEL.PIXEL_STD[0], which scales the stem."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    parts = key.split(".")
    leaf, layer = parts[-1], parts[-2] if len(parts) > 1 else ""

    def normal(std: float, mean: float = 0.0) -> np.ndarray:
        return (mean + std * rng.standard_normal(shape)).astype(np.float32)

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, shape).astype(np.float32)

    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_mean":
        return normal(0.1)
    if leaf == "running_var":
        return uniform(0.8, 1.2)
    if len(shape) == 1 and leaf == "weight":  # a norm's scale; the last norm of a bottleneck is small
        return uniform(0.3, 0.5) if "conv3.norm" in key else uniform(0.8, 1.2)
    if leaf == "bias":
        return normal(0.1, -2.5 if key == "head.cls_score.bias" else 0.0)

    transposed = layer in ("deconv", "score_lowres")
    fan_in = shape[0] * shape[2] * shape[3] // 4 if transposed else int(np.prod(shape[1:]))
    gain = 0.05 if "conv_offset" in layer else _OUTPUT_GAIN.get(layer, 2**0.5)
    if key.endswith("stem.conv1.weight"):
        gain *= pixel_std / 60.0
    weight = rng.standard_normal(shape)
    inputs = (0,) if transposed else tuple(range(1, len(shape)))
    weight = weight - weight.mean(axis=inputs, keepdims=True)  # cancels the positive mean of ReLU features
    return (weight * gain / np.sqrt(fan_in)).astype(np.float32)


@functools.lru_cache(maxsize=400)  # a backbone and its heads: most models share them
def golden_tensor(key: str, shape: tuple[int, ...], pixel_std: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(golden_array(key, shape, pixel_std))


def fill_with_golden_weights(model: torch.nn.Module, pixel_std: float = 1.0) -> None:
    """Overwrite all of a model's checkpoint entries with the goldens' weights."""
    state = model.state_dict()
    for key, tensor in state.items():
        if key.endswith("relative_position_index"):  # it follows from a window's size
            continue
        tensor.copy_(golden_tensor(key, tuple(tensor.shape), pixel_std if "stem" in key else 1.0))
