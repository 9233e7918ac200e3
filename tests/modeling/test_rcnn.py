"""The contract of whole models: inputs, outputs, modes, errors."""

import functools

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, tiny_cfg, tiny_image, tiny_model

from litepred.errors import ConfigError, ImageError, LitepredError
from litepred.modeling import GeneralizedRCNN, build_model, detector_postprocess
from litepred.structures import Boxes, Instances

tiny = functools.cache(tiny_model)  # for tests that leave the weights alone
CALLABLE = [family for family in FAMILIES if family != "precomputed"]
MEAN = torch.tensor([103.53, 116.28, 123.675])[:, None, None]


@pytest.fixture(scope="module")
def model():
    return tiny_model(MASK_ON=True)


def fields(instances):
    found = {name: getattr(value, "tensor", value) for name, value in instances.get_fields().items()}
    maps = vars(found.pop("pred_densepose")) if "pred_densepose" in found else {}
    return found | {name: value for name, value in maps.items() if value is not None}


def leaves(result):
    """All tensors of one image's answer, by name."""
    found = {}
    for key, value in result.items():
        if isinstance(value, Instances):
            found |= {f"{key}.{name}": tensor for name, tensor in fields(value).items()}
        else:
            found[key] = value[0] if isinstance(value, tuple) else value
    return found


def assert_same(result, expected):
    result, expected = leaves(result), leaves(expected)
    assert list(result) == list(expected)
    for name, tensor in result.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-3, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
class TestModes:
    def test_no_images(self, family):
        assert tiny(family)([]) == []

    def test_evaluation_from_the_start(self, family):
        model = build_model(tiny_cfg(family, RESNETS__NORM="BN"))
        assert not [name for name, module in model.named_modules() if module.training]
        assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        assert list(model.parameters()) != []

    def test_training_is_refused(self, family):
        model = build_model(tiny_cfg(family))
        with pytest.raises(LitepredError, match=r"only runs inference"):
            model.train()
        with pytest.raises(LitepredError, match=r"\.train\(\)"):
            model.backbone.train()
        assert model.eval() is model
        assert not [name for name, module in model.named_modules() if module.training]

    def test_constants_are_not_saved(self, family):
        model = build_model(tiny_cfg(family))
        assert not [key for key in model.state_dict() if "pixel" in key or "anchor_generator" in key]
        assert model.device == torch.device("cpu")
        assert model.input_format == "BGR"


