"""Test-time augmentation: an image predicted at several sizes and mirrored, the boxes pooled and the masks averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .config import CfgNode, configurable
from .data import ResizeShortestEdge, ResizeTransform, read_image
from .data.transforms import HFlipTransform, NoOpTransform, TransformList
from .errors import ConfigError
from .layers import InferenceModule
from .modeling import GeneralizedRCNN, PanopticFPN
from .modeling.roi_heads import fast_rcnn_inference_single_image
from .structures import Boxes, Instances

__all__ = ["DatasetMapperTTA", "GeneralizedRCNNWithTTA"]

_LEAST_SCORE = 1e-8  # of the pooled boxes, which have passed the model's own threshold


class DatasetMapperTTA:
    """One input of a model to its augmented versions, each with its ``transforms``.

    Args:
        min_sizes: shortest edges to resize to, in pixels.
        max_size: of the longest edge, in pixels.
        flip: whether each size comes mirrored, too.

    Raises:
        ConfigError: there are no sizes, or one is no number of pixels.
    """

    @configurable
    def __init__(self, min_sizes: Sequence[int], max_size: int, flip: bool) -> None:
        if not min_sizes or not all(isinstance(size, int) and size > 0 for size in (*min_sizes, max_size)):
            raise ConfigError(
                f"TEST.AUG has the MIN_SIZES {min_sizes!r} and the MAX_SIZE {max_size!r}: expected one size or more, "
                "and all of them in whole pixels"
            )
        self.min_sizes, self.max_size, self.flip = min_sizes, max_size, flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate ``TEST.AUG`` into arguments."""
        aug = cfg.TEST.AUG
        return {"min_sizes": aug.MIN_SIZES, "max_size": aug.MAX_SIZE, "flip": aug.FLIP}

    def __call__(self, dataset_dict: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the versions of an input that has ``image``, (C, H, W), and the ``height`` and ``width`` wanted."""
        image = dataset_dict["image"].permute(1, 2, 0).cpu().numpy()
        wanted = dataset_dict["height"], dataset_dict["width"]
        before: Any = NoOpTransform() if image.shape[:2] == wanted else ResizeTransform(*wanted, *image.shape[:2])
        versions = []
        for min_size in self.min_sizes:
            resize: Any = ResizeShortestEdge(min_size, self.max_size).get_transform(image)
            resized = resize.apply_image(image)
            flips = [NoOpTransform(), HFlipTransform(resized.shape[1])] if self.flip else [NoOpTransform()]
            for flip in flips:
                pixels = np.ascontiguousarray(flip.apply_image(resized).transpose(2, 0, 1))
                transforms = TransformList([before, resize, flip])
                versions.append({**dataset_dict, "image": torch.from_numpy(pixels), "transforms": transforms})
        return versions


class GeneralizedRCNNWithTTA(InferenceModule):
    """A `GeneralizedRCNN` that looks at each image several times; it is called as the model itself.

    Args:
        cfg: the model's config.
        model: the model.
        tta_mapper: makes the versions of an input, by default `DatasetMapperTTA`.
        batch_size: how many versions are predicted at once.

    Raises:
        ConfigError: the model is of another kind, or finds what cannot be pooled.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        tta_mapper: Callable[[dict[str, Any]], list[dict[str, Any]]] | None = None,
        batch_size: int = 3,
    ) -> None:
        super().__init__()
        refused = _not_covered(cfg, model)
        if refused:
            raise ConfigError(f"test-time augmentation does not cover {refused}: use the model without it")
        self.model: Any = model
        self.cfg, self.batch_size = cfg.clone(), batch_size
        self.test_topk_per_image = self.cfg.TEST.DETECTIONS_PER_IMAGE
        self.tta_mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict for inputs that have an ``image``, (C, H, W), or a ``file_name``; see `GeneralizedRCNN.forward`."""
        inputs = [self._with_image(one) for one in batched_inputs]
        self.model.checked_images(inputs)
        return [self._inference_one_image(one) for one in inputs]

    def _with_image(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        inputs = dict(inputs)
        if "image" not in inputs:
            pixels = read_image(inputs.pop("file_name"), self.model.input_format or "BGR")
            inputs["image"] = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {"height": inputs["image"].shape[1], "width": inputs["image"].shape[2], **inputs}

    @torch.no_grad()
    def _inference_one_image(self, inputs: dict[str, Any]) -> dict[str, Any]:
        size_hw = inputs["height"], inputs["width"]
        versions = self.tta_mapper(inputs)
        transforms = [one.pop("transforms") for one in versions]
        merged = self._merge(self._batch_inference(self._without_masks(), versions), transforms, size_hw)
        if not self.cfg.MODEL.MASK_ON:
            return {"instances": merged}
        instances = [
            Instances(
                tuple(version["image"].shape[1:]),
                pred_boxes=Boxes(torch.from_numpy(transform.apply_box(merged.pred_boxes.tensor.cpu().numpy()))),
                pred_classes=merged.pred_classes,
                scores=merged.scores,
            )
            for version, transform in zip(versions, transforms)
        ]
        masks = [one.pred_masks for one in self._batch_inference(self.model, versions, instances)]
        for i, transform in enumerate(transforms):
            if any(isinstance(one, HFlipTransform) for one in transform.transforms):
                masks[i] = masks[i].flip(dims=[3])
        merged.pred_masks = torch.stack(masks).mean(dim=0)
        return self.model.postprocess({"instances": [merged]}, [inputs], [size_hw])[0]

    def _without_masks(self) -> GeneralizedRCNN:
        """Return a model of the same parts that finds boxes alone; other threads may be using the one that is here."""
        model, heads = copy(self.model), copy(self.model.roi_heads)
        heads.mask_on = False
        model._modules = {**model._modules, "roi_heads": heads}
        return model

    def _batch_inference(
        self, model: GeneralizedRCNN, versions: Sequence[Any], instances: Sequence[Instances] | None = None
    ) -> list[Instances]:
        outputs: list[Instances] = []
        for start in range(0, len(versions), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            given = None if instances is None else list(instances[chosen])
            outputs += model.inference(versions[chosen], given, do_postprocess=False)
        return outputs

    def _merge(self, found: Sequence[Instances], transforms: Sequence[Any], size_hw: tuple[int, int]) -> Instances:
        """Pool the boxes of all versions, in pixels of the answer, and suppress those that overlap better ones."""
        boxes = [
            torch.from_numpy(transform.inverse().apply_box(one.pred_boxes.tensor.cpu().numpy()))
            for one, transform in zip(found, transforms)
        ]
        all_boxes = torch.cat(boxes).to(found[0].scores.device)
        classes, scores = (torch.cat([getattr(one, name) for one in found]) for name in ("pred_classes", "scores"))
        by_class: Tensor = scores.new_zeros(len(all_boxes), self.cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1)
        by_class[torch.arange(len(all_boxes), device=classes.device), classes] = scores
        limits = (self.cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST, self.test_topk_per_image)
        return fast_rcnn_inference_single_image(all_boxes, by_class, size_hw, _LEAST_SCORE, *limits)[0]


def _not_covered(cfg: CfgNode, model: nn.Module) -> str | None:
    """Name what of a model cannot be augmented, if anything."""
    if not isinstance(model, GeneralizedRCNN) or isinstance(model, PanopticFPN) or model.resizes_itself:
        return f"models of the kind {type(model).__name__}"
    kinds = {
        "keypoints": cfg.MODEL.KEYPOINT_ON,
        "proposals that are given": cfg.MODEL.LOAD_PROPOSALS or model.proposal_generator is None,
        "DensePose": cfg.MODEL.get("DENSEPOSE_ON", False),
        "rotated boxes": cfg.MODEL.ANCHOR_GENERATOR.NAME == "RotatedAnchorGenerator",
    }
    return next((kind for kind, is_on in kinds.items() if is_on), None)
