"""Matching of predictions with ground truth."""

import pytest
import torch

from litepred.modeling.matcher import Matcher

QUALITY = torch.tensor([[0.15, 0.45, 0.2, 0.6], [0.3, 0.65, 0.05, 0.1], [0.05, 0.4, 0.25, 0.4]])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_match(shape):
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1])(torch.zeros(shape))
    assert matches.tolist() == [0] * shape[1]
    assert labels.tolist() == [0] * shape[1]
    assert (matches.dtype, labels.dtype) == (torch.int64, torch.int8)


@pytest.mark.parametrize(
    ("low_quality", "expected"), [(False, [-1, -1, 0, -1]), (True, [-1, 1, 0, 1])], ids=["plain", "low quality too"]
)
def test_matching(low_quality, expected):
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], low_quality)(QUALITY)
    assert matches.tolist() == [1, 1, 2, 0]
    assert labels.tolist() == expected


def test_a_threshold_belongs_to_the_range_above():
    assert Matcher([0.5], [0, 1])(torch.tensor([[0.5, 0.49]]))[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("thresholds", "labels", "message"),
    [
        ([0.7, 0.3], [0, -1, 1], "ascending numbers above 0"),
        ([0.0], [0, 1], "ascending numbers above 0"),
        ([0.5], [0, 1, 1], "expected 2 of them"),
        ([0.5], [0, 2], "each -1, 0 or 1"),
    ],
)
def test_what_does_not_go_together(thresholds, labels, message):
    with pytest.raises(AssertionError, match=message):
        Matcher(thresholds, labels)


@pytest.mark.parametrize("matrix", [torch.zeros(3), -torch.ones(2, 2)])
def test_a_wrong_matrix(matrix):
    with pytest.raises(AssertionError, match="match_quality_matrix"):
        Matcher([0.5], [0, 1])(matrix)