@pytest.mark.parametrize("family", CALLABLE)
class TestInputs:
    def test_ground_truth_is_ignored(self, family):
        model, image = tiny(family), tiny_image()
        truth = Instances((64, 96), gt_boxes=Boxes([[0, 0, 9, 9]]), gt_classes=torch.tensor([0]))
        proposals = Instances((64, 96), proposal_boxes=Boxes([[0, 0, 9, 9]]))
        extra = {"instances": truth, "sem_seg": torch.zeros(64, 96), "proposals": proposals, "file_name": "a.png"}
        assert_same(model([{"image": image, **extra}])[0], model([{"image": image}])[0])

    @pytest.mark.parametrize(
        ("wanted", "size"),
        [
            ({}, (64, 96)),
            ({"height": 7}, (7, 96)),
            ({"width": 300}, (64, 300)),
            ({"height": 99, "width": 55}, (99, 55)),
        ],
    )
    def test_wanted_size(self, family, wanted, size):
        (result,) = tiny(family)([{"image": tiny_image(), **wanted}])
        for value in result.values():
            if isinstance(value, Instances):
                assert value.image_size == size
                assert len(value) > 0
            else:
                assert (value[0] if isinstance(value, tuple) else value).shape[-2:] == size

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (31, 2), (33, 64)])
    def test_small_images(self, family, height, width):
        (result,) = tiny(family)([{"image": tiny_image(height, width)}])
        for value in result.values():
            if isinstance(value, Instances):
                boxes = fields(value).get("pred_boxes", fields(value).get("proposal_boxes"))
                if boxes.shape[1] == 4:  # rotated ones may leave the image
                    assert (boxes >= 0).all()
                    assert (boxes <= torch.tensor([width, height, width, height])).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int32, torch.int64])
    def test_real_dtypes(self, family, dtype):
        model, image = tiny(family), tiny_image()
        assert_same(model([{"image": image.to(dtype)}])[0], model([{"image": image}])[0])

    def test_images_of_one_size_do_not_touch_each_other(self, family):
        model = tiny(family)
        images = [tiny_image(seed=i) for i in range(3)]
        results = model([{"image": image} for image in images])
        assert len(results) == 3
        for image, result in zip(images, results):
            assert_same(result, model([{"image": image}])[0])

    def test_inputs_are_left_as_they_are(self, family):
        image = tiny_image(50, 70).float()
        inputs = {"image": image.clone(), "height": 9, "width": 8}
        tiny(family)([inputs])
        assert list(inputs) == ["image", "height", "width"]
        assert torch.equal(inputs["image"], image)

    @pytest.mark.parametrize(
        ("inputs", "came"),
        [
            ({}, "NoneType"),
            ({"image": None}, "NoneType"),
            ({"image": np.zeros((3, 9, 9), np.uint8)}, "numpy.ndarray"),
            ({"image": torch.zeros(9, 9)}, r"shape \(9, 9\)"),
            ({"image": torch.zeros(1, 3, 9, 9)}, r"shape \(1, 3, 9, 9\)"),
            ({"image": torch.zeros(1, 9, 9)}, r"shape \(1, 9, 9\)"),  # would be broadcast over the mean
            ({"image": torch.zeros(4, 9, 9)}, r"shape \(4, 9, 9\)"),
            ({"image": torch.zeros(9, 9, 3)}, r"shape \(9, 9, 3\)"),
            ({"image": torch.zeros(3, 0, 9)}, r"shape \(3, 0, 9\)"),
            ({"image": torch.zeros(3, 9, 0)}, r"shape \(3, 9, 0\)"),
        ],
    )
    def test_misfits(self, family, inputs, came):
        good = {"image": tiny_image(9, 9)}
        with pytest.raises(ImageError, match=rf"input 1 .*{came}.*expected a tensor of shape \(3, height, width\)"):
            tiny(family)([good, inputs])

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (None, "got a NoneType: expected a list of dicts"),
            (torch.zeros(2, 3, 9, 9), "got a Tensor: expected a list of dicts"),
            ({"image": torch.zeros(3, 9, 9)}, "got a dict: expected a list of dicts"),
            (iter([{"image": torch.zeros(3, 9, 9)}]), "got a list_iterator: expected a list of dicts"),
            ([torch.zeros(3, 9, 9)], "input 0 of the model is a Tensor: expected a dict"),
            ([{"image": torch.zeros(3, 9, 9)}, None], "input 1 of the model is a NoneType: expected a dict"),
            ([{"image": torch.zeros(3, 9, 9).to(torch.complex64)}], r"torch\.complex64.*expected real numbers"),
            ([{"image": torch.zeros(3, 9, 9).to_sparse()}], "torch.sparse_coo.*expected real numbers"),
            ([{"image": torch.zeros(3, 9, 9, device="meta")}], "on meta as its 'image': expected real numbers"),
        ],
    )
    def test_what_is_no_batch(self, family, inputs, message):
        with pytest.raises(ImageError, match=message):
            tiny(family)(inputs)

    @pytest.mark.parametrize("size", [0, -5, 0.5, None, "tall", float("nan"), float("inf")])
    def test_sizes_that_no_answer_can_have(self, family, size):
        for inputs in ({"height": size}, {"height": 9, "width": size}):
            with pytest.raises(ImageError, match=r"the (height|width) .*expected whole numbers of pixels, 1 or more"):
                tiny(family)([{"image": tiny_image(9, 9), **inputs}])


@pytest.mark.parametrize(
    ("family", "size", "padded"),
    [
        ("fpn", (64, 96), (64, 96)),
        ("fpn", (1, 33), (32, 64)),
        ("retinanet", (65, 100), (96, 128)),  # to the stride of p5, not of p7
        ("c4", (65, 101), (65, 101)),  # not at all
    ],
)
@pytest.mark.parametrize("std", [1.0, 57.0])
def test_normalised_then_padded(family, size, padded, std):
    model = build_model(tiny_cfg(family, PIXEL_STD=[std, std + 1, std + 2]))
    image = tiny_image(*size)
    images = model.preprocess_image([{"image": image}])
    expected = torch.zeros(1, 3, *padded)  # the padding is the mean colour, at the right and the bottom
    expected[0, :, : size[0], : size[1]] = (image.float() - MEAN) / torch.tensor([std, std + 1, std + 2])[:, None, None]
    assert torch.equal(images.tensor, expected)
    assert images.image_sizes == [size]


