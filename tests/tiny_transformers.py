"""What the tests of both vision transformers do alike."""

from __future__ import annotations

import copy
import hashlib
import json
from functools import partial
from pathlib import Path

import torch
from golden_weights import fill_with_golden_weights

from litepred import get_cfg
from litepred.modeling.build import build_skeleton
from litepred.optimize import optimize

layer_norm = partial(torch.nn.LayerNorm, eps=1e-6)


def golden(backbone):
    """A backbone with the goldens' weights."""
    backbone = backbone.requires_grad_(False).eval()
    fill_with_golden_weights(backbone)
    return backbone


def optimized(backbone, precision="float32"):
    """A copy of a backbone, as a predictor has it by default."""
    model = torch.nn.Module()
    model.backbone = copy.deepcopy(backbone)
    assert optimize(model, precision) == precision
    return model.backbone


def noise(height, width, number=2):
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(0))


def assert_answers(backbone, name, precision):
    """Hold features against those that Detectron2 had with the same weights: some values of each map."""
    answers = json.loads((Path(__file__).parent / "modeling" / "backbone" / name).read_text(encoding="utf-8"))
    assert len(answers) == 3
    for size, maps in answers.items():
        features = backbone(noise(*map(int, size.split("x"))))
        assert list(features) == list(maps)
        for feature, wanted in zip(features.values(), maps.values()):
            assert list(feature.shape) == wanted["shape"]
            values = feature.flatten()
            sample = values[torch.linspace(0, len(values) - 1, len(wanted["sample"])).long()]
            torch.testing.assert_close(sample, torch.tensor(wanted["sample"]), rtol=precision, atol=precision)


def assert_same(found, wanted, precision=1e-4):
    """Two dicts of features differ by less than ``precision`` of the largest value of each."""
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert float((found[name].float() - value).abs().max()) < precision * float(value.abs().max())


def digest(keys):
    """How many keys the checkpoint of a config has, and a digest of their names and shapes."""
    cfg = get_cfg()
    cfg.merge_from_list([item for pair in {**_HEADS, **keys}.items() for item in pair])
    state = build_skeleton(cfg).state_dict()
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in state.items())
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


_HEADS = {
    "MODEL.MASK_ON": True,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.CONV_DIMS": [-1, -1],
    "MODEL.FPN.NORM": "LN",
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.NORM": "LN",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
    "MODEL.ROI_MASK_HEAD.NORM": "LN",
}
CASCADE = {"MODEL.ROI_HEADS.NAME": "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True}
