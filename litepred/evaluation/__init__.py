"""Measures of a model's quality, computed as COCO does: average precision and panoptic quality."""

from .coco import COCOEvaluator, category_ids
from .panoptic import PanopticEvaluator, compare_segments, panoptic_quality

__all__ = ["COCOEvaluator", "PanopticEvaluator", "category_ids", "compare_segments", "panoptic_quality"]
