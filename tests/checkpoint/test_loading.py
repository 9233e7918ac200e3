from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from litepred.checkpoint import LoadReport, load_into
from litepred.errors import CheckpointError


class FrozenBatchNorm2d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.full((channels,), 0.5))


class Heads(nn.Module):
    def __init__(self, classes: int, mask: bool) -> None:
        super().__init__()
        self.box_head = nn.Sequential()
        self.box_head.add_module("fc1", nn.Linear(4, 8))
        self.box_predictor = nn.Sequential()
        self.box_predictor.add_module("cls_score", nn.Linear(8, classes + 1))
        if mask:
            self.mask_head = nn.Linear(2, 2)


class Detector(nn.Module):
    def __init__(self, classes: int = 3, blocks: int = 6, mask: bool = False) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "stem": FrozenBatchNorm2d(2),
                "norm": nn.BatchNorm2d(2),
                "res4": nn.ModuleList(nn.ModuleDict({"conv3": nn.Conv2d(1, 1, 1)}) for _ in range(blocks)),
            }
        )
        self.roi_heads = Heads(classes, mask)
        self.register_buffer("pixel_mean", torch.full((3,), 100.0))


def filled(model: nn.Module, value: float = 2.0) -> dict[str, Tensor]:
    return {key: torch.full_like(tensor, value) for key, tensor in model.state_dict().items()}


def values(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def assert_untouched(model: nn.Module, before: dict[str, Tensor]) -> None:
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.fixture(autouse=True)
def _warnings_fail() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_an_empty_model_takes_an_empty_state() -> None:
    assert load_into(nn.Module(), {}) == LoadReport()


def test_all_that_fits_is_loaded_but_the_pixel_mean() -> None:
    model = Detector()
    assert load_into(model, filled(model)) == LoadReport()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.full_like(tensor, 100 if key == "pixel_mean" else 2)), key


def test_tensors_are_copied_unless_they_may_be_adopted() -> None:
    state, places = {"weight": torch.rand(4, 16), "bias": torch.rand(4)}, {}
    for adopt in (False, True):
        model = nn.Linear(16, 4)
        load_into(model, state, adopt=adopt)
        assert torch.equal(model.weight, state["weight"]) and torch.equal(model.bias, state["bias"])
        places[adopt] = model.weight.data_ptr() == state["weight"].data_ptr()
    assert places == {False: False, True: True}


@pytest.mark.parametrize(
    ("value", "is_adopted"),
    [
        (torch.rand(4, 16), True),
        (torch.rand(4, 16, dtype=torch.float64), False),  # has to be cast
        (torch.rand(16, 4).T, False),  # lies in another order
        (torch.rand(8, 16)[:4], False),  # a part of what others may hold
        (torch.rand(4 * 16 + 1)[1:].view(4, 16), False),  # not placed as torch places a tensor of its own
        (torch.frombuffer(bytearray(4 * 4 * 16 + 8)[4:260], dtype=torch.float32).view(4, 16), None),  # as it comes
    ],
)
def test_what_a_model_can_adopt(value: Tensor, is_adopted: bool | None) -> None:
    model = nn.Linear(16, 4, bias=False)
    parameter = model.weight
    load_into(model, {"weight": value}, adopt=True)
    assert torch.equal(model.weight, value.float())
    assert model.weight is parameter
    assert model.weight.is_contiguous()
    assert model.weight.data_ptr() % 64 == 0
    assert is_adopted is None or is_adopted == (model.weight.data_ptr() == value.data_ptr())


def test_a_model_whose_state_dict_takes_no_keywords() -> None:
    class Own(nn.Linear):
        def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
            return super().state_dict()

    model, weight = Own(4, 4, bias=False), torch.rand(4, 4)
    load_into(model, {"weight": weight})
    assert torch.equal(model.weight, weight)


