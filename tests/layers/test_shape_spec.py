"""The known part of a feature map's shape."""

import dataclasses

import pytest

from litepred.layers import ShapeSpec


def test_everything_is_optional_and_compared_by_value():
    empty = ShapeSpec()
    assert (empty.channels, empty.height, empty.width, empty.stride) == (None, None, None, None)
    assert ShapeSpec(8, stride=4) == ShapeSpec(channels=8, stride=4) != empty
    assert len({ShapeSpec(8), ShapeSpec(channels=8)}) == 1


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ShapeSpec().channels = 1
