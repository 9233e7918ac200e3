"""The short addresses that Detectron2's configs use for weights, spelled out."""

from __future__ import annotations

import string
from urllib.parse import quote

from ..errors import CheckpointError

__all__ = ["resolve_url"]

_DETECTRON1 = "https://dl.fbaipublicfiles.com/detectron/"
_PREFIXES = {"detectron2": "https://dl.fbaipublicfiles.com/detectron2/", "http": "http://", "https": "https://"}

# Below catalog://ImageNetPretrained/
_IMAGENET = {
    "MSRA/R-50": "MSRA/R-50.pkl",
    "MSRA/R-101": "MSRA/R-101.pkl",
    "FAIR/R-50-GN": "47261647/R-50-GN.pkl",
    "FAIR/R-101-GN": "47592356/R-101-GN.pkl",
    "FAIR/X-101-32x8d": "20171220/X-101-32x8d.pkl",
    "FAIR/X-101-64x4d": "FBResNeXt/X-101-64x4d.pkl",
    "FAIR/X-152-32x8d-IN5k": "25093814/X-152-32x8d-IN5k.pkl",
}

# Below catalog://Caffe2Detectron/COCO/: the end of the training run's folder.
_CAFFE2 = {
    "35857197/e2e_faster_rcnn_R-50-C4_1x": "01_33_49.iAX0mXvW",
    "35857345/e2e_faster_rcnn_R-50-FPN_1x": "01_36_30.cUF7QR7I",
    "35857890/e2e_faster_rcnn_R-101-FPN_1x": "01_38_50.sNxI7sX7",
    "36761737/e2e_faster_rcnn_X-101-32x8d-FPN_1x": "06_31_39.5MIHi1fZ",
    "35858791/e2e_mask_rcnn_R-50-C4_1x": "01_45_57.ZgkA7hPB",
    "35858933/e2e_mask_rcnn_R-50-FPN_1x": "01_48_14.DzEQe4wC",
    "35861795/e2e_mask_rcnn_R-101-FPN_1x": "02_31_37.KqyEK4tT",
    "36761843/e2e_mask_rcnn_X-101-32x8d-FPN_1x": "06_35_59.RZotkLKI",
    "48616381/e2e_mask_rcnn_R-50-FPN_2x_gn": "13_23_38.bTlTI97Q",
    "37697547/e2e_keypoint_rcnn_R-50-FPN_1x": "08_42_54.kdzV35ao",
    "35998355/rpn_R-50-C4_1x": "08_00_43.njH5oD9L",
    "35998814/rpn_R-50-FPN_1x": "08_06_03.Axg0r179",
    "36225147/fast_R-50-FPN_1x": "08_39_09.L3obSdQ2",
}


def resolve_url(url: str) -> str:
    """Turn an address as configs give it into one of http or https.

    Args:
        url: ``https://…``, ``http://…``, ``detectron2://…`` (Detectron2's released files),
            ``catalog://ImageNetPretrained/…`` or ``catalog://Caffe2Detectron/COCO/…``.

    Raises:
        CheckpointError: when it starts otherwise, or the catalog has no such entry.
    """
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "catalog":
        return _DETECTRON1 + _catalog_path(rest)
    if scheme.lower() not in _PREFIXES or not rest:
        raise CheckpointError(
            f"{url!r} is no address to download from: expected https://, http://, detectron2:// or catalog://. "
            "A file on this machine is given by its plain path"
        )
    return quote(_PREFIXES[scheme.lower()] + rest, safe=string.punctuation)


def _catalog_path(name: str) -> str:
    imagenet = name.removeprefix("ImageNetPretrained/")
    if imagenet != name and imagenet in _IMAGENET:
        return f"ImageNetPretrained/{_IMAGENET[imagenet]}"
    model = name.removeprefix("Caffe2Detectron/COCO/")
    if model == name or model not in _CAFFE2:
        known = [f"ImageNetPretrained/{entry}" for entry in _IMAGENET] + [f"Caffe2Detectron/COCO/{e}" for e in _CAFFE2]
        raise CheckpointError(f"catalog://{name} is not known: expected catalog:// and one of {', '.join(known)}")
    if model.endswith("_gn"):
        run = f"GN/{model.replace('/', '/04_2018_gn_baselines/')}_0416"
    else:
        run = model.replace("/", "/12_2017_baselines/").replace("/fast_R", "/fast_rcnn_R") + ".yaml"
    people = "keypoints_" if "keypoint" in model else ""
    data = f"{people}coco_2014_train%3A{people}coco_2014_valminusminival"
    kind = "rpn" if model.endswith("/rpn_R-50-C4_1x") else "generalized_rcnn"
    return f"{run}.{_CAFFE2[model]}/output/train/{data}/{kind}/model_final.pkl"
