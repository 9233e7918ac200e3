from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_cfg
from torch import Tensor, nn

from litepred.checkpoint import DetectionCheckpointer, read_checkpoint
from litepred.checkpoint.naming import by_suffix, find_state, from_caffe2, split_query, unwrapping
from litepred.errors import CheckpointError
from litepred.modeling import build_model


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("", False, "")),
        ("x.pth", ("x.pth", False, "")),
        ("x.pth?matching_heuristics=True", ("x.pth", True, "")),
        ("x.pth?matching_heuristics=False", ("x.pth?matching_heuristics=False", False, "")),
        ("https://h/x?id=1&matching_heuristics=True", ("https://h/x?id=1", True, "")),
        ("https://h/x?matching_heuristics=True&id=1&key=2", ("https://h/x?id=1&key=2", True, "")),
        ("x.pth?prefix=modelTeacher", ("x.pth", False, "modelTeacher")),
        ("https://h/x?prefix=a.b&id=1", ("https://h/x?id=1", False, "a.b")),
    ],
)
def test_split_query(path: str, expected: tuple[str, bool, str]) -> None:
    assert split_query(path) == expected


ONES = {"conv.weight": torch.ones(2)}
TWOS = {"conv.weight": torch.full((2,), 2.0)}


@pytest.mark.parametrize(
    ("data", "extra", "author"),
    [
        (ONES, {}, ""),
        ({"model": ONES}, {}, ""),
        ({"state_dict": ONES, "epoch": 1}, {"epoch": 1}, ""),
        ({"model": ONES, "state_dict": TWOS}, {"state_dict": TWOS}, ""),
        ({"model_state": ONES, "epoch": 1}, {"epoch": 1}, "pycls"),
        ({"blobs": ONES, "cfg": "A: 1"}, {"cfg": "A: 1"}, "Caffe2"),
        ({"model": ONES, "__author__": "me"}, {"__author__": "me"}, "me"),
        ({"model": ONES, "__author__": None}, {"__author__": None}, ""),
        ({"ema_state": ONES, "iteration": 3}, {"iteration": 3}, ""),
        ({"model_ema": ONES, "ema": 0.99}, {"ema": 0.99}, ""),
        ({"ema": ONES}, {}, ""),
        ({"state_dict_ema": ONES, "x": None}, {"x": None}, ""),
        ({"model": ONES, "ema_state": TWOS}, {"ema_state": TWOS}, ""),
        ({"model_state_dict": ONES, "epoch": 1}, {"epoch": 1}, ""),
        ({"net": ONES, "ema": TWOS}, {"ema": TWOS}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_find_state(data: Any, extra: dict[str, Any], author: str) -> None:
    found = find_state(data)
    assert (found.model, found.extra, found.author) == (ONES, extra, author)
    assert found.matching_heuristics == (author in ("pycls", "Caffe2"))


@pytest.mark.parametrize(("told", "expected"), [(True, True), (False, False), (None, False), ("True", False)])
def test_a_file_that_tells_whether_its_names_are_short(told: Any, expected: bool) -> None:
    assert find_state({"model": ONES, "matching_heuristics": told}).matching_heuristics == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "its entries are none"),
        ([], "of type list"),
        ({"schema": {"conv": "text"}}, "no weights found in it: its entries are 'schema' \\(dict\\)"),
        ({"ema_state": {"decay": 0.9}}, "no weights found"),
        ({"ema_state": {}}, "no weights found"),
        (
            {"teacher": ONES, "student": TWOS},
            r"several models, 'teacher' and 'student': choose .* \?prefix=teacher after",
        ),
        (
            {"student": {"model": ONES, "epoch": 1}, "teacher": {"model": TWOS}},
            r"several models, 'student' and 'teacher': choose .* \?prefix=student after",
        ),
    ],
)
def test_where_there_is_no_state(data: Any, expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected):
        find_state(data)


