"""torchvision's detectors, compared live with torchvision itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_answers import differences, image
from golden_weights import golden_tensor
from torchvision.models import detection
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d

from litepred import CheckpointError, ConfigError, Predictor, model_zoo
from litepred.checkpoint.naming import from_torchvision
from litepred.modeling import without_random_init

SIZES = {"min_size": 192, "max_size": 300, "rpn_post_nms_top_n_test": 60, "box_detections_per_img": 25}
RELEASED = {"weights": None, "weights_backbone": None}


def frozen(num_classes: int, **kwargs):
    """As the released Faster R-CNN is built around its weights: frozen norms without an epsilon."""
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d)
    model = detection.FasterRCNN(backbone, num_classes, **kwargs)
    overwrite_eps(model, 0.0)
    return model


MODELS = {
    "fasterrcnn_resnet50_fpn": lambda: detection.fasterrcnn_resnet50_fpn(**RELEASED, **SIZES),
    "fasterrcnn_resnet50_fpn released": lambda: frozen(91, **SIZES),
    "fasterrcnn_resnet50_fpn fine-tuned": lambda: detection.fasterrcnn_resnet50_fpn(**RELEASED, **SIZES, num_classes=4),
    "fasterrcnn_resnet50_fpn_v2": lambda: detection.fasterrcnn_resnet50_fpn_v2(**RELEASED, **SIZES),
    "maskrcnn_resnet50_fpn": lambda: detection.maskrcnn_resnet50_fpn(**RELEASED, **SIZES),
    "maskrcnn_resnet50_fpn_v2": lambda: detection.maskrcnn_resnet50_fpn_v2(**RELEASED, **SIZES, num_classes=12),
    "keypointrcnn_resnet50_fpn": lambda: detection.keypointrcnn_resnet50_fpn(**RELEASED, **SIZES, num_keypoints=5),
}


def golden_model(name: str) -> torch.nn.Module:
    with without_random_init():
        model = MODELS[name]().eval()
    state = model.state_dict()
    for tensor, ours in zip(state.values(), from_torchvision(state)):
        tensor.copy_(golden_tensor(ours, tuple(tensor.shape), 60.0 if "stem" in ours else 1.0))
    return model


def answer_of_torchvision(model: torch.nn.Module, bgr: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        found = model([torch.from_numpy(bgr[:, :, ::-1].copy()).permute(2, 0, 1) / 255])[0]
    golden = {
        "instances.pred_boxes": found["boxes"].numpy(),
        "instances.scores": found["scores"].numpy(),
        "instances.pred_classes": found["labels"].numpy() - 1,
    }
    if "masks" in found:
        masks = (found["masks"][:, 0] > 0.5).numpy()
        golden["instances.pred_masks"] = np.packbits(masks, axis=-1)
        golden["instances.pred_masks.shape"] = np.array(masks.shape)
    if "keypoints" in found:
        golden["instances.pred_keypoints"] = torch.cat(
            [found["keypoints"][:, :, :2], found["keypoints_scores"][:, :, None]], dim=2
        ).numpy()
    return golden


def our_predictor(state: dict) -> Predictor:
    predictor = Predictor.from_torchvision(state, device="cpu", exact=True)
    predictor.model.min_size, predictor.model.max_size = SIZES["min_size"], SIZES["max_size"]
    predictor.model.proposal_generator.post_nms_topk[False] = SIZES["rpn_post_nms_top_n_test"]
    predictor.model.roi_heads.box_predictor.test_topk_per_image = SIZES["box_detections_per_img"]
    return predictor


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_torchvisions(name):
    model = golden_model(name)
    predictor = our_predictor(model.state_dict())
    for bgr in (image("coffee"), image("astronaut")[:, :333]):
        golden = answer_of_torchvision(model, bgr)
        assert len(golden["instances.scores"]) > 20
        assert differences(predictor(bgr), golden) == []


@pytest.mark.zoo
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_torchvisions_at_full_size(name):
    model = golden_model(name)
    model.transform.min_size, model.transform.max_size = (800,), 1333
    model.rpn._post_nms_top_n["testing"], model.roi_heads.detections_per_img = 1000, 100
    predictor = Predictor.from_torchvision(model.state_dict(), device="cpu", exact=True)
    for bgr in (image("coffee"), image("astronaut")):
        assert differences(predictor(bgr), answer_of_torchvision(model, bgr)) == []


def test_batches_answer_as_one_by_one():
    predictor = our_predictor(golden_model("fasterrcnn_resnet50_fpn").state_dict())
    images = [image("coffee"), image("astronaut"), image("coffee")[:, ::-1]]
    for one, batched in zip(images, predictor.batch(images, batch_size=3)):
        torch.testing.assert_close(
            predictor(one)["instances"].pred_boxes.tensor, batched["instances"].pred_boxes.tensor, rtol=0, atol=0.02
        )


def test_a_file_by_name_of_its_config(tmp_path, monkeypatch):
    """With random weights the rounding of some mixtures of the ways to compute layers moves an instance too far."""
    monkeypatch.setenv("LITEPRED_CHOICES", "usual")
    model = golden_model("maskrcnn_resnet50_fpn")
    torch.save(model.state_dict(), tmp_path / "model.pth")
    cfg = model_zoo.get_config("torchvision/maskrcnn_resnet50_fpn")
    cfg.merge_from_list(["MODEL.RESNETS.NORM", "BN", "INPUT.MIN_SIZE_TEST", 192, "INPUT.MAX_SIZE_TEST", 300])
    cfg.merge_from_list(["MODEL.RPN.POST_NMS_TOPK_TEST", 60, "TEST.DETECTIONS_PER_IMAGE", 25])
    predictor = Predictor(cfg, weights=tmp_path / "model.pth", device="cpu")
    assert differences(predictor(image("coffee")), answer_of_torchvision(model, image("coffee"))) == []
    assert predictor.metadata.thing_classes[:2] == ["person", "bicycle"]
    assert predictor.metadata.thing_classes[89] == "toothbrush"


def test_classes_of_a_fine_tuned_model_are_not_cocos(tmp_path):
    torch.save(golden_model("fasterrcnn_resnet50_fpn fine-tuned").state_dict(), tmp_path / "model.pth")
    predictor = Predictor.from_torchvision(tmp_path / "model.pth", class_names=["a", "b", "c"], device="cpu")
    assert predictor.cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert predictor.metadata.thing_classes == ["a", "b", "c"]
    assert Predictor.from_torchvision(tmp_path / "model.pth", device="cpu").metadata.get("thing_classes") is None
    with pytest.raises(ConfigError, match="2 names"):
        Predictor.from_torchvision(tmp_path / "model.pth", class_names=["a", "b"])


def test_names_of_a_wrapped_model():
    state = golden_model("fasterrcnn_resnet50_fpn fine-tuned").state_dict()
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    assert Predictor.from_torchvision(wrapped, device="cpu").cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3


def test_names_of_older_files():
    """Files of torchvision before 0.14 have fewer levels in their names."""
    state = golden_model("fasterrcnn_resnet50_fpn").state_dict()
    old = {
        key.replace("_blocks.0.0.", "_blocks.0.").replace("rpn.head.conv.0.0.", "rpn.head.conv."): value
        for key, value in state.items()
    }
    assert old.keys() != state.keys()
    assert from_torchvision(old).keys() == from_torchvision(state).keys()


@pytest.mark.parametrize("state", [{}, {"layer1.0.conv1.weight": torch.zeros(1)}])
def test_other_models_are_refused(state):
    with pytest.raises(CheckpointError, match="no state dict of torchvision's"):
        Predictor.from_torchvision(state)


def test_addresses_of_the_released_weights():
    url = model_zoo.get_checkpoint_url("torchvision/maskrcnn_resnet50_fpn_v2")
    assert url.startswith("https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2")
