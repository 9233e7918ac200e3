"""What every test shares: two threads, as the goldens were made with, and the default predictor built once."""

from __future__ import annotations

import pytest
import torch

import litepred  # noqa: F401 - sets how many shapes of layers are kept, which the next line already reads

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def page_predictor():
    from litepred import Predictor

    return Predictor()
