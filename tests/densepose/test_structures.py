from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from litepred import Boxes, Instances
from litepred.densepose.structures import (
    DensePoseChartPredictorOutput,
    DensePoseChartPredictorOutputWithConfidences,
    DensePoseChartResultWithConfidences,
    quantize_densepose_chart_result,
)


def maps(number: int, channels: int) -> torch.Tensor:
    return torch.arange(number).view(-1, 1, 1, 1).expand(number, channels, 4, 4).float().clone()


def output(number: int = 4, plain: bool = False) -> DensePoseChartPredictorOutput:
    fields = maps(number, 2), maps(number, 25), maps(number, 25), maps(number, 25)
    if plain:
        return DensePoseChartPredictorOutput(*fields)
    return DensePoseChartPredictorOutputWithConfidences(*fields, sigma_2=maps(number, 25))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    ("item", "selected"),
    [
        (slice(0, 0), []),
        ([], []),
        (torch.zeros(4, dtype=torch.bool), []),
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (torch.tensor(2), [2]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (np.array([1, 1]), [1, 1]),
        (torch.tensor([2]), [2]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (np.array([False, True, False, False]), [1]),
    ],
)
def test_indexing(item, selected, plain):
    whole = output(plain=plain)
    part = whole[item]
    assert type(part) is type(whole) and len(part) == len(selected)
    for name, tensor in vars(part).items():
        if getattr(whole, name) is None:
            assert tensor is None
        else:
            assert tensor.shape[1:] == getattr(whole, name).shape[1:]
            assert tensor[:, 0, 0, 0].tolist() == selected


@pytest.mark.parametrize("item", [4, -5, np.int64(4)])
def test_out_of_range(item):
    with pytest.raises(IndexError):
        output()[item]


def test_iteration_ends():
    assert [int(one.u[0, 0, 0, 0]) for one in output(3)] == [0, 1, 2]
    assert list(output(0)) == []


def test_the_order_of_the_attributes():
    assert list(vars(output())) == [
        *("coarse_segm", "fine_segm", "u", "v", "sigma_1", "sigma_2"),
        *("kappa_u", "kappa_v", "fine_segm_confidence", "coarse_segm_confidence"),
    ]
    assert isinstance(output(), DensePoseChartPredictorOutput)


def test_moving_keeps_the_type_and_what_is_missing():
    moved = output().to(torch.float64)
    assert type(moved) is DensePoseChartPredictorOutputWithConfidences
    assert (moved.u.dtype, moved.sigma_2.dtype, moved.sigma_1) == (torch.float64, torch.float64, None)


@pytest.mark.parametrize("again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_as_a_field_of_instances(again):
    instances = Instances((9, 9), pred_boxes=Boxes(torch.zeros(4, 4)), pred_densepose=output())
    instances = again(instances.to("cpu"))
    assert instances[1].pred_densepose.u[:, 0, 0, 0].tolist() == [1]
    assert len(instances[torch.zeros(4, dtype=torch.bool)].pred_densepose) == 0
    joined = Instances.cat([instances, instances[2:]])
    assert joined.pred_densepose.sigma_2[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 2, 3]
    assert joined.pred_densepose.kappa_u is None


@pytest.mark.parametrize(("value", "byte"), [(-0.5, 0), (0.0, 0), (0.1, 25), (0.999, 254), (1.0, 255), (7.0, 255)])
def test_quantised_values_are_clamped_and_cut(value, byte):
    result = DensePoseChartResultWithConfidences(torch.full((2, 3), 24), torch.full((2, 2, 3), value))
    quantised = quantize_densepose_chart_result(result).labels_uv_uint8
    assert quantised.dtype == torch.uint8
    assert quantised[:, 0, 0].tolist() == [24, byte, byte]


def test_a_stored_result_is_read_without_running_code():
    file = io.BytesIO()
    torch.save([DensePoseChartResultWithConfidences(torch.ones(2, 2).long(), torch.zeros(2, 2, 2))], file)
    file.seek(0)
    (result,) = torch.load(file, weights_only=True)
    assert result.labels.tolist() == [[1, 1], [1, 1]] and result.sigma_1 is None
