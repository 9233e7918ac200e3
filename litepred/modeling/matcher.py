"""Which ground truth a prediction belongs to, by their IoU.

M ground-truth elements, N predictions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Matcher"]


class Matcher:
    """Match each prediction with the element that it fits best, and label the match by its quality.

    Args:
        thresholds: k numbers, ascending and above 0, that cut the qualities into k + 1 ranges, each with its lower end.
        labels: k + 1 labels, one per range: 1 for a match, 0 for none, -1 to be ignored.
        allow_low_quality_matches: also give label 1 to the predictions that fit an element best of all, however little.

    Raises:
        AssertionError: when the numbers do not go together.
    """

    def __init__(
        self, thresholds: Sequence[float], labels: Sequence[int], allow_low_quality_matches: bool = False
    ) -> None:
        limits = [-float("inf"), *thresholds, float("inf")]
        if not (limits[1] > 0 and limits == sorted(limits)):
            raise AssertionError(f"Matcher got the thresholds {list(thresholds)}: expected ascending numbers above 0")
        if len(labels) != len(limits) - 1 or not set(labels) <= {-1, 0, 1}:
            raise AssertionError(
                f"Matcher got the labels {list(labels)}: expected {len(limits) - 1} of them, each -1, 0 or 1"
            )
        self.thresholds = limits
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Match.

        Args:
            match_quality_matrix: (M, N), such as pairwise IoU; at least 0.

        Returns:
            The index of each prediction's element, int64 (N,), and its label, int8 (N,). Without elements the indices
            are 0 and the labels the lowest range's.

        Raises:
            AssertionError: when the matrix is not two-dimensional or has negative values.
        """
        if match_quality_matrix.dim() != 2 or not (match_quality_matrix >= 0).all():
            raise AssertionError(
                f"match_quality_matrix came with shape {tuple(match_quality_matrix.shape)}: expected (M, N), no "
                "negative values"
            )
        number = match_quality_matrix.shape[1]
        device = match_quality_matrix.device
        if match_quality_matrix.numel() == 0:
            matches = torch.zeros(number, dtype=torch.int64, device=device)
            return matches, torch.full((number,), self.labels[0], dtype=torch.int8, device=device)
        quality, matches = match_quality_matrix.max(dim=0)
        limits = torch.tensor(self.thresholds[1:-1], dtype=quality.dtype, device=device)
        labels = torch.tensor(self.labels, dtype=torch.int8, device=device)
        match_labels = labels[torch.bucketize(quality, limits, right=True)]
        if self.allow_low_quality_matches:
            best = match_quality_matrix.amax(dim=1, keepdim=True)
            match_labels[(match_quality_matrix == best).any(dim=0)] = 1
        return matches, match_labels