def test_two_weights_of_one_tensor_do_not_become_one() -> None:
    model, shared = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)), torch.rand(4, 4)
    load_into(model, {"0.weight": shared, "1.weight": shared}, adopt=True)
    model[0].weight.data.zero_()
    assert model[1].weight.data.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_cast(dtype: torch.dtype) -> None:
    model = nn.Linear(2, 2)
    load_into(model, {"weight": torch.eye(2, dtype=dtype), "bias": torch.ones(2, dtype=dtype)})
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, torch.eye(2))


@pytest.mark.parametrize(
    "extra",
    [
        {"pixel_std": torch.ones(9)},
        {"pixel_mean": torch.ones(9, 1, 1)},
        {"model.pixel_mean": torch.ones(3)},
        {"proposal_generator.anchor_generator.cell_anchors.0": torch.ones(3, 4)},
        {"anchor_generator.cell_anchors.4": torch.ones(3, 4)},
        {"backbone.stem.num_batches_tracked": torch.tensor(3)},
        {"backbone.norm.num_batches_tracked": torch.tensor([3])},
        {"roi_heads.box_predictor.fed_loss_cls_weights": torch.ones(3)},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_extra_keys_that_change_nothing_are_passed_over(extra: dict[str, Tensor]) -> None:
    model = Detector()
    assert load_into(model, {**filled(model), **extra}) == LoadReport()
    assert torch.equal(model.state_dict()["pixel_mean"], torch.full((3,), 100.0))


@pytest.mark.parametrize("key", ["pixel_mean", "backbone.norm.num_batches_tracked"])
def test_missing_keys_that_change_nothing_are_passed_over(key: str) -> None:
    model = Detector()
    state = filled(model)
    del state[key]
    assert load_into(model, state) == LoadReport()


@pytest.mark.parametrize(
    ("absent", "mean", "variance"),
    [
        (("running_mean", "running_var"), 0.0, 1.0),
        (("running_mean",), 0.0, 2.0),
        (("running_var",), 2.0, 1.0),
        ((), 2.0, 2.0),
    ],
)
def test_statistics_that_a_frozen_norm_goes_without(absent: tuple[str, ...], mean: float, variance: float) -> None:
    model = Detector()
    state = {key: value for key, value in filled(model).items() if key not in {f"backbone.stem.{n}" for n in absent}}
    assert load_into(model, state) == LoadReport()
    assert model.state_dict()["backbone.stem.running_mean"].tolist() == [mean] * 2
    assert model.state_dict()["backbone.stem.running_var"].tolist() == [variance] * 2


def test_a_frozen_norm_as_the_whole_model() -> None:
    model = FrozenBatchNorm2d(2)
    assert load_into(model, {"weight": torch.ones(2), "bias": torch.ones(2)}) == LoadReport()
    assert model.state_dict()["running_var"].tolist() == [1, 1]


def test_an_ordinary_norm_needs_its_statistics() -> None:
    model = Detector()
    state = {key: value for key, value in filled(model).items() if not key.startswith("backbone.norm.running")}
    with pytest.raises(CheckpointError, match=r"backbone\.norm\.\{running_mean, running_var\}"):
        load_into(model, state)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(8).numpy(), "a ndarray by the name of .*expected tensors by name"),
        (None, "a NoneType by the name of .*expected tensors by name"),
        (torch.ones(8, dtype=torch.complex64), r"torch\.complex64 .*expected dense tensors of real numbers"),
        (torch.ones(8).to_sparse(), r"torch\.sparse_coo .*expected dense tensors"),
        (torch.ones(8, device="meta"), "on meta: expected dense tensors"),
        (torch.ones(8, dtype=torch.int8), r"has torch\.int8 as .*expected floating-point weights"),
        (torch.ones(8, dtype=torch.bool), r"has torch\.bool as .*expected floating-point weights"),
    ],
)
def test_what_is_no_weight_leaves_the_model_untouched(value: object, message: str, strict: bool) -> None:
    model = Detector()
    before = values(model)
    state: dict[str, object] = {**filled(model), "roi_heads.box_head.fc1.bias": value}
    with pytest.raises(CheckpointError, match=message):
        load_into(model, state, strict=strict)  # type: ignore[arg-type]
    assert_untouched(model, before)


