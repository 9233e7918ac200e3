"""Export one model of the zoo: ``python tests/zoo_export.py NAME FILE``. `export/test_zoo.py` runs it for each."""

from __future__ import annotations

import hashlib
import sys
import warnings
from typing import Any

import torch
from exported_families import IMAGES
from tiny_models import golden
from torch import Tensor

from litepred import Predictor, build_model, model_zoo
from litepred.export import export_onnx

# What a residual block adds, the sharpness of attention and what boxes move by are small in trained models. With large
# ones a deep model enlarges rounding from block to block: the maps of the goldens' R101 are up to 4.1e-5 of their
# deviation away from those in double precision, in Detectron2's own order of operations as in the default's; with these
# factors up to 2.3e-5.
_SMALLER = {
    "conv3.norm.weight": 0.25,
    "bn3.weight": 0.25,
    "f.c_bn.weight": 0.25,
    "attn.proj.weight": 0.25,
    "mlp.fc2.weight": 0.25,
    "attn.qkv.weight": 0.5,
    "bbox_pred.weight": 0.25,
}


def small_cfg(name: str) -> Any:
    """Return the config of a model, for a small image and few instances; the largest transformers have fewer blocks."""
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 256, 320
    cfg.TEST.DETECTIONS_PER_IMAGE = 20  # for each of which DensePose's heads compute as long as for a small image
    # With random weights all regions or none pass the threshold of each class: few regions, and a low threshold.
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 50
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0001
    if "DeepLab" in name:
        cfg.INPUT.CROP.ENABLED = False  # it takes whole crops of 512 × 1,024 otherwise, as it was trained on
    if "_h_" in name or "_l_" in name:
        if "vitdet" in name:
            cfg.MODEL.VIT.DEPTH //= 4  # of which the last one attends to the whole image
        elif "mvit" in name:
            cfg.MODEL.MVIT.DEPTH, cfg.MODEL.MVIT.LAST_BLOCK_INDEXES = 8, [1, 3, 5, 7]
        else:
            cfg.MODEL.SWIN.DEPTHS = [2, 2, 2, 2]
    return cfg


def trained_like(cfg: Any) -> dict[str, Tensor]:
    """Return the goldens' weights, made as well conditioned as those of a trained model."""
    state: dict[str, Tensor] = golden(cfg).state_dict()
    for key, tensor in state.items():
        tensor *= next((factor for end, factor in _SMALLER.items() if key.endswith(end)), 1)
        if cfg.MODEL.META_ARCHITECTURE == "TorchvisionRCNN" and "objectness_logits" in key:
            tensor *= 0.05  # else rounding would decide which sigmoid is larger
        if ".attn.pool_" in key:
            tensor += 1 / 9  # of no mean, as the goldens', they let norms enlarge the rounding where an image is padded
    return state


def graph_of(name: str) -> str:
    """Return what an exported graph depends on: modules, their settings, and the shapes of their weights.

    Models that have it in common are exported as the same file, since their random weights are the same too.
    """
    cfg = small_cfg(name)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    parts: list[Any] = [cfg.INPUT.FORMAT, list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)]
    for path, module in model.named_modules():
        settings = {key: value for key, value in vars(module).items() if key[0] != "_" and is_plain(value)}
        parts.append((path, type(module).__qualname__, sorted(settings.items())))
    shapes = [(key, tuple(tensor.shape)) for key, tensor in model.state_dict().items()]
    return hashlib.sha256(repr((parts, shapes)).encode()).hexdigest()


def is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return isinstance(value, (int, float, str, type(None)))


def main() -> None:
    name, path = sys.argv[1:]
    cfg = small_cfg(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = Predictor(cfg, weights=trained_like(cfg))
    size_hw = (256, 320) if name.startswith("MViTv2/") else None  # whose images are not padded to a square
    report = export_onnx(predictor, path, size_hw=size_hw, check=IMAGES[:1])
    assert Predictor(path).engine == "onnxruntime"
    print(report)


if __name__ == "__main__":
    main()
