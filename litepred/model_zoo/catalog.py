"""The table of released checkpoints, and the way from a model's name to its config, weights and model.

A name is a config's path below ``configs/``, such as ``COCO-Detection/faster_rcnn_R_50_FPN_3x``; an ending ``.yaml``
or ``.py`` makes no difference.
"""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import CfgNode, get_cfg
from ..errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file", "list_names"]

_CONFIGS = Path(__file__).resolve().parent / "configs"
_ADDRESS = "https://dl.fbaipublicfiles.com/"  # below it, DensePose/… is densepose/…, all else is in detectron2/
_RELEASED = {
    "COCO-Detection/fast_rcnn_R_50_FPN_1x": "137635226/model_final_e5f7ce.pkl",
    "COCO-Detection/faster_rcnn_R_101_C4_3x": "138204752/model_final_298dad.pkl",
    "COCO-Detection/faster_rcnn_R_101_DC5_3x": "138204841/model_final_3e0943.pkl",
    "COCO-Detection/faster_rcnn_R_101_FPN_3x": "137851257/model_final_f6e8b1.pkl",
    "COCO-Detection/faster_rcnn_R_50_C4_1x": "137257644/model_final_721ade.pkl",
    "COCO-Detection/faster_rcnn_R_50_C4_3x": "137849393/model_final_f97cb7.pkl",
    "COCO-Detection/faster_rcnn_R_50_DC5_1x": "137847829/model_final_51d356.pkl",
    "COCO-Detection/faster_rcnn_R_50_DC5_3x": "137849425/model_final_68d202.pkl",
    "COCO-Detection/faster_rcnn_R_50_FPN_1x": "137257794/model_final_b275ba.pkl",
    "COCO-Detection/faster_rcnn_R_50_FPN_3x": "137849458/model_final_280758.pkl",
    "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x": "139173657/model_final_68b088.pkl",
    "COCO-Detection/retinanet_R_101_FPN_3x": "190397697/model_final_971ab9.pkl",
    "COCO-Detection/retinanet_R_50_FPN_1x": "190397773/model_final_bfca0b.pkl",
    "COCO-Detection/retinanet_R_50_FPN_3x": "190397829/model_final_5bd44e.pkl",
    "COCO-Detection/rpn_R_50_C4_1x": "137258005/model_final_450694.pkl",
    "COCO-Detection/rpn_R_50_FPN_1x": "137258492/model_final_02ce48.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_C4_3x": "138363239/model_final_a2914c.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_DC5_3x": "138363294/model_final_0464b7.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x": "138205316/model_final_a3ec72.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x": "137259246/model_final_9243eb.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x": "137849525/model_final_4ce675.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_1x": "137260150/model_final_4f86c3.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x": "137849551/model_final_84107b.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "137260431/model_final_a54504.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x": "137849600/model_final_f10217.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x": "139653917/model_final_2d9806.pkl",
    "COCO-Keypoints/keypoint_rcnn_R_101_FPN_3x": "138363331/model_final_997cc7.pkl",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x": "137261548/model_final_04e291.pkl",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x": "137849621/model_final_a6e10b.pkl",
    "COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x": "139686956/model_final_5ad38f.pkl",
    "COCO-PanopticSegmentation/panoptic_fpn_R_101_3x": "139514519/model_final_cafdb1.pkl",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x": "139514544/model_final_dbfeb4.pkl",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x": "139514569/model_final_c10459.pkl",
    "Cityscapes/mask_rcnn_R_50_FPN": "142423278/model_final_af9cf5.pkl",
    "Detectron1-Comparisons/faster_rcnn_R_50_FPN_noaug_1x": "137781054/model_final_7ab50c.pkl",
    "Detectron1-Comparisons/keypoint_rcnn_R_50_FPN_1x": "137781195/model_final_cce136.pkl",
    "Detectron1-Comparisons/mask_rcnn_R_50_FPN_noaug_1x": "137781281/model_final_62ca52.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_DL_WC1M_s1x": "216245771/model_final_0ebeb3.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_DL_WC1_s1x": "173858525/model_final_f359f3.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_DL_WC2M_s1x": "216245790/model_final_de6e7a.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_DL_WC2_s1x": "173294801/model_final_6e1ed1.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_DL_s1x": "165712116/model_final_844d15.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_WC1M_s1x": "216453687/model_final_0a7287.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_WC1_s1x": "171402969/model_final_9e47f0.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_WC2M_s1x": "216245682/model_final_e354d9.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_WC2_s1x": "173860702/model_final_5ea023.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_s1x": "165712084/model_final_c6ab63.pkl",
    "DensePose/densepose_rcnn_R_101_FPN_s1x_legacy": "164832182/model_final_10af0e.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_DL_WC1M_s1x": "216245703/model_final_61971e.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_DL_WC1_s1x": "173067973/model_final_b1e525.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_DL_WC2M_s1x": "216245758/model_final_7bfb43.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_DL_WC2_s1x": "173859335/model_final_60fed4.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_DL_s1x": "165712097/model_final_0ed407.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_WC1M_s1x": "217144516/model_final_48a9d9.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_WC1_s1x": "173862049/model_final_289019.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_WC2M_s1x": "216245640/model_final_d79ada.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_WC2_s1x": "173861455/model_final_3abe14.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_s1x": "165712039/model_final_162be9.pkl",
    "DensePose/densepose_rcnn_R_50_FPN_s1x_legacy": "164832157/model_final_d366fa.pkl",
    "DensePose/evolution/densepose_R_50_FPN_DL_WC1M_3x_Atop10P_CA": "217578784/model_final_9fe1cc.pkl",
    "DensePose/evolution/densepose_R_50_FPN_DL_WC1M_3x_Atop10P_CA_B_coarsesegm": "256455697/model_final_a6a4bf.pkl",
    "DensePose/evolution/densepose_R_50_FPN_DL_WC1M_3x_Atop10P_CA_B_finesegm": "256452819/model_final_cb4ac6.pkl",
    "DensePose/evolution/densepose_R_50_FPN_DL_WC1M_3x_Atop10P_CA_B_uniform": "256453729/model_final_241ff5.pkl",
    "DensePose/evolution/densepose_R_50_FPN_DL_WC1M_3x_Atop10P_CA_B_uv": "256452095/model_final_d689e2.pkl",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_101_FPN_1x": "144219035/model_final_824ab5.pkl",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "144219072/model_final_571f7c.pkl",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x": "144219108/model_final_5e3439.pkl",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x": "138602847/model_final_e9d89b.pkl",
    "Misc/cascade_mask_rcnn_R_50_FPN_3x": "144998488/model_final_480dd8.pkl",
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv": "18131413/model_0039999_e76410.pkl",
    "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5": "138602867/model_final_65c703.pkl",
    "Misc/mask_rcnn_R_50_FPN_3x_dconv_c3-c5": "144998336/model_final_821d0b.pkl",
    "Misc/mask_rcnn_R_50_FPN_3x_gn": "138602888/model_final_dc5d9e.pkl",
    "Misc/mask_rcnn_R_50_FPN_3x_syncbn": "169527823/model_final_3b3c51.pkl",
    "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x": "139797668/model_final_be35db.pkl",
    "Misc/scratch_mask_rcnn_R_50_FPN_3x_gn": "138602908/model_final_01ca85.pkl",
    "Misc/scratch_mask_rcnn_R_50_FPN_9x_gn": "183808979/model_final_da7b4c.pkl",
    "Misc/scratch_mask_rcnn_R_50_FPN_9x_syncbn": "184226666/model_final_5ce33e.pkl",
    "PascalVOC-Detection/faster_rcnn_R_50_C4": "142202221/model_final_b1acc2.pkl",
    "new_baselines/mask_rcnn_R_101_FPN_100ep_LSJ": "42025812/model_final_4f7b58.pkl",
    "new_baselines/mask_rcnn_R_101_FPN_200ep_LSJ": "42131867/model_final_0bb7ae.pkl",
    "new_baselines/mask_rcnn_R_101_FPN_400ep_LSJ": "42073830/model_final_f96b26.pkl",
    "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ": "42047764/model_final_bb69de.pkl",
    "new_baselines/mask_rcnn_R_50_FPN_200ep_LSJ": "42047638/model_final_89a8d3.pkl",
    "new_baselines/mask_rcnn_R_50_FPN_400ep_LSJ": "42019571/model_final_14d201.pkl",
    "new_baselines/mask_rcnn_regnetx_4gf_dds_FPN_100ep_LSJ": "42047771/model_final_b7fbab.pkl",
    "new_baselines/mask_rcnn_regnetx_4gf_dds_FPN_200ep_LSJ": "42132721/model_final_5d87c1.pkl",
    "new_baselines/mask_rcnn_regnetx_4gf_dds_FPN_400ep_LSJ": "42025447/model_final_f1362d.pkl",
    "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_100ep_LSJ": "42047784/model_final_6ba57e.pkl",
    "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_200ep_LSJ": "42047642/model_final_27b9c1.pkl",
    "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ": "42045954/model_final_ef3a80.pkl",
}


