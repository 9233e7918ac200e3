"""What holds for whatever comes: boxes, masks, batches, and all that is written and read back."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from process_worker import answer, tiny_predictor
from tiny_models import tiny_image

from litepred import BitMasks, Boxes, DetectionCheckpointer, Instances, Predictor, get_cfg
from litepred.checkpoint import read_checkpoint
from litepred.config import CfgNode
from litepred.data import ResizeShortestEdge, ResizeTransform
from litepred.errors import LitepredError
from litepred.layers import paste_masks_in_image
from litepred.layers.paste import paste_masks_in_windows
from litepred.modeling import Box2BoxTransform
from litepred.modeling.postprocess import detector_postprocess
from litepred.structures import mask_to_polygons, mask_to_rle, polygons_to_mask, rle_to_mask

_PHASES = [phase for phase in Phase if phase is not Phase.explain]  # explaining a failure takes minutes
settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, phases=_PHASES)
settings.register_profile("thorough", max_examples=500, deadline=None, phases=_PHASES)
settings.load_profile(os.environ.get("LITEPRED_HYPOTHESIS", "quick"))

side = st.integers(1, 300)
size = st.tuples(side, side)
coordinate = st.floats(-1e4, 1e4, width=32)
any_float = st.floats(width=32)
box = st.tuples(coordinate, coordinate, coordinate, coordinate)


def upright(boxes: list[tuple[float, ...]]) -> torch.Tensor:
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return torch.cat([torch.minimum(tensor[:, :2], tensor[:, 2:]), torch.maximum(tensor[:, :2], tensor[:, 2:])], dim=1)


def inside(boxes: torch.Tensor, size_hw: tuple[int, int]) -> bool:
    height, width = size_hw
    return bool((boxes >= 0).all() and (boxes <= torch.tensor([width, height] * 2)).all())


class TestBoxes:
    @given(size, st.integers(1, 800), st.integers(1, 1333))
    def test_resized_images_keep_their_limits(self, size_hw, short_edge, longest):
        height, width = ResizeShortestEdge.get_output_shape(*size_hw, short_edge, longest)
        assert 1 <= min(height, width) <= max(1, short_edge)
        assert max(height, width) <= longest

    @given(size, size, st.lists(box, min_size=1, max_size=5))
    def test_resizing_there_and_back(self, old, new, boxes):
        there = ResizeTransform(*old, *new)
        held = Boxes(upright(boxes))
        held.clip(old)
        points = held.tensor.double().numpy().reshape(-1, 2)
        moved = there.apply_coords(points.copy())
        assert (moved <= np.array(new[::-1]) * (1 + 1e-12)).all()
        back = there.inverse().apply_coords(moved)
        np.testing.assert_allclose(back, points, rtol=1e-9, atol=1e-9)
        assert (back >= 0).all()

    @given(size, size, st.lists(st.tuples(any_float, any_float, any_float, any_float), max_size=8))
    def test_whatever_was_predicted_ends_inside_the_image(self, network, wanted, boxes):
        raw = Instances(network, pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)))
        found = detector_postprocess(raw, *wanted).pred_boxes.tensor
        assert found.isfinite().all()
        assert inside(found, wanted)
        assert (found[:, 2:] > found[:, :2]).all()

    @given(st.lists(box, min_size=1, max_size=5), st.data())
    def test_decoding_never_inverts(self, boxes, data):
        deltas = data.draw(st.lists(st.lists(any_float, min_size=4, max_size=4), min_size=len(boxes)))[: len(boxes)]
        decoded = Box2BoxTransform((10, 10, 5, 5)).apply_deltas(torch.tensor(deltas), upright(boxes))
        decoded = decoded[decoded.isfinite().all(dim=1)]
        assert (decoded[:, 2:] >= decoded[:, :2]).all()

    @given(size, st.lists(box, max_size=5))
    def test_clipping_is_done_once(self, size_hw, boxes):
        once = Boxes(upright(boxes))
        once.clip(size_hw)
        twice = once.clone()
        twice.clip(size_hw)
        assert inside(once.tensor, size_hw)
        assert torch.equal(once.tensor, twice.tensor)
        assert (once.area() >= 0).all()


class TestMasks:
    @pytest.mark.parametrize("paste", [paste_masks_in_image, paste_masks_in_windows])
    @given(
        st.tuples(st.integers(1, 60), st.integers(1, 60)),
        st.lists(st.tuples(*[st.floats(-20, 80, width=32)] * 4), min_size=1, max_size=3),
        st.integers(0, 2**32 - 1),
    )
    def test_masks_lie_inside_their_boxes_to_a_pixel(self, paste, size_hw, boxes, seed):
        held = Boxes(upright(boxes))
        held = held[held.nonempty()]
        cells = torch.rand(len(held), 7, 7, generator=torch.Generator().manual_seed(seed))
        for mask, (x1, y1, x2, y2) in zip(paste(cells, held.tensor, size_hw).numpy(), held.tensor.tolist()):
            rows, columns = np.nonzero(mask)
            assert ((columns + 1 >= x1 - 1) & (columns <= x2 + 1)).all()
            assert ((rows + 1 >= y1 - 1) & (rows <= y2 + 1)).all()

    @staticmethod
    def mask(height: int, width: int, seed: int, density: float) -> np.ndarray:
        return np.random.default_rng(seed).random((height, width)) < density

    @given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
    def test_run_lengths_there_and_back(self, height, width, seed, density):
        pytest.importorskip("pycocotools")
        mask = self.mask(height, width, seed, density)
        rle = mask_to_rle(mask)
        assert np.array_equal(rle_to_mask(rle), mask)
        window = mask_to_rle(mask, (height + 9, width + 5), (3, 4))
        whole = np.zeros((height + 9, width + 5), bool)
        whole[4 : 4 + height, 3 : 3 + width] = mask
        assert np.array_equal(rle_to_mask(window), whole)

    @given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
    def test_polygons_there_and_back(self, height, width, seed):
        """Of shapes without holes, thick enough to have an outline; of any other, never more than was there."""
        generator = np.random.default_rng(seed)
        mask = np.zeros((height + 4, width + 4), bool)
        y, x = generator.integers(0, height, 2), generator.integers(0, width, 2)
        mask[min(y) : max(y) + 2, min(x) : max(x) + 2] = True
        assert np.array_equal(polygons_to_mask(mask_to_polygons(mask), mask.shape), mask)
        noise = self.mask(height, width, seed, 0.5)
        again = polygons_to_mask(mask_to_polygons(noise), noise.shape)
        assert not (again & ~noise & ~_enclosed(noise)).any()

    @given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.floats(0, 1))
    def test_bounding_boxes_hold_their_masks(self, height, width, seed, density):
        mask = self.mask(height, width, seed, density)
        found = BitMasks(torch.from_numpy(mask)[None]).get_bounding_boxes().tensor[0].tolist()
        if mask.any():
            rows, columns = np.nonzero(mask)
            assert found == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        else:
            assert found == [0, 0, 0, 0]


def _enclosed(mask: np.ndarray) -> np.ndarray:
    """Pixels outside the mask that cannot be left without crossing it: its holes."""
    import cv2

    padded = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(padded, connectivity=4)
    return ((labels != labels[0, 0]) & (padded > 0))[1:-1, 1:-1]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return tiny_predictor(exact=True)


class TestBatches:
    images = st.lists(st.tuples(st.integers(8, 96), st.integers(8, 96), st.integers(0, 9)), min_size=1, max_size=4)

    @settings(max_examples=12)
    @given(images)
    def test_a_batch_gives_what_each_image_gives_alone(self, predictor, images):
        arrays = [tiny_image(h, w, seed=seed).permute(1, 2, 0).numpy() for h, w, seed in images]
        alone = [answer(predictor(array)) for array in arrays]
        for one, other in zip(predictor.batch(arrays, batch_size=1), alone, strict=True):
            assert all(np.array_equal(answer(one)[name], other[name]) for name in other)
        for one, other in zip(predictor.batch(arrays, batch_size=4), alone, strict=True):
            assert_close(answer(one), other)

    @settings(max_examples=12)
    @given(images)
    def test_turning_the_batch_around_turns_the_answers_around(self, predictor, images):
        inputs = [{"image": tiny_image(h, w, seed=seed)} for h, w, seed in images]
        forward, backward = predictor.model(inputs), predictor.model(inputs[::-1])
        for one, other in zip(forward, reversed(backward), strict=True):
            assert_close(answer(one), answer(other))


def assert_close(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert len(one["scores"]) == len(other["scores"])
    np.testing.assert_allclose(one["scores"], other["scores"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(one["boxes"], other["boxes"], rtol=0, atol=0.02)


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
leaf = (
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | text
    | st.none()
    | st.lists(st.integers(-9, 9) | text, max_size=4)
)
name = st.from_regex(r"[A-Z][A-Z_0-9]{0,8}", fullmatch=True)
tree = st.recursive(leaf, lambda below: st.dictionaries(name, below, max_size=4), max_leaves=12)


class TestFiles:
    @given(st.dictionaries(name, tree, max_size=5))
    def test_configs(self, values):
        node = CfgNode(values)
        assert CfgNode.load_cfg(node.dump()) == node

    @given(st.floats(0, 1), st.integers(1, 2000), text)
    def test_a_whole_config(self, threshold, classes, place):
        cfg = get_cfg()
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.MODEL.ROI_HEADS.NUM_CLASSES = threshold, classes
        cfg.MODEL.WEIGHTS = f"{place}/model.pth"  # text that reads as a number would need quotes, as in Detectron2
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.yaml").write_text(cfg.dump(), encoding="utf-8")
            again = get_cfg()
            again.merge_from_file(str(Path(folder, "config.yaml")))
        assert json.dumps(again) == json.dumps(cfg)  # a tuple in a tuple comes back as a list, as in Detectron2

    dtypes = st.sampled_from([torch.float32, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool])

    @pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
    @given(
        st.dictionaries(
            st.from_regex(r"[a-z_0-9]{1,9}", fullmatch=True),
            st.tuples(st.lists(st.integers(0, 4), max_size=3), dtypes, st.integers(0, 2**32 - 1), st.booleans()),
            min_size=1,
            max_size=4,
        )
    )
    def test_checkpoints(self, suffix, tensors):
        model = torch.nn.Module()
        for key, (shape, dtype, seed, transposed) in tensors.items():
            values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(9).to(dtype)
            model.register_buffer(f"b_{key}", values.mT if transposed and values.ndim > 1 else values)
        with tempfile.TemporaryDirectory() as folder:
            DetectionCheckpointer(model, folder).save(f"x{suffix}")
            checkpoint = read_checkpoint(Path(folder, f"x{suffix}"))
            loaded = {key: tensor.clone() for key, tensor in checkpoint.model.items()}
            del checkpoint  # a file in which tensors lie cannot be deleted on Windows
            assert sorted(os.listdir(folder)) == ["last_checkpoint", f"x{suffix}"]
        state: dict[str, Any] = model.state_dict()
        assert set(loaded) == set(state)
        for key, tensor in state.items():
            assert loaded[key].dtype == tensor.dtype
            assert torch.equal(loaded[key], tensor)

    @given(st.binary(max_size=200))
    def test_bytes_that_are_no_checkpoint(self, data):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "x.pth").write_bytes(data)
            with contextlib.suppress(LitepredError):  # nothing else
                read_checkpoint(Path(folder, "x.pth"))