def test_a_batch_is_padded_to_its_largest_sides():
    model = build_model(tiny_cfg("c4"))
    images = model.preprocess_image([{"image": tiny_image(20, 50)}, {"image": tiny_image(30, 40)}])
    assert images.tensor.shape == (2, 3, 30, 50)
    assert images.image_sizes == [(20, 50), (30, 40)]
    assert torch.equal(images[1], tiny_image(30, 40) - MEAN)
    assert images.tensor[0, :, 20:].abs().sum() == images.tensor[1, :, :, 40:].abs().sum() == 0


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_as_many_channels_as_the_mean(channels):
    changes = {"PIXEL_MEAN": [10.0 * (i + 1) for i in range(channels)], "PIXEL_STD": [2.0] * channels}
    model = tiny_model(**changes)
    image = tiny_image(33, 40, channels)
    assert model.backbone.bottom_up.stem.conv1.weight.shape[1] == channels
    images = model.preprocess_image([{"image": image}])
    assert torch.equal(images[0], (image - 10.0 * torch.arange(1, channels + 1)[:, None, None]) / 2)
    assert len(model([{"image": image}])[0]["instances"]) == 10
    with pytest.raises(ImageError, match=rf"expected a tensor of shape \({channels}, height, width\)"):
        model([{"image": tiny_image(33, 40, 3)}])


def test_whole_numbers_as_mean():
    model = build_model(tiny_cfg("c4", PIXEL_MEAN=[0, 0, 0], PIXEL_STD=[1, 1, 1]))
    image = tiny_image() / 256
    assert torch.equal(model.preprocess_image([{"image": image}])[0], image)


def test_mean_and_deviation_go_together():
    with pytest.raises(ConfigError, match=r"PIXEL_MEAN is \[103.*PIXEL_STD is \[1.0\]: .* one per channel in both"):
        build_model(tiny_cfg(PIXEL_STD=[1.0]))


