"""The keys that DensePose adds to a config.

No other config gets them. Keys of training, evaluation, HRNet and continuous surface embeddings are among them, so
that any config of DensePose merges.
"""

from __future__ import annotations

import copy
from typing import Any

from ..config import CfgNode

__all__ = ["add_densepose_config"]


def _hrnet_stage(modules: int, branches: int) -> dict[str, Any]:
    return {
        "NUM_MODULES": modules,
        "NUM_BRANCHES": branches,
        "BLOCK": "BASIC",
        "NUM_BLOCKS": [4] * branches,
        "NUM_CHANNELS": [32 * 2**i for i in range(branches)],
        "FUSE_METHOD": "SUM",
    }


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
            "CSE": {
                "EMBEDDERS": {},
                "EMBED_SIZE": 16,
                "EMBEDDING_DIST_GAUSS_SIGMA": 0.01,
                "GEODESIC_DIST_GAUSS_SIGMA": 0.01,
                "EMBED_LOSS_WEIGHT": 0.6,
                "EMBED_LOSS_NAME": "EmbeddingLoss",
                "FEATURES_LR_FACTOR": 1.0,
                "EMBEDDING_LR_FACTOR": 1.0,
                "SHAPE_TO_SHAPE_CYCLE_LOSS": {
                    "ENABLED": False,
                    "WEIGHT": 0.025,
                    "NORM_P": 2,
                    "TEMPERATURE": 0.05,
                    "MAX_NUM_VERTICES": 4936,
                },
                "PIX_TO_SHAPE_CYCLE_LOSS": {
                    "ENABLED": False,
                    "WEIGHT": 0.0001,
                    "NORM_P": 2,
                    "USE_ALL_MESHES_NOT_GT_ONLY": False,
                    "NUM_PIXELS_TO_SAMPLE": 100,
                    "PIXEL_SIGMA": 5.0,
                    "TEMPERATURE_PIXEL_TO_VERTEX": 0.05,
                    "TEMPERATURE_VERTEX_TO_PIXEL": 0.05,
                },
            },
        },
        "HRNET": {
            "STEM_INPLANES": 64,
            "STAGE2": _hrnet_stage(1, 2),
            "STAGE3": _hrnet_stage(4, 3),
            "STAGE4": _hrnet_stage(3, 4),
            "HRFPN": {"OUT_CHANNELS": 256},
        },
    },
    "INPUT": {"ROTATION_ANGLES": [0]},
    "TEST": {"AUG": {"ROTATION_ANGLES": ()}},
    "DATASETS": {"CATEGORY_MAPS": {}, "WHITELISTED_CATEGORIES": {}, "CLASS_TO_MESH_NAME_MAPPING": {}},
    "BOOTSTRAP_DATASETS": [],
    "BOOTSTRAP_MODEL": {"WEIGHTS": "", "DEVICE": "cuda"},
    "DENSEPOSE_EVALUATION": {
        "TYPE": "iou",
        "STORAGE": "none",
        "MIN_IOU_THRESHOLD": 0.5,
        "DISTRIBUTED_INFERENCE": True,
        "EVALUATE_MESH_ALIGNMENT": False,
        "MESH_ALIGNMENT_MESH_NAMES": [],
    },
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
