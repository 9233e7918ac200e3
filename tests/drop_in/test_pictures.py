"""A visualizer of another project's, which draws by the parts of Detectron2's."""

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("drop_in")
GREEN = (0.0, 128 / 255, 0.0)


def image():
    return np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)


def test_a_subclass_that_draws_for_itself():
    from detectron2.structures import BitMasks, Boxes, Instances
    from detectron2.utils.visualizer import ColorMode, GenericMask, Visualizer, _create_text_labels

    class Own(Visualizer):
        def draw_instance_predictions(self, predictions):
            predictions = predictions.to(self.cpu_device)
            size = self.output.height, self.output.width
            masks = [GenericMask(one, *size) for one in np.asarray(predictions.pred_masks)]
            assert self._instance_mode is ColorMode.IMAGE_BW
            self.output.reset_image(self._create_grayscale_image((predictions.pred_masks.any(dim=0) > 0).numpy()))
            labels = _create_text_labels(predictions.pred_classes, predictions.scores, np.array(["cat", "dog"]))
            colors = [self._jitter(GREEN) for _ in masks]
            return self.overlay_instances(masks=masks, labels=labels, assigned_colors=colors, alpha=0.3)

    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[0, 5:20, 5:20] = masks[1, 20:35, 30:55] = True
    found = Instances((40, 60), pred_masks=masks, pred_classes=torch.tensor([1, 0]), scores=torch.tensor([0.9, 0.5]))
    drawn = Own(img_rgb=image(), metadata=None, instance_mode=ColorMode.IMAGE_BW).draw_instance_predictions(found)
    picture = drawn.get_image().astype(int)
    assert np.ptp(picture[0, -1]) == 0  # gray outside
    assert np.ptp(picture[10, 10]) > 0
    none = Own(image(), instance_mode=ColorMode.IMAGE_BW)
    none.draw_instance_predictions(found[:0])
    assert np.ptp(none.output.get_image().astype(int), axis=2).max() == 0
    plain = Visualizer(image())
    assert plain._convert_boxes(Boxes(torch.ones(2, 4))).tolist() == [[1.0] * 4] * 2
    assert plain._convert_keypoints(torch.zeros(1, 17, 3)).shape == (1, 17, 3)
    assert [one.area() for one in plain._convert_masks(BitMasks(masks))] == [225, 375]


def test_colours():
    from detectron2.utils.visualizer import Visualizer

    drawer = Visualizer(image())
    np.random.seed(0)
    direction = np.random.rand(3)
    np.random.seed(0)
    wanted = np.clip(GREEN + direction / np.linalg.norm(direction) * 0.5, 0, 1)
    assert drawer._jitter(GREEN) == pytest.approx(wanted)
    assert drawer._change_color_brightness(GREEN, 0.5) == pytest.approx((0, 192 / 255, 0))
    assert drawer._change_color_brightness(GREEN, -1.0) == (0, 0, 0)
    assert (drawer._create_grayscale_image() == image().astype("f4").mean(axis=2)[:, :, None]).all()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_text(scale):
    from detectron2.utils.visualizer import Visualizer

    drawer = Visualizer(np.full((200, 300, 3), 128, np.uint8), scale=scale)
    mask = np.zeros((200, 300), bool)
    drawer._draw_text_in_mask(mask, "nothing", "w")
    assert (drawer.output.get_image() == 128).all()
    mask[20:180, 100:200] = True
    drawer._draw_text_in_mask(mask, "cup", "w")
    written = np.argwhere((drawer.output.get_image() != 128).any(axis=2)) / scale
    assert len(written)
    assert (written.min(axis=0) >= (20, 100)).all()
    assert (written.max(axis=0) <= (180, 200)).all()
    before = drawer.output.get_image()
    drawer.draw_text("cup", (20, 20), font_size=drawer._default_font_size)
    default = Visualizer(before, scale=1.0)
    default._font_size, default._scale = drawer._font_size, scale
    assert (drawer.output.get_image() == default.draw_text("cup", (20, 20)).get_image()).all()


def test_a_panoptic_segmentation_taken_apart():
    from detectron2.data import Metadata
    from detectron2.utils.visualizer import _PanopticPrediction

    ids = torch.tensor([[0, 1, 1], [2, 2, 2]])
    parts = _PanopticPrediction(ids, [])
    assert not parts.non_empty_mask().any()
    assert [*parts.semantic_masks(), *parts.instance_masks()] == []
    facts = [
        {"id": 1, "isthing": True, "category_id": 7},
        {"id": 2, "isthing": False, "category_id": 3},
        {"id": 9, "isthing": True, "category_id": 3},  # without a pixel
    ]
    parts = _PanopticPrediction(ids, facts, Metadata())
    assert parts.non_empty_mask().tolist() == [[False, True, True], [True, True, True]]
    ((mask, fact),) = parts.instance_masks()
    assert (mask.tolist(), fact) == ([[False, True, True], [False] * 3], facts[0])
    assert [fact for _, fact in parts.semantic_masks()] == [facts[1]]
    metadata = Metadata(label_divisor=1000, thing_dataset_id_to_contiguous_id={13: 3})
    parts = _PanopticPrediction(torch.tensor([[3001, -1, 3000], [3000, 5000, 5000]]), None, metadata)
    assert [fact["category_id"] for _, fact in parts.instance_masks()] == [3, 3]
    assert [(int(mask.sum()), fact["isthing"]) for mask, fact in parts.semantic_masks()] == [(2, False)]