class _ZooError(ConfigError, RuntimeError):
    """The zoo does not have what was asked for; callers of Detectron2's zoo catch a RuntimeError."""


def get_config_file(name: str) -> str:
    """Return the absolute path of a config, a YAML file that comes with the package.

    Args:
        name: one of `list_names`, or one of the ``Base-`` files that those inherit from.

    Raises:
        ConfigError: (also a RuntimeError) when there is no such config; it names the nearest ones.
    """
    return str(_CONFIGS / f"{_stem(name)}.yaml")


def get_checkpoint_url(name: str) -> str:
    """Return the address of the checkpoint that was released for a config.

    Raises:
        ConfigError: (also a RuntimeError) when there is no such config, or no checkpoint of it.
    """
    stem = _stem(name)
    if stem.startswith("torchvision/"):
        from torchvision.models import get_model_weights

        return get_model_weights(Path(stem).name).DEFAULT.url
    if stem not in _RELEASED:
        near = difflib.get_close_matches(stem, _RELEASED, n=1, cutoff=0.0)
        raise _ZooError(
            f"no checkpoint was released for {stem!r}: only its config is in the model zoo. Set MODEL.WEIGHTS to "
            f"weights of your own, or take a model that has some, such as {near[0]!r}"
        )
    folder = stem.replace("DensePose/", "densepose/") if stem.startswith("DensePose/") else f"detectron2/{stem}"
    return f"{_ADDRESS}{folder}/{_RELEASED[stem]}"