def test_a_model_that_is_chosen() -> None:
    assert find_state({"teacher": ONES, "student": TWOS}, "student").model == TWOS
    within = {"model": ONES, "step": 3, "teacher": {"state_dict": TWOS}}
    assert find_state(within).model == ONES
    assert find_state(within, "teacher").model == {"state_dict.conv.weight": TWOS["conv.weight"]}
    both = {"student": {"ema": ONES, "model": TWOS, "epoch": 3}, "teacher": {"ema": ONES, "net": TWOS}}
    found = find_state(both, "student")
    assert (found.model, found.extra["ema"]) == ({"model.conv.weight": TWOS["conv.weight"]}, ONES)
    assert find_state(both, "teacher").model == {"net.conv.weight": TWOS["conv.weight"]}


@pytest.mark.parametrize("entry", ["model", "state_dict", "ema"])
def test_entries_within_an_entry(entry: str) -> None:
    found = find_state({entry: {"module": ONES, "decay": 0.9}, "epoch": 1})
    assert (found.model, found.extra) == ({"module.conv.weight": ONES["conv.weight"]}, {"decay": 0.9, "epoch": 1})


PLAIN = ("backbone.stem.weight", "roi_heads.box.weight", "pixel_mean")


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda name: name, ""),
        (lambda name: f"module.{name}", ""),
        (lambda name: f"_orig_mod.{name}", "'_orig_mod.' in them"),
        (lambda name: f"module._orig_mod.{name}", "'_orig_mod.' in them"),
        (lambda name: f"_orig_mod.module.{name}", "'_orig_mod.' in them"),
        (lambda name: f"model.{name}", "begin with 'model.'"),
        (lambda name: f"modelTeacher.module.{name}", "begin with 'modelTeacher.module.'"),
        (lambda name: f"module.modelStudent._orig_mod.{name}", "begin with 'module.modelStudent.'"),
        (lambda name: f"my.own.net.{name}", "begin with 'my.own.net.'"),
        (lambda name: f"my-net.0.{name}", "begin with 'my-net.0.'"),
        (lambda name: name.replace("roi_heads.", "roi_heads._orig_mod."), "'_orig_mod.' in them"),
        (lambda name: name.replace("stem.", "_fsdp_wrapped_module.stem."), "'_fsdp_wrapped_module.' in them"),
        (lambda name: name.replace("box.", "box._checkpoint_wrapped_module."), "'_checkpoint_wrapped_module.' in"),
        (lambda name: name.replace("backbone.", "backbone._orig_mod."), "'_orig_mod.' in them"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value(PLAIN[0]),
)
def test_what_wrappers_put_before_names(wrap: Any, told: str, caplog: pytest.LogCaptureFixture) -> None:
    names = [wrap(name) for name in PLAIN]
    assert tuple(map(unwrapping(names), names)) == PLAIN
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


def test_names_beside_the_prefix_stay() -> None:
    names = ["model.backbone.w", "model.head.w", "criterion.w"]
    assert list(map(unwrapping(names), names)) == ["backbone.w", "head.w", "criterion.w"]


@pytest.mark.parametrize("names", [(), ("conv.weight",), ("backbone.a", "teacher.backbone.a"), ("stem.backbone_w",)])
def test_names_that_stay(names: tuple[str, ...]) -> None:
    assert tuple(map(unwrapping(names), names)) == names


def test_two_models_in_one_state_dict() -> None:
    names = ["modelTeacher.backbone.w", "modelTeacher.head.w", "modelStudent.backbone.w", "step"]
    with pytest.raises(CheckpointError, match=r"several models, 'modelStudent' and 'modelTeacher': .*\?prefix=model"):
        unwrapping(names)
    assert list(map(unwrapping(names, "modelTeacher"), names)) == ["backbone.w", "head.w", None, None]
    with pytest.raises(CheckpointError, match=r"no names that begin with 'model.': they begin with 'modelStudent' and"):
        unwrapping(names, "model")
    wrapped = [f"module.{name}" for name in names]
    assert list(map(unwrapping(wrapped, "modelTeacher"), wrapped)) == ["backbone.w", "head.w", None, None]
    within = [name.replace(".backbone", ".module.backbone") for name in names]
    assert list(map(unwrapping(within, "modelTeacher"), within)) == ["backbone.w", "head.w", None, None]
    with pytest.raises(CheckpointError, match=r"'nets\.a' and 'nets\.b': choose one with \?prefix=nets\.a"):
        unwrapping(["nets.a.backbone.w", "nets.b.backbone.w"], "nets")


