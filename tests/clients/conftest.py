"""What every client is given: the drop-in in place of Detectron2, two trained models as files, and no network."""

from __future__ import annotations

import dataclasses
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from golden_weights import fill_with_golden_weights

import litepred
from litepred import model_zoo
from litepred.default_model import default_config, example_page
from litepred.drop_in import finder

INSTALL = 'python -m pip install ".[test,clients]"'
IMAGES = Path(__file__).parent.parent / "assets" / "images"
SMALL = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", 192, "INPUT.MAX_SIZE_TEST", 320, "TEST.DETECTIONS_PER_IMAGE", 20]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model on disk as Detectron2's training leaves it, and litepred's own answers from where it was made of."""

    source: litepred.CfgNode
    weights: dict[str, torch.Tensor]
    folder: Path
    image: np.ndarray

    @property
    def config(self) -> str:
        return str(self.folder / "config.yaml")

    @property
    def checkpoint(self) -> str:
        return str(self.folder / "model_final.pth")

    def predictor(self, *opts: object, exact: bool = False) -> litepred.Predictor:
        cfg = self.source.clone()
        cfg.merge_from_list(list(opts))
        return litepred.Predictor(cfg, weights=self.weights, device="cpu", exact=exact)


def client(name: str):
    """Import a client, with the drop-in in place; or skip the test and say how to install it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: {INSTALL}")


@pytest.fixture(scope="package", autouse=True)
def drop_in():
    """The drop-in before the first client is imported, and taken out after the last."""
    load = litepred_norm()._load_from_state_dict
    finder.as_detectron2()
    yield
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, finder._Finder)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "detectron2"]:
        del sys.modules[name]
    litepred_norm()._load_from_state_dict = load  # which transformers replaces


def litepred_norm():
    from litepred.layers import FrozenBatchNorm2d

    return FrozenBatchNorm2d


@pytest.fixture(scope="package", autouse=True)
def no_network():
    def refuse(self, address):
        raise OSError(f"a client wants to connect to {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", refuse)
        yield


def page_layout():
    cfg = default_config()
    return cfg, litepred.Predictor(exact=True).model, cv2.imread(str(example_page()))


def keypoint_rcnn():
    cfg = model_zoo.get_config("COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x")
    cfg.merge_from_list(SMALL)
    model = litepred.build_model(cfg)
    fill_with_golden_weights(model, cfg.MODEL.PIXEL_STD[0])
    return cfg, model, cv2.imread(str(IMAGES / "coffee.png"))


@pytest.fixture(scope="package", params=[page_layout, keypoint_rcnn])
def trained(request, tmp_path_factory, drop_in) -> Trained:
    """A model with masks (and panoptic segments) trained on pages, and one of the zoo with keypoints."""
    from detectron2.checkpoint import DetectionCheckpointer

    cfg, model, image = request.param()
    folder = tmp_path_factory.mktemp(request.param.__name__)
    DetectionCheckpointer(model, str(folder)).save("model_final")
    written = cfg.clone()
    written.MODEL.WEIGHTS = "as/it/was/trained.pth"
    (folder / "config.yaml").write_text(written.dump())
    return Trained(cfg, model.state_dict(), folder, image)