class TestGeneralizedRCNN:
    def test_answer(self, model):
        (result,) = model([{"image": tiny_image(), "height": 128, "width": 48}])
        assert list(result) == ["instances"]
        instances = result["instances"]
        assert instances.image_size == (128, 48)
        assert list(instances.get_fields()) == ["pred_boxes", "scores", "pred_classes", "pred_masks"]
        assert 0 < len(instances) <= 10
        assert (instances.scores.diff() <= 0).all()
        assert (instances.pred_masks.shape, instances.pred_masks.dtype) == ((len(instances), 128, 48), torch.bool)

    @pytest.mark.parametrize("images", [[tiny_image()], [tiny_image(50, 70), tiny_image(64, 96, seed=1)]])
    def test_without_postprocessing(self, model, images):
        inputs = [{"image": image, "height": 2 * image.shape[1], "width": 3 * image.shape[2]} for image in images]
        raw = model.inference(inputs, do_postprocess=False)
        for instances, image, result in zip(raw, images, model(inputs)):
            height, width = image.shape[1:]
            assert instances.image_size == (height, width)
            assert instances.pred_masks.shape == (len(instances), 1, 8, 8)
            assert ((instances.pred_masks > 0) & (instances.pred_masks < 1)).all()
            boxes = instances.pred_boxes.tensor * torch.tensor([3, 2, 3, 2])
            boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
            torch.testing.assert_close(result["instances"].pred_boxes.tensor, boxes)

    @pytest.mark.parametrize("numbers", [(0,), (2,), (1, 2), (0, 1)])
    def test_detected_instances(self, model, numbers):
        inputs = [{"image": tiny_image(seed=i), "height": 128, "width": 192} for i in range(len(numbers))]
        boxes = [[10.0, 12, 40, 50], [-5, 20, 30, 90]]
        given = []
        for number in numbers:
            classes = torch.tensor([2, 0])[:number]
            given.append(Instances((64, 96), pred_boxes=Boxes(boxes[:number]), pred_classes=classes))
            given[-1].note = torch.arange(number)
        results = model.inference(inputs, detected_instances=given)
        features = model.backbone(model.preprocess_image(inputs).tensor)
        for i, (number, result, instances) in enumerate(zip(numbers, results, given)):
            # Detectron2 scales the caller's boxes; here they stay, and gain no masks
            assert torch.equal(instances.pred_boxes.tensor, torch.tensor(boxes[:number]).view(-1, 4))
            assert not instances.has("pred_masks")
            result = result["instances"]
            assert list(result.get_fields()) == ["pred_boxes", "pred_classes", "note", "pred_masks"]
            assert result.pred_boxes.tensor.tolist() == [[20, 24, 80, 100], [0, 40, 60, 128]][:number]
            assert result.pred_classes.tolist() == [2, 0][:number]
            assert result.note.tolist() == [0, 1][:number]
            assert (result.pred_masks.shape, result.pred_masks.dtype) == ((number, 128, 192), torch.bool)
            maps = [feature[i : i + 1] for feature in (features[f] for f in model.roi_heads.in_features)]
            pooled = model.roi_heads.mask_pooler(maps, [Boxes(boxes[:number])])  # un-clipped
            logits = model.roi_heads.mask_head.layers(pooled)
            raw = Instances((64, 96), pred_boxes=Boxes(boxes[:number]), pred_masks=logits.sigmoid()[:, :, None])
            for k in range(number):
                one = Instances((64, 96), pred_boxes=raw.pred_boxes[k], pred_masks=raw.pred_masks[k, [2, 0][k]][None])
                assert torch.equal(detector_postprocess(one, 128, 192).pred_masks[0], result.pred_masks[k])

    def test_detected_instances_without_postprocessing(self, model):
        given = Instances((64, 96), pred_boxes=Boxes([[1, 2, 30, 40]]), pred_classes=torch.tensor([1]))
        (raw,) = model.inference([{"image": tiny_image()}], detected_instances=[given], do_postprocess=False)
        assert raw.pred_boxes.tensor.tolist() == [[1, 2, 30, 40]]
        assert raw.pred_masks.shape == (1, 1, 8, 8)

    def test_one_list_of_boxes_per_image(self, model):
        given = Instances((64, 96), pred_boxes=Boxes([]), pred_classes=torch.zeros(0, dtype=torch.int64))
        for number in (0, 2):
            with pytest.raises(LitepredError, match=f"boxes of {number} images"):
                model.inference([{"image": tiny_image()}], detected_instances=[given] * number)

    def test_from_parts(self, model):
        other = GeneralizedRCNN(
            backbone=model.backbone,
            proposal_generator=model.proposal_generator,
            roi_heads=model.roi_heads,
            pixel_mean=[103.53, 116.28, 123.675],
            pixel_std=[1.0, 1.0, 1.0],
            input_format="RGB",
            vis_period=0,
        )
        assert other.input_format == "RGB"
        assert_same(other([{"image": tiny_image()}])[0], model([{"image": tiny_image()}])[0])

    def test_non_finite_weights_yield_nothing(self):
        model = tiny_model()
        model.roi_heads.box_predictor.cls_score.bias.fill_(float("nan"))
        assert len(model([{"image": tiny_image()}])[0]["instances"]) == 0


@pytest.fixture(scope="module")
def fast_rcnn():
    return tiny_model("precomputed", ROI_HEADS__SCORE_THRESH_TEST=0.0)