@pytest.mark.parametrize("wrapper", ["", "module.", "module.module."])
def test_a_model_that_has_several_itself(wrapper: str) -> None:
    names = ["modelTeacher.backbone.w", "modelStudent.backbone.w", "step"]
    wrapped = [wrapper + name for name in names]
    assert list(map(unwrapping(wrapped, own=["modelStudent.", "modelTeacher."]), wrapped)) == names
    with pytest.raises(CheckpointError, match="several models"):
        unwrapping(wrapped, own=["modelTeacher."])


@pytest.mark.parametrize("other", ["_orig_mod.backbone.w", "backbone._orig_mod.w", "model.backbone.w"])
def test_names_that_become_the_same(other: str) -> None:
    names = [other, "model._orig_mod.backbone.w" if other[0] == "m" else "backbone.w"]
    with pytest.raises(CheckpointError, match=rf"two of its names, {other} and .*are both backbone\.w"):
        unwrapping(names)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"model": ONES}, ""),
        ({"model": ONES, "ema_decay": 0.9}, ""),
        ({"model": ONES, "ema_state": TWOS}, "'model' is taken, as Detectron2 does, not the average 'ema_state'"),
        ({"ema_state": TWOS}, "only weights are a running average, 'ema_state', which is taken"),
        ({"net": ONES}, "weights are taken from 'net'"),
    ],
)
def test_the_log_tells_which_of_two_is_taken(
    data: dict[str, Any], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        find_state(data)
    assert expected in caplog.text
    assert bool(expected) == bool(caplog.text)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("conv1_b", "stem.conv1.bias"),
        ("res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("res_conv1_bn_rm", "stem.conv1.norm.running_mean"),
        ("res_conv1_bn_riv", "stem.conv1.norm.running_var"),
        ("conv1_gn_s", "stem.conv1.norm.weight"),
        ("conv1_gn_b", "stem.conv1.norm.bias"),
        ("res2_0_branch1_w", "res2.0.shortcut.weight"),
        ("res2_0_branch1_bn_gamma", "res2.0.shortcut.norm.weight"),
        ("res2_0_branch2a_bn_s", "res2.0.conv1.norm.weight"),
        ("res3_1_branch2b_bn_beta", "res3.1.conv2.norm.bias"),
        ("res4_22_branch2c_bn_running_mean", "res4.22.conv3.norm.running_mean"),
        ("res5_2_branch2c_bn_running_var", "res5.2.conv3.norm.running_var"),
        ("res5_2_branch2c_gn_bias", "res5.2.conv3.norm.bias"),
        ("fpn_inner_res5_2_sum_w", "fpn_lateral5.weight"),
        ("fpn_inner_res4_5_sum_lateral_b", "fpn_lateral4.bias"),
        ("fpn_inner_res4_35_sum_lateral_gn_s", "fpn_lateral4.norm.weight"),
        ("fpn_res2_2_sum_w", "fpn_output2.weight"),
        ("fpn_res5_2_sum_gn_b", "fpn_output5.norm.bias"),
        ("conv_rpn_w", "proposal_generator.rpn_head.conv.weight"),
        ("conv_rpn_fpn2_b", "proposal_generator.rpn_head.conv.bias"),
        ("rpn_cls_logits_w", "proposal_generator.rpn_head.objectness_logits.weight"),
        ("rpn_cls_logits_fpn2_b", "proposal_generator.rpn_head.objectness_logits.bias"),
        ("rpn_bbox_pred_b", "proposal_generator.rpn_head.anchor_deltas.bias"),
        ("rpn_bbox_pred_fpn2_w", "proposal_generator.rpn_head.anchor_deltas.weight"),
        ("fc6_w", "box_head.fc1.weight"),
        ("fc7_b", "box_head.fc2.bias"),
        ("head_conv4_w", "box_head.conv4.weight"),
        ("head_conv1_gn_s", "box_head.conv1.norm.weight"),
        ("cls_score_b", "cls_score.bias"),
        ("bbox_pred_w", "bbox_pred.weight"),
        ("_[mask]_fcn1_w", "mask_head.mask_fcn1.weight"),
        ("_[mask]_fcn4_gn_b", "mask_head.mask_fcn4.norm.bias"),
        ("conv5_mask_w", "mask_head.deconv.weight"),
        ("mask_fcn_logits_b", "mask_head.predictor.bias"),
        ("conv_fcn8_b", "roi_heads.keypoint_head.conv_fcn8.bias"),
        ("kps_score_lowres_w", "roi_heads.keypoint_head.score_lowres.weight"),
        ("pred_w", "linear.weight"),
        ("pred_b", "linear.bias"),
        ("fc1000_w", "fc1000.weight"),
        ("fpn_6_w", "fpn.6.weight"),
        ("retnet_cls_conv_n0_fpn3_w", "retnet.cls.conv.n0.fpn3.weight"),
    ],
)
def test_names_of_caffe2(key: str, expected: str) -> None:
    assert list(from_caffe2({key: torch.zeros(8, 2)})) == [expected]


