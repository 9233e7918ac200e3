"""The merge of instances and a semantic map, and the model around it."""

import pytest
import torch
from tiny_models import tiny_image, tiny_model
from torch.nn import functional as F

from litepred.modeling import combine_semantic_and_instance_outputs
from litepred.structures import Instances


def instances(*things):
    """Instances of one row of 8 pixels: each (score, class, mask as a string of dots and hashes)."""
    masks = [[[pixel == "#" for pixel in mask]] for _, _, mask in things]
    return Instances(
        (1, 8),
        scores=torch.tensor([score for score, _, _ in things]),
        pred_classes=torch.tensor([label for _, label, _ in things], dtype=torch.int64),
        pred_masks=torch.tensor(masks, dtype=torch.bool).view(-1, 1, 8),
    )


def merge(things, labels, overlap=0.5, area=2, score=0.5):
    semantic = torch.tensor([[int(label) for label in labels]])
    given = instances(*things)
    ids, segments = combine_semantic_and_instance_outputs(given, semantic, overlap, area, score)
    assert ids.dtype == torch.int32
    assert ids.shape == (1, 8)
    assert semantic.tolist() == [[int(label) for label in labels]]
    return "".join(str(i) for i in ids[0].tolist()), segments


def thing(i, score, label, index):
    return {"id": i, "isthing": True, "score": score, "category_id": label, "instance_id": index}


def stuff(i, label, area):
    return {"id": i, "isthing": False, "category_id": label, "area": area}


@pytest.mark.parametrize(
    ("things", "labels", "kwargs", "ids", "segments"),
    [
        ([], "00000000", {}, "00000000", []),  # label 0 stands for things and is passed over
        ([], "33311100", {}, "22211100", [stuff(1, 1, 3), stuff(2, 3, 3)]),  # by label
        ([], "12234445", {}, "01102220", [stuff(1, 2, 2), stuff(2, 4, 3)]),  # as much area as the limit is enough
        ([], "12234445", {"area": 3}, "00001110", [stuff(1, 4, 3)]),
        ([], "11111111", {"area": 9}, "00000000", []),
        # a thing takes its pixels from the stuff
        ([(0.75, 7, "####....")], "11111222", {}, "11110222", [thing(1, 0.75, 7, 0), stuff(2, 2, 3)]),
        # the best first, whatever their order; the second keeps what is free
        (
            [(0.625, 1, "..####.."), (0.75, 2, "####....")],
            "00000000",
            {},
            "11112200",
            [thing(1, 0.75, 2, 1), thing(2, 0.625, 1, 0)],
        ),
        # half of it taken is not more than half
        (
            [(0.75, 1, "##......"), (0.625, 2, ".##.....")],
            "00000000",
            {},
            "11200000",
            [thing(1, 0.75, 1, 0), thing(2, 0.625, 2, 1)],
        ),
        ([(0.75, 1, "##......"), (0.625, 2, "###.....")], "00000000", {}, "11000000", [thing(1, 0.75, 1, 0)]),
        # one that is skipped takes no id and no pixel
        (
            [(0.875, 1, "##......"), (0.75, 2, "###....."), (0.625, 3, "..##....")],
            "00000000",
            {},
            "11220000",
            [thing(1, 0.875, 1, 0), thing(2, 0.625, 3, 2)],
        ),
        # nothing of it is free, and it is listed all the same
        (
            [(0.875, 1, "##......"), (0.75, 2, "##......")],
            "00000000",
            {"overlap": 1.0},
            "11000000",
            [thing(1, 0.875, 1, 0), thing(2, 0.75, 2, 1)],
        ),
        # an empty mask is skipped
        ([(0.75, 1, "........"), (0.625, 2, "#.......")], "00000000", {}, "10000000", [thing(1, 0.625, 2, 1)]),
        # a score at the threshold is enough, the first below it ends the list
        (
            [(0.5, 1, "#......."), (0.25, 2, ".#......"), (0.75, 3, "..#.....")],
            "00000000",
            {},
            "20100000",
            [thing(1, 0.75, 3, 2), thing(2, 0.5, 1, 0)],
        ),
        ([(0.25, 1, "########")], "11111111", {}, "11111111", [stuff(1, 1, 8)]),
        # the area of stuff is what is left of it
        ([(0.75, 5, "######..")], "00011111", {}, "11111122", [thing(1, 0.75, 5, 0), stuff(2, 1, 2)]),
        ([(0.75, 5, "#######.")], "00011111", {}, "11111110", [thing(1, 0.75, 5, 0)]),
        # things and stuff number their classes apart
        ([(0.75, 1, "##......")], "00001111", {}, "11002222", [thing(1, 0.75, 1, 0), stuff(2, 1, 4)]),
    ],
)
def test_merge(things, labels, kwargs, ids, segments):
    merged, listed = merge(things, labels, **kwargs)
    assert merged == ids
    assert listed == segments
    assert [list(segment) for segment in listed] == [list(segment) for segment in segments]  # the order of keys
    for segment in listed:
        assert type(segment["id"]) is type(segment["category_id"]) is int
        assert type(segment["isthing"]) is bool


