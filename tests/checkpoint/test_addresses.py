from __future__ import annotations

import pytest

from litepred.checkpoint.addresses import resolve_url
from litepred.errors import CheckpointError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://host/a b/ü.pth?x=%20", "https://host/a%20b/%C3%BC.pth?x=%20"),
        ("HTTP://host/a.pth", "http://host/a.pth"),
        ("detectron2://a/b.pkl", "https://dl.fbaipublicfiles.com/detectron2/a/b.pkl"),
        (
            "catalog://ImageNetPretrained/FAIR/R-50-GN",
            "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/47261647/R-50-GN.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/35858933/e2e_mask_rcnn_R-50-FPN_1x",
            "https://dl.fbaipublicfiles.com/detectron/35858933/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml."
            "01_48_14.DzEQe4wC/output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/36225147/fast_R-50-FPN_1x",
            "https://dl.fbaipublicfiles.com/detectron/36225147/12_2017_baselines/fast_rcnn_R-50-FPN_1x.yaml."
            "08_39_09.L3obSdQ2/output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/35998355/rpn_R-50-C4_1x",
            "https://dl.fbaipublicfiles.com/detectron/35998355/12_2017_baselines/rpn_R-50-C4_1x.yaml."
            "08_00_43.njH5oD9L/output/train/coco_2014_train%3Acoco_2014_valminusminival/rpn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/37697547/e2e_keypoint_rcnn_R-50-FPN_1x",
            "https://dl.fbaipublicfiles.com/detectron/37697547/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml."
            "08_42_54.kdzV35ao/output/train/keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival/"
            "generalized_rcnn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/48616381/e2e_mask_rcnn_R-50-FPN_2x_gn",
            "https://dl.fbaipublicfiles.com/detectron/GN/48616381/04_2018_gn_baselines/e2e_mask_rcnn_R-50-FPN_2x_gn_0416."
            "13_23_38.bTlTI97Q/output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
    ],
)
def test_addresses(url, address):
    assert resolve_url(url) == address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is no address to download from"),
        ("model_final.pth", "is no address to download from"),
        ("https://", "is no address to download from"),
        ("file:///etc/hostname", "given by its plain path"),
        ("ftp://host/model.pth", "expected https://"),
        ("data://text/plain,x", "expected https://"),
        ("catalog://ImageNetPretrained/R-50", "is not known: expected .*ImageNetPretrained/MSRA/R-50,"),
        ("catalog://MSRA/R-50", "is not known"),
        ("catalog://36225147/fast_R-50-FPN_1x", "is not known"),
    ],
)
def test_what_is_no_address(url, message):
    with pytest.raises(CheckpointError, match=message):
        resolve_url(url)