@pytest.mark.parametrize(
    ("key", "rows", "expected"),
    [
        ("cls_score_w", 3, [1, 2, 0]),
        ("cls_score_b", 1, [0]),
        ("bbox_pred_w", 12, [4, 5, 6, 7, 8, 9, 10, 11]),
        ("bbox_pred_b", 8, [4, 5, 6, 7]),
        ("bbox_pred_b", 4, [0, 1, 2, 3]),
        ("mask_fcn_logits_w", 3, [1, 2]),
        ("mask_fcn_logits_b", 1, [0]),
        ("rpn_bbox_pred_w", 12, list(range(12))),
        ("retnet_bbox_pred_fpn3_w", 8, list(range(8))),
        ("kps_score_lowres_w", 3, [0, 1, 2]),
    ],
)
def test_where_the_background_goes(key: str, rows: int, expected: list[int]) -> None:
    (value,) = from_caffe2({key: torch.arange(rows).view(rows, 1)}).values()
    assert value.flatten().tolist() == expected


def test_an_empty_caffe2_state() -> None:
    assert from_caffe2({}) == {}


def test_two_caffe2_names_of_one_meaning_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"two of its Caffe2 names mean .*conv\.weight"):
        from_caffe2({"conv_rpn_w": torch.ones(1), "conv_rpn_fpn2_w": torch.ones(1)})