def get_config(name: str, trained: bool = False) -> CfgNode:
    """Return a fresh config.

    Args:
        name: one of `list_names`.
        trained: set ``MODEL.WEIGHTS`` to the address of the released checkpoint; otherwise it is empty.

    Raises:
        ConfigError: (also a RuntimeError) when there is no such config, or no checkpoint of it where one is asked for.
    """
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(name))
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(name)
    return cfg


def get(name: str, trained: bool = True, device: str | torch.device | None = None) -> nn.Module:
    """Build a model.

    Args:
        name: one of `list_names`.
        trained: load the released checkpoint, downloading it if need be; otherwise the weights are random.
        device: where the model goes; ``None`` for CUDA if there is any, else the CPU.

    Returns:
        The model in evaluation mode, ``model(list[dict]) -> list[dict]``.

    Raises:
        ConfigError: (also a RuntimeError) when there is no such config, or no checkpoint of it where one is asked for.
        CheckpointError: when the checkpoint cannot be downloaded or read.
    """
    import torch

    from ..checkpoint import DetectionCheckpointer
    from ..modeling import build_model, without_random_init

    cfg = get_config(name, trained)
    cfg.MODEL.DEVICE = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if not trained:
        return build_model(cfg)
    with without_random_init():
        model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def list_names() -> list[str]:
    """Return the names of all models, with a released checkpoint or without, sorted."""
    return [stem for stem in _stems() if not Path(stem).name.startswith("Base-")]


@functools.cache
def _stems() -> tuple[str, ...]:
    return tuple(sorted(file.relative_to(_CONFIGS).with_suffix("").as_posix() for file in _CONFIGS.rglob("*.yaml")))


def _stem(name: str) -> str:
    stem = name.removesuffix(".yaml").removesuffix(".py")
    if stem in _stems():
        return stem
    names = list_names()
    near = [one for one in names if Path(one).name == stem] or difflib.get_close_matches(stem, names, n=3)
    raise _ZooError(
        f"{name!r} is not in the model zoo: expected a name such as {', '.join(near or names[:1])} "
        "(model_zoo.list() has them all). A config file of your own is read by cfg.merge_from_file(path)"
    )