def test_a_missing_key_leaves_the_model_untouched() -> None:
    model = Detector()
    before, state = values(model), filled(model)
    del state["roi_heads.box_head.fc1.weight"], state["roi_heads.box_head.fc1.bias"]
    with pytest.raises(CheckpointError) as caught:
        load_into(model, {**state, "left.over": torch.ones(1)}, source="weights.pth")
    assert_untouched(model, before)
    message = str(caught.value)
    assert message.startswith("weights.pth does not fit the model; nothing was loaded.")
    assert "Missing in the checkpoint (2 keys):\n  roi_heads.box_head.fc1.{bias, weight}\n" in message
    assert "Not used by the model (1 keys):\n  left.over\n" in message
    assert "strict=False" in message


def test_the_wrong_number_of_classes_is_said_so() -> None:
    model = Detector(classes=80)
    before = values(model)
    with pytest.raises(CheckpointError) as caught:
        load_into(model, filled(Detector(classes=5)))
    assert_untouched(model, before)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert "MODEL.ROI_HEADS.NUM_CLASSES is 80 but the checkpoint has 5: set it to 5" in lines
    assert "roi_heads.box_predictor.cls_score.weight: checkpoint (6, 8), model (81, 8)" in lines


@pytest.mark.parametrize(("blocks", "depth", "other"), [(6, 50, 101), (23, 101, 50)])
def test_another_depth_is_refused_even_if_no_key_is_missing(blocks: int, depth: int, other: int) -> None:
    model = Detector(blocks=blocks)
    before = values(model)
    with pytest.raises(CheckpointError, match=f"MODEL.RESNETS.DEPTH is {depth} but the checkpoint has {other}: set it"):
        load_into(model, filled(Detector(blocks=29 - blocks)))
    assert_untouched(model, before)


@pytest.mark.parametrize("strict", [True, False])
def test_unused_keys_are_one_warning_with_the_setting(strict: bool) -> None:
    model = Detector()
    with pytest.warns(UserWarning) as caught:
        report = load_into(model, filled(Detector(mask=True)), strict=strict, source="weights.pth")
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == (
        "weights.pth has 2 keys that the model does not use; they hint at MODEL.MASK_ON True:\n"
        "  roi_heads.mask_head.{bias, weight}"
    )
    assert report == LoadReport(unexpected=("roi_heads.mask_head.weight", "roi_heads.mask_head.bias"))
    assert torch.equal(model.roi_heads.box_head.fc1.weight, torch.full((8, 4), 2.0))


def test_not_strict_loads_what_fits() -> None:
    model = Detector(classes=80)
    before, state = values(model), filled(Detector(classes=5))
    del state["roi_heads.box_head.fc1.bias"]
    with pytest.warns(UserWarning, match="fits the model only in part") as caught:
        report = load_into(model, {**state, "left.over": torch.ones(1)}, strict=False)
    assert report == LoadReport(
        missing=("roi_heads.box_head.fc1.bias",),
        unexpected=("left.over",),
        mismatched=(
            ("roi_heads.box_predictor.cls_score.weight", (6, 8), (81, 8)),
            ("roi_heads.box_predictor.cls_score.bias", (6,), (81,)),
        ),
    )
    assert len(caught) == 1
    text = str(caught[0].message)
    assert all(part in text for part in ("fc1.bias", "left.over", "cls_score.weight", "NUM_CLASSES is 80"))
    assert torch.equal(model.roi_heads.box_head.fc1.weight, torch.full((8, 4), 2.0))
    for key in ("roi_heads.box_head.fc1.bias", "roi_heads.box_predictor.cls_score.weight"):
        assert torch.equal(model.state_dict()[key], before[key])


def test_a_long_list_of_shapes_is_shortened() -> None:
    model, other = (nn.ModuleList(nn.Linear(size, 1, bias=False) for _ in range(50)) for size in (1, 2))
    with pytest.raises(CheckpointError, match=r"Of another shape \(50 keys\):(.|\n)*\.\.\. and 10 more"):
        load_into(model, filled(other))
