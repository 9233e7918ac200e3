"""Every family as an ONNX file, held against its predictor on images of different sizes and on an empty one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import golden, tiny_cfg, tiny_image

from litepred import ConfigError, LitepredError, Predictor, extensions, model_zoo
from litepred.structures import Boxes, Instances

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from litepred.export import export_onnx, onnx_file  # noqa: E402
from litepred.export.graph import flatten, unflatten, without_winograd  # noqa: E402
from litepred.layers import Conv2d, WinogradConv2d  # noqa: E402

_WIDE = {  # channels that are multiples of the 32 groups of a group norm
    "RESNETS__STEM_OUT_CHANNELS": 32,
    "RESNETS__RES2_OUT_CHANNELS": 32,
    "RESNETS__WIDTH_PER_GROUP": 32,
    "FPN__OUT_CHANNELS": 32,
}
FAMILIES = {
    "RetinaNet": ("retinanet", {}),
    "RetinaNet that finds nothing": ("retinanet", {"RETINANET__SCORE_THRESH_TEST": 1.5}),
    "Panoptic FPN": ("panoptic", {}),
}
NOTHING = {"ROI_HEADS__SCORE_THRESH_TEST": 1.5}
MORE_FAMILIES = {  # half a minute each
    "Mask and Keypoint R-CNN": ("fpn", {"MASK_ON": True, "KEYPOINT_ON": True}),
    "Mask and Keypoint R-CNN that find nothing": ("fpn", {"MASK_ON": True, "KEYPOINT_ON": True, **NOTHING}),
    "Cascade R-CNN that finds nothing": ("cascade", {"MASK_ON": True, **NOTHING}),
    "DensePose that finds nobody": ("densepose", {"DENSEPOSE_ON": True, **NOTHING}),
    "C4": ("c4", {"MASK_ON": True}),
    "Cascade R-CNN": ("cascade", {"MASK_ON": True}),
    "Faster R-CNN": ("fpn", {}),
    "one box and one mask for all classes": (
        "fpn",
        {"MASK_ON": True, "ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG": True, "ROI_MASK_HEAD__CLS_AGNOSTIC_MASK": True},
    ),
    "RPN": ("proposals", {}),
    "Fast R-CNN with given proposals": ("precomputed", {"MASK_ON": True}),
    "Semantic FPN": ("semantic", {}),
    "DC5": ("c4", {"RESNETS__RES5_DILATION": 2, "ROI_HEADS__NAME": "StandardROIHeads"}),
    "ResNeXt": ("fpn", {"RESNETS__NUM_GROUPS": 2}),
    "GN": ("fpn", {**_WIDE, "MASK_ON": True, "RESNETS__NORM": "GN", "FPN__NORM": "GN"}),
    "deformable": ("fpn", {"RESNETS__DEFORM_ON_PER_STAGE": [False, True, True, True]}),
    "modulated deformable": (
        "fpn",
        {"RESNETS__DEFORM_ON_PER_STAGE": [False, True, True, True], "RESNETS__DEFORM_MODULATED": True},
    ),
    "DensePose": ("densepose", {"DENSEPOSE_ON": True}),
    "DensePose without decoder": ("densepose", {"DENSEPOSE_ON": True, "ROI_DENSEPOSE_HEAD__DECODER_ON": False}),
}
IMAGES = [
    tiny_image(120, 150).permute(1, 2, 0).numpy(),
    tiny_image(40, 30).permute(1, 2, 0).numpy(),
    np.full((64, 80, 3), 255, np.uint8),
]


def predictor_of(family, **options):
    base, changes = {**FAMILIES, **MORE_FAMILIES}[family]
    cfg = tiny_cfg(base, **changes)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 160, 256
    return Predictor(cfg, weights=golden(cfg).state_dict(), **options)


def inputs_of(predictor, image):
    inputs = predictor.prepare(image)
    if predictor.cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
        size = tuple(inputs["image"].shape[1:])
        boxes = torch.tensor([[4.0, 4, 60, 50], [8, 16, 90, 70], [0, 0, 30, 60]])
        inputs["proposals"] = Instances(size, proposal_boxes=Boxes(boxes))
    return inputs


def assert_the_same_field(found, expected):
    if isinstance(expected, Boxes):
        torch.testing.assert_close(found.tensor, expected.tensor, atol=0.02, rtol=0)
    elif not isinstance(expected, torch.Tensor):  # DensePose's maps
        for name, value in vars(expected).items():
            if value is not None:
                torch.testing.assert_close(getattr(found, name), value, atol=1e-3, rtol=1e-3)
    elif expected.dtype == torch.bool:
        assert (found != expected).sum() <= 1e-3 * expected.numel()
    else:
        torch.testing.assert_close(found, expected, atol=5e-4, rtol=1e-4)


def in_order(instances):
    """Sort by place, since rounding decides about the order where scores are equal, as in an empty image."""
    boxes = instances.get("pred_boxes" if instances.has("pred_boxes") else "proposal_boxes").tensor
    return instances[np.lexsort(boxes.round().T.numpy()).tolist()] if len(instances) else instances


def assert_the_same(found, expected):
    assert list(found) == list(expected)
    for name in ("instances", "proposals"):
        if name not in expected:
            continue
        one, other = found[name], expected[name]
        assert one.get_fields().keys() == other.get_fields().keys()
        assert one.image_size == other.image_size and len(one) == len(other)
        one, other = in_order(one), in_order(other)
        for field, value in other.get_fields().items():
            assert_the_same_field(one.get(field), value)
    if "sem_seg" in expected:
        torch.testing.assert_close(found["sem_seg"], expected["sem_seg"], atol=1e-3, rtol=1e-3)
    if "panoptic_seg" in expected:
        (found_map, found_segments), (expected_map, expected_segments) = found["panoptic_seg"], expected["panoptic_seg"]
        assert (found_map != expected_map).float().mean() < 1e-3
        assert [one["category_id"] for one in found_segments] == [one["category_id"] for one in expected_segments]


def check_family(family, folder, **options):
    predictor = predictor_of(family)
    path = folder / "model.onnx"
    report = export_onnx(predictor, path, check=IMAGES, **options)
    assert report.images == 3 and report.num_bytes == path.stat().st_size
    assert list(report.differences) == list(report.outputs)
    again = Predictor(path)
    assert (again.engine, again.cfg.MODEL.WEIGHTS) == ("onnxruntime", str(path))
    for image in IMAGES:
        expected = predictor.run([inputs_of(predictor, image)])[0]
        assert_the_same(again.run([inputs_of(again, image)])[0], expected)
    return predictor, path


def test_panoptic_fpn(tmp_path):
    check_family("Panoptic FPN", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("family", MORE_FAMILIES)
def test_more_families(family, tmp_path):
    check_family(family, tmp_path, opset=19 if "deform" in family else 18)


@pytest.mark.long
@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"])
def test_torchvisions_models(name, tmp_path):
    cfg = model_zoo.get_config(f"torchvision/{name}")
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 320, 400
    predictor = Predictor(cfg, weights=golden(cfg).state_dict())
    export_onnx(predictor, tmp_path / "model.onnx", check=IMAGES)
    assert_the_same(Predictor(tmp_path / "model.onnx")(IMAGES[0]), predictor(IMAGES[0]))


@pytest.fixture(scope="module")
def retinanet(tmp_path_factory):
    return check_family("RetinaNet", tmp_path_factory.mktemp("exported"))


def test_what_the_file_says(retinanet):
    _, path = retinanet
    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert set(facts) == {"litepred.config", "litepred.resizing", "litepred.version"}
    assert '"short_edge": 160' in facts["litepred.resizing"]
    assert [one.name for one in model.graph.input] == ["image"]
    assert [one.name for one in model.graph.output] == ["boxes", "scores", "classes"]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def test_the_commands_and_the_other_ways_in(retinanet, tmp_path):
    predictor, path = retinanet
    exported = Predictor(str(path), class_names=["a", "b", "c"])
    assert exported.metadata.thing_classes == ["a", "b", "c"]
    answers = list(exported.batch(IMAGES, batch_size=2))
    for found, image in zip(answers, IMAGES):
        assert_the_same(found, predictor(image))


def test_every_engine(retinanet):
    pytest.importorskip("openvino")
    predictor, path = retinanet
    for image in IMAGES:
        assert_the_same(Predictor(path, engine="openvino", threads=1)(image), predictor(image))


def test_an_engine_for_any_model_exports_it_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path))
    made = []
    original = onnx_file.export_onnx
    monkeypatch.setattr(onnx_file, "export_onnx", lambda *args: made.append(original(*args, check=IMAGES)))
    expected = predictor_of("RetinaNet that finds nothing")(IMAGES[0])
    assert not len(expected["instances"])
    for _ in range(2):
        assert_the_same(predictor_of("RetinaNet that finds nothing", engine="onnxruntime")(IMAGES[0]), expected)
    assert len(made) == 1
    assert [path.suffix for path in (tmp_path / "exported").iterdir()] == [".onnx"]


def test_of_one_size_and_in_half(retinanet, tmp_path):
    predictor, _ = retinanet
    report = export_onnx(predictor, tmp_path / "small.onnx", size_hw=(160, 192), half=True, check=IMAGES[:1])
    assert report.num_bytes < 0.8 * retinanet[1].stat().st_size
    (image,) = onnx.load(tmp_path / "small.onnx").graph.input
    assert [one.dim_value for one in image.type.tensor_type.shape.dim] == [3, 160, 192]


class TestRefused:
    def test_no_images(self, retinanet, tmp_path):
        with pytest.raises(ConfigError, match="check has no images"):
            export_onnx(retinanet[0], tmp_path / "model.onnx", check=[])
        assert not list(tmp_path.iterdir())

    def test_another_kind_of_model(self, retinanet, tmp_path):
        with pytest.raises(ConfigError, match="EngineModel cannot be exported"):
            export_onnx(Predictor(retinanet[1]), tmp_path / "model.onnx")

    def test_what_differs_is_not_kept(self, retinanet, tmp_path, monkeypatch):
        monkeypatch.setattr(onnx_file, "_TOLERANCES", {"boxes": 0.02, "scores": 1e-30})
        with pytest.raises(LitepredError, match=r"scores differ .* nothing was written|finds .* instances"):
            export_onnx(retinanet[0], tmp_path / "model.onnx", check=IMAGES)
        assert not list(tmp_path.iterdir())

    def test_too_large(self, retinanet, tmp_path, monkeypatch):
        monkeypatch.setattr(onnx_file, "_MOST_BYTES", 500_000)
        with pytest.raises(ConfigError, match=r"GB of weights.*half=True"):
            export_onnx(retinanet[0], tmp_path / "model.onnx", check=IMAGES)

    def test_reduced_precision(self, retinanet, tmp_path):
        predictor = predictor_of("RetinaNet")
        predictor.precision = "bfloat16"
        with pytest.raises(ConfigError, match="computes in bfloat16"):
            export_onnx(predictor, tmp_path / "model.onnx")


def test_names_of_tensors_there_and_back():
    instances = Instances((40, 50), pred_boxes=Boxes([[1, 2, 3, 4]]), scores=torch.ones(1))
    instances.pred_masks = torch.ones(1, 1, 5, 5)
    instances.colour = torch.ones(1, 3)
    named = flatten({"instances": [instances], "sem_seg": torch.ones(1, 2, 3, 4)})
    assert {name: tuple(value.shape) for name, value in named.items()} == {
        "boxes": (1, 4),
        "scores": (1,),
        "masks": (1, 5, 5),
        "colour": (1, 3),
        "sem_seg": (2, 3, 4),
    }
    back = unflatten(named, (40, 50))
    assert back["sem_seg"].shape == (1, 2, 3, 4)
    assert back["instances"][0].get_fields().keys() == instances.get_fields().keys()
    assert unflatten({}, (1, 1)) == {}


def test_winograds_convolution_becomes_a_plain_one_again():
    conv = Conv2d(128, 130, 3, padding=1, activation=torch.relu)
    holder = torch.nn.Sequential(torch.nn.Sequential(WinogradConv2d(conv)), torch.nn.Conv2d(130, 1, 1))
    plain = without_winograd(holder)
    x = torch.rand(1, 128, 9, 7)
    torch.testing.assert_close(plain(x), holder(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain[0][0].weight, conv.weight, atol=1e-6, rtol=1e-5)
    assert plain[1].weight is holder[1].weight and type(holder[0][0]) is WinogradConv2d
    assert without_winograd(plain) is plain


def test_engines_are_announced():
    assert extensions.engines() == ["onnxruntime", "openvino"]
    assert extensions.model_file_reader("MODEL.ONNX") is not None
    assert extensions.model_file_reader("model.pth") is None
