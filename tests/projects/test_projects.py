"""Projects that are built on Detectron2, run by their own code (``python -m pytest -m projects``).

LITEPRED_PROJECTS names a folder with a checkout of each project, in a folder of its name; a project that is not there
is skipped. With LITEPRED_DETECTRON2, a checkout of Detectron2 that is built, the answers must be Detectron2's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = os.environ.get("LITEPRED_PROJECTS", "")
DETECTRON2 = os.environ.get("LITEPRED_DETECTRON2", "")

# folder, the function of run_project.py that makes its config, the config
PROJECTS = [
    ("Mask2Former", "mask2former", "configs/coco/instance-segmentation/maskformer2_R50_bs16_50ep.yaml"),
    ("Mask2Former", "mask2former", "configs/coco/panoptic-segmentation/maskformer2_R50_bs16_50ep.yaml"),
    ("Mask2Former", "mask2former", "configs/coco/instance-segmentation/swin/maskformer2_swin_tiny_bs16_50ep.yaml"),
    ("Mask2Former", "mask2former", "configs/ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml"),
    ("MaskFormer", "maskformer", "configs/ade20k-150/maskformer_R50_bs16_160k.yaml"),
    ("MaskDINO", "maskdino", "configs/coco/instance-segmentation/maskdino_R50_bs16_50ep_3s.yaml"),
    ("AdelaiDet", "adelaidet", "configs/FCOS-Detection/R_50_1x.yaml"),
    ("AdelaiDet", "adelaidet", "configs/BlendMask/R_50_1x.yaml"),
    ("AdelaiDet", "adelaidet", "configs/SOLOv2/R50_3x.yaml"),
    ("CenterNet2", "centernet2", "configs/CenterNet2_R50_1x.yaml"),
    ("centermask2", "centermask2", "configs/centermask/centermask_V_39_eSE_FPN_ms_3x.yaml"),
    ("detectron2", "pointrend", "projects/PointRend/configs/InstanceSegmentation/pointrend_rcnn_R_50_FPN_3x_coco.yaml"),
    (
        "detectron2",
        "pointrend",
        "projects/PointRend/configs/SemanticSegmentation/pointrend_semantic_R_101_FPN_1x_cityscapes.yaml",
    ),
    ("detectron2", "lazy", "projects/MViTv2/configs/mask_rcnn_mvitv2_t_3x.py"),
    ("detectron2", "lazy", "projects/Rethinking-BatchNorm/configs/mask_rcnn_BNhead.py"),
    ("detectron2", "tridentnet", "projects/TridentNet/configs/tridentnet_fast_R_50_C4_1x.yaml"),
    (
        "detectron2",
        "deeplab",
        "projects/DeepLab/configs/Cityscapes-SemanticSegmentation/deeplab_v3_plus_R_103_os16_mg124_poly_90k_bs16.yaml",
    ),
]


@pytest.mark.projects
@pytest.mark.parametrize(("folder", "kind", "config"), PROJECTS, ids=lambda one: one.replace("/", "-")[-50:])
def test_it_runs_by_its_own_code(tmp_path, folder, kind, config):
    if not FOLDER or not (Path(FOLDER) / folder).is_dir():
        pytest.skip(f"LITEPRED_PROJECTS has no {folder}")
    answers = {}
    for by, more in [("detectron2", [DETECTRON2])] * bool(DETECTRON2) + [("litepred", [])]:
        script = str(Path(__file__).with_name("run_project.py"))
        arguments = [f"{kind}:{config}", str(tmp_path / "weights.pth"), str(tmp_path / f"{by}.npz"), *more]
        done = subprocess.run(
            [sys.executable, script, *arguments], cwd=Path(FOLDER) / folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{by}: {done.stderr[-2000:]}"
        answers[by] = np.load(tmp_path / f"{by}.npz")
    assert list(answers["litepred"])
    for name, value in answers.get("detectron2", {}).items():
        assert np.array_equal(answers["litepred"][name], value), name
