"""What every test shares: two threads, as the goldens were made with, and the default predictor built once."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def page_predictor():
    from litepred import Predictor

    return Predictor()
