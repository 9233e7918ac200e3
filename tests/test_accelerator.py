"""On an accelerator, tensors of two devices never meet, and the host waits where it has to.

It has to where the number of what is found is asked for: before, in and after a suppression. A real device is not
needed: `pretended_device` tells what would happen on one.
"""

from __future__ import annotations

import pytest
import torch
from exported_families import FAMILIES, IMAGES, MORE_FAMILIES, inputs_of
from pretended_device import DEVICE, MixedDevicesError, PretendedDevice
from tiny_models import golden, tiny_cfg

from litepred import Predictor

# A suppression of torchvision's sends one number to the device.
_DETECTIONS = {"aten::nonzero": 3, "torchvision::nms": 2, "to the device": 2}
WAITS = {
    "Semantic FPN": {},
    "Faster R-CNN": _DETECTIONS,
    "DensePose": {**_DETECTIONS, "tolist": 1},  # the part of the image that has boxes
    "Mask and Keypoint R-CNN": {**_DETECTIONS, "tolist": 1},  # the sizes to which heat maps are enlarged
    # The proposals and their scores are the caller's, on the CPU.
    "Fast R-CNN with given proposals": {"aten::nonzero": 2, "torchvision::nms": 1, "to the device": 2},
    "RetinaNet": {"aten::nonzero": 7, "torchvision::nms": 1, "to the device": 1},  # five levels choose their candidates
    # Whether an instance is drawn depends on those before it, so each of the ten is waited for.
    "Panoptic FPN": {**_DETECTIONS, "aten::nonzero": 3, "tolist": 3 + 10 + 1, "aten::bincount": 2},
}


@pytest.mark.parametrize("family", WAITS)
def test_the_host_waits_for_no_more_than_it_must(family):
    base, changes = {**FAMILIES, **MORE_FAMILIES}[family]
    cfg = tiny_cfg(base, **changes)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 160, 256
    state = golden(cfg).state_dict()
    here = Predictor(cfg, weights=state)
    expected = here.run([inputs_of(here, IMAGES[0])])[0]
    with PretendedDevice() as mode:
        predictor = Predictor(cfg, weights=state, device=DEVICE)
        inputs = inputs_of(predictor, IMAGES[0])
        mode.waits.clear()
        found = predictor.run([inputs])[0]
        waits = dict(mode.waits)
        for key in expected:
            assert_equal(found[key], expected[key])
    assert waits == WAITS[family]


def assert_equal(found, expected):
    if hasattr(expected, "get_fields"):
        assert found.get_fields().keys() == expected.get_fields().keys() and len(found) == len(expected)
        for name, value in expected.get_fields().items():
            assert_equal(found.get(name), value)
    elif hasattr(expected, "tensor"):
        assert_equal(found.tensor, expected.tensor)
    elif isinstance(expected, torch.Tensor):
        assert found.device == DEVICE
        torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)
    elif isinstance(expected, tuple):
        assert_equal(found[0], expected[0])
        assert [one["category_id"] for one in found[1]] == [one["category_id"] for one in expected[1]]
    elif hasattr(expected, "__dataclass_fields__"):  # DensePose's maps
        for name in expected.__dataclass_fields__:
            assert_equal(getattr(found, name), getattr(expected, name))
    else:
        assert expected is None and found is None


def test_two_devices_do_not_mix():
    with PretendedDevice() as mode:
        there = torch.ones(2, device=DEVICE)
        with pytest.raises(MixedDevicesError, match=r"device \(2,\), host \(2,\)"):
            there + torch.ones(2)
        assert not mode.waits
        assert (there + 1).sum().item() == 4
        assert mode.waits == {"aten::_local_scalar_dense": 1}
