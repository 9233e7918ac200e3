"""torchvision's variant of the R-CNN family, as components that a config names.

torchvision resizes without smoothing, rounds its anchors and spaces them by the grid, suppresses by probability, and
assigns levels and pastes masks in its own way. Each is a small component here; the configs of the zoo's ``torchvision``
folder name them, and the rest of the model is the one that Detectron2's weights run in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import CfgNode, configurable
from ..errors import whole_number
from ..layers import ShapeSpec, clip_boxes_to_image
from ..structures import Boxes, ImageList, Instances
from .anchors import DefaultAnchorGenerator, anchors_around
from .build import (
    ANCHOR_GENERATOR_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
)
from .postprocess import detector_postprocess
from .rcnn import GeneralizedRCNN, Inputs, Sizes, output_size
from .roi_heads import FastRCNNOutputLayers, KRCNNConvDeconvUpsampleHead, StandardROIHeads
from .rpn import RPN

__all__ = ["TorchvisionRCNN"]

_SMALLEST_PROPOSAL_PX = 1e-3
_SMALLEST_DETECTION_PX = 1e-2


@ANCHOR_GENERATOR_REGISTRY.register()
class TorchvisionAnchorGenerator(DefaultAnchorGenerator):
    """Anchors rounded to whole pixels; their spacing is the padded image's size over the grid's, rounded down."""

    def grid(self, features: Sequence[Tensor], images: ImageList) -> list[Boxes]:
        """Return the anchors of each map (N, C, H, W) as H·W·A boxes in input pixels."""
        anchors = []
        for feature, cell in zip(features, self.cell_anchors):
            steps = [side // cells for side, cells in zip(images.tensor.shape[-2:], feature.shape[-2:])]
            y, x = (torch.arange(n, device=cell.device) * step for n, step in zip(feature.shape[-2:], steps))
            anchors.append(anchors_around(x, y, cell.round()))
        return anchors


@PROPOSAL_GENERATOR_REGISTRY.register()
class TorchvisionRPN(RPN):
    """An RPN that suppresses by probability, and whose anchors depend on the padded image's size."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Translate ``MODEL.RPN`` into arguments."""
        return super().from_config(cfg, input_shape) | {"min_box_size": _SMALLEST_PROPOSAL_PX}

    def _anchors(self, images: ImageList, maps: Sequence[Tensor]) -> list[Boxes]:
        return self.anchor_generator.grid(maps, images)  # type: ignore[operator]

    def _candidates(self, anchors: Tensor, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        boxes, logits = super()._candidates(anchors, logits, deltas)
        return boxes, logits.sigmoid()


class TorchvisionOutputLayers(FastRCNNOutputLayers):
    """Fast R-CNN's predictors, with no detection smaller than a hundredth of a pixel."""

    def predict_probs(self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]) -> tuple[Tensor, ...]:
        """Return the class scores, per image (Ri, K + 1), background last; 0 where the box is that small."""
        results = []
        boxes_of_images = self.predict_boxes(predictions, proposals)
        for scores, boxes, one in zip(super().predict_probs(predictions, proposals), boxes_of_images, proposals):
            sides = clip_boxes_to_image(boxes.reshape(len(boxes), self.num_classes, 4), one.image_size)
            large = ((sides[..., 2:] - sides[..., :2]) >= _SMALLEST_DETECTION_PX).all(dim=-1)  # (Ri, K)
            results.append(torch.cat([scores[:, :-1] * large, scores[:, -1:]], dim=1))
        return tuple(results)


@ROI_HEADS_REGISTRY.register()
class TorchvisionROIHeads(StandardROIHeads):
    """Standard heads around `TorchvisionOutputLayers`."""

    output_layers = TorchvisionOutputLayers


@ROI_KEYPOINT_HEAD_REGISTRY.register()
class TorchvisionKeypointHead(KRCNNConvDeconvUpsampleHead):
    """The usual keypoint head; a keypoint's score is its logit."""

    score_column = 2


@META_ARCH_REGISTRY.register()
class TorchvisionRCNN(GeneralizedRCNN):
    """R-CNN that takes images in their own size, resizes what it has normalised, and pastes masks as torchvision does.

    Args:
        min_size: the length in pixels that the shorter edge is resized to, unless the longer one exceeds ``max_size``.
        max_size: the most pixels of the longer edge.
        **kwargs: see `GeneralizedRCNN`; mean and standard deviation are those of images in 0…1.
    """

    resizes_itself = True
    mask_formats = ("bitmask", "rle", "polygon")  # not "roi", since `ROIMasks` paste as Detectron2 does

    @configurable
    def __init__(self, *, min_size: int, max_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_size = whole_number("INPUT.MIN_SIZE_TEST", min_size)
        self.max_size = max_size

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate a config into arguments."""
        return super().from_config(cfg) | {"min_size": cfg.INPUT.MIN_SIZE_TEST, "max_size": cfg.INPUT.MAX_SIZE_TEST}

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        scale = min(self.min_size / min(height, width), self.max_size / max(height, width))
        return max(1, int(height * scale)), max(1, int(width * scale))

    def normalize(self, image: Tensor) -> Tensor:
        """Normalise an image (C, H, W) in 0…255 by the mean and standard deviation of images in 0…1."""
        return super().normalize(image / 255)

    def resize(self, image: Tensor) -> Tensor:
        """Resize an image (C, H, W) without smoothing."""
        size_hw = self._resized(*image.shape[1:])
        return F.interpolate(image[None], size_hw, mode="bilinear", align_corners=False)[0]

    def padded_size(self, image: Tensor) -> tuple[int, int]:
        """Return the (height, width) that the network sees of an image (C, H, W) alone, padding included."""
        return super().padded_size(image.new_empty(1, 1, 1).expand(1, *self._resized(*image.shape[1:])))

    @staticmethod
    def _postprocess(
        instances: Sequence[Instances], batched_inputs: Inputs, image_sizes: Sizes
    ) -> list[dict[str, Instances]]:
        """Bring the instances of each image to the size that its input asks for, or else to that of the image."""
        results = []
        for one, inputs in zip(instances, batched_inputs):
            size = output_size(inputs, inputs["image"].shape[1:])
            mask_format = inputs.get("mask_format") or "bitmask"
            scaled = detector_postprocess(one, *size, mask_format=mask_format, windows=_whole_image_windows)
            results.append({"instances": scaled})
        return results


def _whole_image_windows(
    masks: Tensor, boxes_xyxy: Tensor, image_size_hw: tuple[int, int], threshold: float
) -> Iterator[tuple[int, tuple[tuple[int, int, int, int], Tensor]]]:
    """Paste masks (N, M, M) into boxes of whole pixels, each into an image of its own; see `mask_windows`."""
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    height, width = image_size_hw
    for i in range(len(masks)):  # one by one: a float image of each would take four times the result
        soft = paste_masks_in_image(masks[i : i + 1, None], boxes_xyxy[i : i + 1], image_size_hw)
        yield i, ((0, 0, width, height), soft[0, 0] > threshold)
