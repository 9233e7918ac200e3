"""Panoptic FPN (Kirillov et al. 2019): instances and a semantic map, merged so that each pixel has one segment.

N images, K instances of one image, H × W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..config import CfgNode, configurable
from ..errors import ConfigError
from ..structures import ImageList, Instances, instance_mask
from .build import META_ARCH_REGISTRY, build_sem_seg_head
from .rcnn import GeneralizedRCNN, Inputs, RawOutputs, Sizes
from .semantic import enlarged_logits, padded_logits, semantic_logits

__all__ = ["PanopticFPN", "combine_semantic_and_instance_outputs"]


@META_ARCH_REGISTRY.register()
class PanopticFPN(GeneralizedRCNN):
    """Mask R-CNN with a semantic head on the same pyramid.

    Args:
        sem_seg_head: features to semantic logits.
        combine_overlap_thresh: ``overlap_threshold`` of `combine_semantic_and_instance_outputs`.
        combine_stuff_area_thresh: ``stuff_area_thresh`` of the same function.
        combine_instances_score_thresh: ``instances_score_thresh`` of the same function.
        **kwargs: see `GeneralizedRCNN`.
    """

    dense_parts = ("backbone", "sem_seg_head")

    @configurable
    def __init__(
        self,
        *,
        sem_seg_head: nn.Module,
        combine_overlap_thresh: float = 0.5,
        combine_stuff_area_thresh: float = 4096,
        combine_instances_score_thresh: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sem_seg_head = sem_seg_head
        self.combine_overlap_thresh = combine_overlap_thresh
        self.combine_stuff_area_thresh = combine_stuff_area_thresh
        self.combine_instances_score_thresh = combine_instances_score_thresh

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate a config into arguments."""
        arguments = super().from_config(cfg)
        if not getattr(arguments["roi_heads"], "mask_on", True):
            raise ConfigError("MODEL.MASK_ON is False: PanopticFPN merges masks, set it to True")
        combine = cfg.MODEL.PANOPTIC_FPN.COMBINE
        return arguments | {
            "sem_seg_head": build_sem_seg_head(cfg, arguments["backbone"].output_shape()),
            "combine_overlap_thresh": combine.OVERLAP_THRESH,
            "combine_stuff_area_thresh": combine.STUFF_AREA_LIMIT,
            "combine_instances_score_thresh": combine.INSTANCES_CONFIDENCE_THRESH,
        }

    def inference(  # type: ignore[override]
        self, batched_inputs: Inputs, do_postprocess: bool = True
    ) -> list[dict[str, Any]] | tuple[list[Instances], Tensor]:
        """Run the model on a batch that is not empty.

        Returns:
            Per image ``sem_seg`` (C, H, W) logits, ``instances`` and ``panoptic_seg``, a pair of an int32 (H, W) map
            of segment ids and a list of dicts that describe the segments. Without post-processing: the raw
            `Instances` of all images, and the logits (N, C, H, W) at the padded input's size.
        """
        images = self.preprocess_image(batched_inputs)
        raw = self.network(images, self.given_proposals(batched_inputs, images.image_sizes))
        if do_postprocess:
            return self.postprocess(raw, batched_inputs, images.image_sizes)
        return raw["instances"], padded_logits(self.sem_seg_head, raw, raw["sem_seg"])

    def network(self, images: ImageList, proposals: list[Instances] | None = None) -> RawOutputs:
        """Find instances and semantic logits in normalised, padded images; see `MetaArch.network`."""
        features = self.backbone(images.tensor)
        instances = self._detect(images, features, proposals)
        return {"instances": instances, **semantic_logits(self.sem_seg_head, features)}

    def postprocess(self, raw: RawOutputs, batched_inputs: Inputs, image_sizes: Sizes) -> list[dict[str, Any]]:
        """Return the three answers of `inference` for each image; see `MetaArch.postprocess`."""
        semantic = enlarged_logits(self.sem_seg_head, raw, batched_inputs, image_sizes)
        results = []
        found = super().postprocess(raw, batched_inputs, image_sizes)
        for sem_seg, detected, inputs in zip(semantic, found, batched_inputs):
            if "select" in inputs:  # what a caller leaves out is no segment
                detected = {"instances": inputs["select"](detected["instances"])}
            panoptic_seg = combine_semantic_and_instance_outputs(
                detected["instances"],
                sem_seg.max(dim=0).indices,  # argmax, but for its speed on the CPU
                self.combine_overlap_thresh,
                self.combine_stuff_area_thresh,
                self.combine_instances_score_thresh,
            )
            results.append({"sem_seg": sem_seg, **detected, "panoptic_seg": panoptic_seg})
        return results


def combine_semantic_and_instance_outputs(
    instance_results: Instances,
    semantic_results: Tensor,
    overlap_threshold: float,
    stuff_area_thresh: float,
    instances_score_thresh: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Give each pixel to the best instance that covers it, and what is left to the semantic classes.

    Args:
        instance_results: with ``scores``, ``pred_classes`` and ``pred_masks``, (K, H, W) bool or smaller.
        semantic_results: (H, W) labels; 0 stands for all things and is passed over.
        overlap_threshold: an instance is dropped when more than this share of it is already taken.
        stuff_area_thresh: a class with fewer pixels left than this is dropped.
        instances_score_thresh: an instance below this score is dropped.

    Returns:
        An int32 (H, W) map of segment ids, 0 where nothing is, and per segment a dict: ``id``, ``isthing``,
        ``category_id`` (a thing class or a stuff class: two numberings), and ``score`` and ``instance_id`` of a thing
        or ``area`` in pixels of stuff.
    """
    segment_ids = torch.zeros_like(semantic_results, dtype=torch.int32)
    free = torch.ones_like(semantic_results, dtype=torch.bool)
    segments: list[dict[str, Any]] = []

    scores = instance_results.scores.tolist()
    classes = instance_results.pred_classes.tolist()
    # On equal scores the order of this unstable sort is part of the answer.
    for index in torch.argsort(-instance_results.scores).tolist():
        if scores[index] < instances_score_thresh:
            break
        mask = instance_mask(instance_results, index).to(free.device)
        visible = mask & free
        # count_nonzero() is several times as fast as sum(), and an accelerator is waited for once.
        area, visible_area = torch.stack([mask.count_nonzero(), visible.count_nonzero()]).tolist()
        if area == 0 or (area - visible_area) / area > overlap_threshold:
            continue
        thing = {"score": scores[index], "category_id": classes[index], "instance_id": index}
        segments.append({"id": len(segments) + 1, "isthing": True, **thing})
        segment_ids.masked_fill_(visible, len(segments))
        free &= ~mask

    # torch.unique finds the same labels, but takes some ten times as long.
    pixels = torch.bincount(semantic_results.flatten())
    areas = torch.bincount((semantic_results * free).flatten(), minlength=len(pixels))
    for label, (wanted, area) in enumerate(torch.stack([pixels, areas], dim=1).tolist()):
        if label == 0 or wanted == 0 or area < stuff_area_thresh:
            continue
        segments.append({"id": len(segments) + 1, "isthing": False, "category_id": label, "area": area})
        segment_ids.masked_fill_((semantic_results == label) & free, len(segments))
    return segment_ids, segments