def zeros(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {key.replace("_", "."): torch.zeros(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("state", "model", "expected"),
    [
        ({}, {}, []),
        ({}, zeros(a_w=(1,)), []),
        (zeros(a_w=(1,)), {}, ["a.w"]),
        (zeros(a_w=(1,)), zeros(a_w=(1,)), ["a.w"]),
        (zeros(w=(1,)), zeros(a_b_w=(1,)), ["a.b.w"]),
        (zeros(b_w=(1,)), zeros(ab_w=(1,)), ["b.w"]),  # whole parts only
        (zeros(w=(1,), b_w=(1,)), zeros(a_b_w=(1,)), ["w", "a.b.w"]),  # the longest
        (zeros(w=(1,), b_w=(1,)), zeros(a_b_w=(1,), c_w=(1,)), ["c.w", "a.b.w"]),
        (zeros(w=(2,)), zeros(a_w=(1,)), ["a.w"]),  # reported as mis-shaped
        (zeros(w=(2,)), zeros(a_w=(1,), b_w=(2,)), ["b.w"]),
        (zeros(a_b_w=(1,)), zeros(b_w=(1,)), ["a.b.w"]),  # not the other way round
    ],
)
def test_by_suffix(state: dict[str, Tensor], model: dict[str, Tensor], expected: list[str]) -> None:
    assert list(by_suffix(state, model)) == expected


def test_a_name_that_ends_two_of_the_models_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"w in the checkpoint could be a\.w or b\.w: give it the full name"):
        by_suffix(zeros(w=(1,)), zeros(a_w=(1,), b_w=(1,)))


# As Python 2.7.18 with NumPy 1.16.6 wrote it: pickle.dumps(..., 0) and cPickle.dumps(..., 2).
PYTHON_2 = {
    0: b"(dp0\nS'cfg'\np1\nS'NUM_CLASSES: 3'\np2\nsS'blobs'\np3\n(dp4\nS'cls_score_w_momentum'\np5\n"
    b"cnumpy.core.multiarray\n_reconstruct\np6\n(cnumpy\nndarray\np7\n(I0\ntp8\nS'b'\np9\ntp10\nRp11\n(I1\n(I1\nI1\n"
    b"tp12\ncnumpy\ndtype\np13\n(S'f4'\np14\nI0\nI1\ntp15\nRp16\n(I3\nS'<'\np17\nNNNI-1\nI-1\nI0\ntp18\nbI00\n"
    b"S'\\x00\\x00\\x00\\x00'\np19\ntp20\nbsS'cls_score_w'\np21\ng6\n(g7\n(I0\ntp22\ng9\ntp23\nRp24\n(I1\n(I3\nI1\n"
    b"tp25\ng16\nI00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\x80?\\x00\\x00\\x00@'\np26\ntp27\nbsS'conv1_w'\np28\ng6\n"
    b"(g7\n(I0\ntp29\ng9\ntp30\nRp31\n(I1\n(I2\nI1\nI1\nI1\ntp32\ng16\nI00\n"
    b"S'\\x00\\x00\\xc0\\xbf\\x00\\x00HC'\np33\ntp34\nbss.",
    2: b"\x80\x02}q\x01(U\x03cfgq\x02U\x0eNUM_CLASSES: 3q\x03U\x05blobsq\x04}q\x05(U\x14cls_score_w_momentumq\x06"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01K\x01K\x01\x86"
    b"cnumpy\ndtype\nq\nU\x02f4K\x00K\x01\x87Rq\x0b(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04"
    b"\x00\x00\x00\x00tbU\x0bcls_score_wq\x0ch\x07h\x08K\x00\x85U\x01b\x87Rq\r(K\x01K\x03K\x01\x86h\x0b\x89U\x0c"
    b"\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@tbU\x07conv1_wq\x0eh\x07h\x08K\x00\x85U\x01b\x87Rq\x0f(K\x01"
    b"(K\x02K\x01K\x01K\x01th\x0b\x89U\x08\x00\x00\xc0\xbf\x00\x00HCtbuu.",
}


@pytest.mark.parametrize("protocol", list(PYTHON_2))
def test_a_detectron1_file_of_python_2(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "model_final.pkl").write_bytes(PYTHON_2[protocol])
    checkpoint = read_checkpoint(tmp_path / "model_final.pkl")
    assert {key: value.tolist() for key, value in checkpoint.model.items()} == {
        "stem.conv1.weight": [[[[-1.5]]], [[[200.0]]]],
        "cls_score.weight": [[1.0], [2.0], [0.0]],
    }
    assert checkpoint.extra == {"cfg": "NUM_CLASSES: 3"}
    assert (checkpoint.author, checkpoint.matching_heuristics) == ("Caffe2", True)


def imagenet(model: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """A model's ResNet as MSRA's R-50.pkl has it: affine norms without statistics, and a classifier on top."""
    branches = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    leaves = {"weight": "w", "norm.weight": "bn_s", "norm.bias": "bn_b"}
    blobs = {"conv1_b": np.zeros(8, np.float32), "fc1000_w": np.ones((9, 9)), "fc1000_b": np.ones(9)}
    for key, value in model.state_dict().items():
        block = re.search(r"(res\d)\.(\d+)\.(shortcut|conv\d)\.(weight|norm\.weight|norm\.bias)$", key)
        stem = re.search(r"stem\.(conv1)\.(weight|norm\.weight|norm\.bias)$", key)
        if block:
            blobs[f"{block[1]}_{block[2]}_{branches[block[3]]}_{leaves[block[4]]}"] = value.numpy()
        elif stem:
            blobs[("res_" if "norm" in key else "") + f"conv1_{leaves[stem[2]]}"] = value.numpy()
    return blobs


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("family", ["fpn", "c4", "retinanet"])
def test_imagenet_weights_are_a_backbone_alone(family: str, tmp_path: Path) -> None:
    source, model = (build_model(tiny_cfg(family)) for _ in range(2))
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(imagenet(source), 2))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    checkpointer = DetectionCheckpointer(model)
    with pytest.raises(CheckpointError, match="this checkpoint is a backbone alone, such as ImageNet weights"):
        checkpointer.load(tmp_path / "R-50.pkl")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    rest = checkpointer.load(tmp_path / "R-50.pkl", strict=False)
    assert rest == {}
    assert checkpointer.last_report.unexpected == ("stem.conv1.bias", "fc1000.weight", "fc1000.bias")
    missing = checkpointer.last_report.missing
    assert missing
    assert not any(".res" in key or "stem" in key for key in missing)
    for key, value in model.state_dict().items():
        if not key.endswith(("running_mean", "running_var")):
            assert torch.equal(value, before[key] if key in missing else source.state_dict()[key]), key


def test_imagenet_weights_are_all_that_a_backbone_needs(tmp_path: Path) -> None:
    source, model = (build_model(tiny_cfg("fpn")).backbone.bottom_up for _ in range(2))
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(imagenet(source), 2))
    with pytest.warns(UserWarning, match=r"3 keys that the model does not use(.|\n)*fc1000"):
        DetectionCheckpointer(model).load(tmp_path / "R-50.pkl")
    assert torch.equal(model.stem.conv1.weight, source.stem.conv1.weight)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["torchvision", "pycls"])
