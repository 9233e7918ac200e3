"""Ways to index three instances, and the rows that each selects, the empty ones first."""

import numpy as np
import torch

SELECTIONS = [
    ([], []),
    (slice(0, 0), []),
    (torch.zeros(3, dtype=torch.bool), []),
    (0, [0]),
    (-1, [2]),
    (slice(1, 3), [1, 2]),
    ([2, 0], [2, 0]),
    ([True, False, True], [0, 2]),
    (torch.tensor([True, False, True]), [0, 2]),
    (torch.tensor([1, 1]), [1, 1]),
    (torch.tensor([2], dtype=torch.int32), [2]),
    (np.array([False, True, True]), [1, 2]),
    (np.array([2]), [2]),
]
