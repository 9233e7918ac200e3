"""The base module: evaluation mode and no other."""

import pytest
import torch
from torch import nn

from litepred.errors import LitepredError
from litepred.layers import InferenceModule


class Head(InferenceModule):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.nested = InferenceModule()


def test_without_a_cuda_device_a_model_stays_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    head = Head()
    with pytest.warns(UserWarning, match="no CUDA device"):
        assert head.eval().cuda() is head


def test_evaluation_from_the_start():
    head = Head()
    assert not head.training
    assert not head.nested.training


@pytest.mark.parametrize("leave", [lambda m: m.train(), lambda m: m.train(True), lambda m: nn.Sequential(m).train()])
def test_training_is_refused(leave):
    head = Head()
    with pytest.raises(LitepredError, match=r"Head\.train\(\).*only runs inference.*eval\(\)"):
        leave(head)
    assert not head.training


@pytest.mark.parametrize("enter", [lambda m: m.eval(), lambda m: m.train(False)])
def test_evaluation_reaches_plain_children(enter):
    head = Head()
    assert head.norm.training  # a plain module starts as torch makes it
    assert enter(head) is head
    assert not head.norm.training