def test_backbones_of_others(kind: str, tmp_path: Path) -> None:
    source, model = (build_model(tiny_cfg("fpn")) for _ in range(2))
    state = {**source.backbone.bottom_up.state_dict(), "stem.fc.weight": torch.ones(2)}
    if kind == "pycls":
        state["stem.conv1.norm.num_batches_tracked"] = torch.tensor(3)
        torch.save({"epoch": 3, "model_state": state, "optimizer_state": {}}, tmp_path / "x.pyth")
    else:
        arrays = {key: value.numpy() for key, value in state.items()}
        data = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
        (tmp_path / "x.pyth").write_bytes(pickle.dumps(data))
    checkpointer = DetectionCheckpointer(model)
    rest = checkpointer.load(tmp_path / "x.pyth", strict=False)
    assert rest.get("__author__") == ("torchvision" if kind == "torchvision" else None)
    assert checkpointer.last_report.unexpected == ("stem.fc.weight",)
    for key, value in source.backbone.bottom_up.state_dict().items():
        assert torch.equal(model.backbone.bottom_up.state_dict()[key], value), key


def test_short_names_are_matched_only_when_asked(tmp_path: Path) -> None:
    source, model = (build_model(tiny_cfg("fpn")) for _ in range(2))
    state = {key.replace("roi_heads.", ""): value for key, value in source.state_dict().items()}
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"ends of the model's, such as .*matching_heuristics=True"):
        DetectionCheckpointer(model).load(tmp_path / "x.pth")
    assert DetectionCheckpointer(model).load(f"{tmp_path}/x.pth?matching_heuristics=True") == {}
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())


def test_the_number_of_classes_of_a_detectron1_file_is_told(tmp_path: Path) -> None:
    model = build_model(tiny_cfg("fpn"))
    short = {key.split("box_predictor.")[-1]: value for key, value in model.state_dict().items()}
    state = {key: value.numpy() for key, value in short.items() if "score" not in key}
    state |= {"cls_score.weight": np.ones((6, 16), np.float32), "cls_score.bias": np.ones(6, np.float32)}
    data = {"model": state, "__author__": "me", "matching_heuristics": True}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(data))
    expected = "MODEL.ROI_HEADS.NUM_CLASSES is 3 but the checkpoint has 5: set it to 5"
    with pytest.raises(CheckpointError, match=expected):
        DetectionCheckpointer(model).load(tmp_path / "x.pkl")