def test_equal_scores_come_in_the_order_of_argsort():
    things = [(0.75, i, "#" * i + "." * (8 - i)) for i in range(1, 5)]
    order = torch.argsort(-instances(*things).scores)
    _, segments = merge(things, "00000000")
    assert segments[0]["instance_id"] == order[0]


def test_the_model_puts_it_together():
    model = tiny_model("panoptic")
    inputs = [
        {"image": tiny_image(), "height": 100, "width": 120},
        {"image": tiny_image(50, 70, seed=1)},
    ]
    results = model(inputs)
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    raw, _ = model.roi_heads(images, features, model.proposal_generator(images, features))
    low = model.sem_seg_head.layers(features)
    logits = F.interpolate(low, scale_factor=4, mode="bilinear", align_corners=False)
    for i, (result, size) in enumerate(zip(results, [(100, 120), (50, 70)])):
        assert list(result) == ["sem_seg", "instances", "panoptic_seg"]
        height, width = images.image_sizes[i]
        cut = logits[i : i + 1, :, :height, :width]
        expected = F.interpolate(cut, size, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(result["sem_seg"], expected)
        assert result["instances"].image_size == size
        assert list(result["instances"].get_fields()) == ["pred_boxes", "scores", "pred_classes", "pred_masks"]
        assert result["instances"].pred_masks.shape[1:] == size
        assert torch.equal(result["instances"].scores, raw[i].scores)
        ids, segments = result["panoptic_seg"]
        assert (ids.shape, ids.dtype) == (size, torch.int32)
        assert ids.unique().tolist()[-1] == len(segments) > 0
        for segment in segments:
            mask = ids == segment["id"]
            if segment["isthing"]:
                assert segment["score"] == result["instances"].scores[segment["instance_id"]].item() >= 0.5
                assert segment["category_id"] == result["instances"].pred_classes[segment["instance_id"]]
                assert not (mask & ~result["instances"].pred_masks[segment["instance_id"]]).any()
            else:
                assert segment["area"] == mask.sum() >= 64
                assert (result["sem_seg"].argmax(0)[mask] == segment["category_id"]).all()


def test_without_postprocessing():
    model = tiny_model("panoptic")
    instances, logits = model.inference([{"image": tiny_image(50, 70), "height": 9, "width": 9}], do_postprocess=False)
    assert logits.shape == (1, 4, 64, 96)  # of the padded image
    assert [i.image_size for i in instances] == [(50, 70)]
    assert instances[0].pred_masks.shape == (10, 1, 8, 8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50)])
def test_small_images(height, width):
    (result,) = tiny_model("panoptic")([{"image": tiny_image(height, width)}])
    assert result["sem_seg"].shape == (4, height, width)
    assert result["panoptic_seg"][0].shape == (height, width)


def test_from_a_config():
    changes = {"OVERLAP_THRESH": 0.25, "STUFF_AREA_LIMIT": 7, "INSTANCES_CONFIDENCE_THRESH": 0.75}
    model = tiny_model("panoptic", **{f"PANOPTIC_FPN__COMBINE__{key}": value for key, value in changes.items()})
    settings = model.combine_overlap_thresh, model.combine_stuff_area_thresh, model.combine_instances_score_thresh
    assert settings == (0.25, 7, 0.75)
    keys = {key.split(".")[0] for key in model.state_dict()}
    assert keys == {"backbone", "proposal_generator", "roi_heads", "sem_seg_head"}