class TestGivenProposals:
    def test_nothing_proposes(self, fast_rcnn):
        assert fast_rcnn.proposal_generator is None
        assert not [key for key in fast_rcnn.state_dict() if "proposal_generator" in key]

    @pytest.mark.parametrize("numbers", [(0,), (3,), (2, 3), (0, 2)])
    def test_boxes_are_taken_as_they_are(self, fast_rcnn, numbers):
        boxes = torch.tensor([[5.0, 5, 30, 40], [-9, 0, 50, 60], [20, 10, 90, 60]])
        inputs = []
        for i, number in enumerate(numbers):
            proposals = Instances((64, 96), proposal_boxes=Boxes(boxes[:number].clone()))
            inputs.append({"image": tiny_image(seed=i), "proposals": proposals, "height": 128, "width": 192})
        results = fast_rcnn(inputs)
        features = fast_rcnn.backbone(fast_rcnn.preprocess_image(inputs).tensor)
        maps = [features[f] for f in fast_rcnn.roi_heads.in_features]
        pooled = fast_rcnn.roi_heads.box_pooler(maps, [inputs_["proposals"].proposal_boxes for inputs_ in inputs])
        answers = fast_rcnn.roi_heads.box_predictor(fast_rcnn.roi_heads.box_head(pooled))
        wanted, _ = fast_rcnn.roi_heads.box_predictor.inference(answers, [inputs_["proposals"] for inputs_ in inputs])
        for number, result, expected, one in zip(numbers, results, wanted, inputs):
            assert (len(result["instances"]) == 0) is (number == 0)
            assert torch.equal(result["instances"].scores, expected.scores)
            torch.testing.assert_close(result["instances"].pred_boxes.tensor, 2 * expected.pred_boxes.tensor)
            assert torch.equal(one["proposals"].proposal_boxes.tensor, boxes[:number])

    @pytest.mark.parametrize(
        "extra",
        [{}, {"proposals": None}, {"proposals": Boxes([])}, {"proposals": Instances((9, 9), scores=torch.zeros(0))}],
    )
    def test_they_are_needed(self, fast_rcnn, extra):
        good = {"image": tiny_image(), "proposals": Instances((64, 96), proposal_boxes=Boxes([]))}
        with pytest.raises(LitepredError, match=r"input 1 has no 'proposals'.*PrecomputedProposals.*proposal_boxes"):
            fast_rcnn([good, {"image": tiny_image(), **extra}])

    @pytest.mark.parametrize(
        "proposals",
        [
            Instances((64, 96), proposal_boxes=torch.zeros(1, 4)),
            Instances((640, 960), proposal_boxes=Boxes([[0, 0, 9, 9]])),  # of the image before it was resized
        ],
    )
    def test_proposals_that_do_not_fit(self, fast_rcnn, proposals):
        message = r"'proposals' of input 0 have a .* where the image has \(64, 96\): expected Instances"
        with pytest.raises(LitepredError, match=message):
            fast_rcnn([{"image": tiny_image(), "proposals": proposals}])

    def test_no_images(self, fast_rcnn):
        assert fast_rcnn([]) == []


class TestProposalNetwork:
    def test_answer(self):
        model = tiny_model("proposals")
        inputs = [{"image": tiny_image(), "height": 128, "width": 192}, {"image": tiny_image(50, 70, seed=1)}]
        results = model(inputs)
        images = model.preprocess_image(inputs)
        raw, _ = model.proposal_generator(images, model.backbone(images.tensor))
        for result, proposals, size, scale in zip(results, raw, [(128, 192), (50, 70)], [2, 1]):
            assert list(result) == ["proposals"]
            found = result["proposals"]
            assert list(found.get_fields()) == ["proposal_boxes", "objectness_logits"]
            assert found.image_size == size
            torch.testing.assert_close(found.proposal_boxes.tensor, proposals.proposal_boxes.tensor * scale)
            assert torch.equal(found.objectness_logits, proposals.objectness_logits)  # logits, not probabilities
            assert (found.objectness_logits.diff() <= 0).all()


@pytest.mark.parametrize(
    ("family", "first"),
    [
        ("fpn", {"backbone.bottom_up", "backbone.fpn_lateral2", "proposal_generator.rpn_head", "roi_heads.box_head"}),
        ("c4", {"backbone.stem", "backbone.res4", "proposal_generator.rpn_head", "roi_heads.res5"}),
        ("proposals", {"backbone.bottom_up", "proposal_generator.rpn_head"}),
        ("precomputed", {"backbone.bottom_up", "roi_heads.box_predictor"}),
        ("retinanet", {"backbone.bottom_up", "backbone.top_block", "head.cls_subnet", "head.bbox_pred"}),
        ("semantic", {"backbone.bottom_up", "sem_seg_head.p2", "sem_seg_head.predictor"}),
        ("panoptic", {"backbone.bottom_up", "proposal_generator.rpn_head", "roi_heads.mask_head", "sem_seg_head.p5"}),
    ],
)
def test_names_in_checkpoints(family, first):
    starts = {".".join(key.split(".")[:2]) for key in tiny(family).state_dict()}
    assert first <= starts
    assert {start.split(".")[0] for start in starts} == {start.split(".")[0] for start in first}
    assert ("backbone.bottom_up" in starts) is (family != "c4")
