"""The keys that DensePose adds to a config.

No other config gets them. Those that steer training are among them, so that any config of DensePose merges; the
sections of evaluation, and of models that litepred does not run (HRNet, continuous surface embeddings), take any key.
"""

from __future__ import annotations

import copy
from typing import Any

from ..config import CfgNode

__all__ = ["add_densepose_config"]


# An empty mapping is a section that takes any key.
_KEYS: dict[str, Any] = {
    "MODEL": {
        "DENSEPOSE_ON": True,
        "ROI_DENSEPOSE_HEAD": {
            "NAME": "",
            "NUM_STACKED_CONVS": 8,
            "CONV_HEAD_DIM": 512,
            "CONV_HEAD_KERNEL": 3,
            "NUM_PATCHES": 24,  # body parts; the maps have a channel more, for background
            "NUM_COARSE_SEGM_CHANNELS": 2,  # or 15
            "DECONV_KERNEL": 4,
            "UP_SCALE": 2,
            "POOLER_TYPE": "ROIAlignV2",
            "POOLER_RESOLUTION": 28,
            "POOLER_SAMPLING_RATIO": 2,
            "DECODER_ON": True,
            "DECODER_NUM_CLASSES": 256,  # output channels
            "DECODER_CONV_DIMS": 256,
            "DECODER_NORM": "",
            "DECODER_COMMON_STRIDE": 4,
            "DEEPLAB": {"NORM": "GN", "NONLOCAL_ON": 0},
            "PREDICTOR_NAME": "DensePoseChartWithConfidencePredictor",
            "UV_CONFIDENCE": {"ENABLED": False, "EPSILON": 0.01, "TYPE": "iid_iso"},  # EPSILON is for training
            "SEGM_CONFIDENCE": {"ENABLED": False, "EPSILON": 0.01},
            "HEATMAP_SIZE": 112,  # for training; the maps are POOLER_RESOLUTION × 2 × UP_SCALE wide
            # training
            "LOSS_NAME": "DensePoseChartWithConfidenceLoss",
            "FG_IOU_THRESHOLD": 0.7,
            "INDEX_WEIGHTS": 5.0,
            "PART_WEIGHTS": 1.0,
            "POINT_REGRESSION_WEIGHTS": 0.01,
            "COARSE_SEGM_TRAINED_BY_MASKS": False,
            "CSE": {},
        },
        "HRNET": {},
    },
    "INPUT": {"ROTATION_ANGLES": [0]},
    "TEST": {"AUG": {"ROTATION_ANGLES": ()}},
    "DATASETS": {"CATEGORY_MAPS": {}, "WHITELISTED_CATEGORIES": {}, "CLASS_TO_MESH_NAME_MAPPING": {}},
    "BOOTSTRAP_DATASETS": [],
    "BOOTSTRAP_MODEL": {},
    "DENSEPOSE_EVALUATION": {},
}


def add_densepose_config(cfg: CfgNode) -> None:
    """Add DensePose's keys with their defaults to a config from ``get_cfg()``; keys that it has keep their values.

    Raises:
        AttributeError: The config is frozen.
    """
    _add(cfg, _KEYS)


def _add(section: CfgNode, keys: dict[str, Any]) -> None:
    for key, value in keys.items():
        if not isinstance(value, dict):
            if key not in section:
                setattr(section, key, copy.copy(value))
            continue
        if key not in section:
            setattr(section, key, type(section)(new_allowed=not value))
        _add(section[key], value)
