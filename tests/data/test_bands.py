"""Models of other than three channels, and arrays of floats: as many bands as there are, each as it is."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_cfg
from torch.nn import functional as F

from litepred import ImageError, Predictor
from litepred.data import ResizeShortestEdge, ResizeTransform, VideoReader, video_file

RNG = np.random.default_rng(4)


def predictor_of(channels: int, **options) -> Predictor:
    cfg = tiny_cfg("fpn")
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0] * channels, [50.0] * channels
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 32, 64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights
        return Predictor(cfg, **options)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 12])
def test_bands_are_resized_one_by_one(bands):
    image = RNG.integers(0, 256, (20, 30, bands), dtype=np.uint8)
    image[..., -1] = 0  # as alpha, it would wipe out the others
    resized = ResizeTransform(20, 30, 13, 41).apply_image(image)
    for band in range(bands):
        alone = np.asarray(Image.fromarray(image[..., band].copy()).resize((41, 13), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(resized[..., band], alone)
    assert resized.dtype == np.uint8
    assert ResizeTransform(20, 30, 20, 30).apply_image(image) is image


@pytest.mark.parametrize("bands", [2, 4])
def test_exact_mode_takes_the_last_of_them_for_alpha(bands):
    image = RNG.integers(0, 256, (20, 30, bands), dtype=np.uint8)
    image[..., -1] = 0
    transform = ResizeShortestEdge(13, last_is_alpha=True).get_transform(image)
    assert not transform.apply_image(image).any()
    assert transform.inverse().last_is_alpha
    assert not predictor_of(4, exact=True).prepare(np.dstack([image] * (4 // bands)))["image"].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("channels", [3, 5])
def test_floats_are_interpolated_and_keep_their_values(channels, dtype):
    image = (RNG.random((20, 30, channels)) * 1e4 - 99).astype(dtype)
    inputs = predictor_of(channels).prepare(image)
    planes = torch.from_numpy(image.astype("f8" if dtype == np.float64 else "f4")).permute(2, 0, 1)[None]
    expected = F.interpolate(planes, inputs["image"].shape[1:], mode="bilinear", align_corners=False)[0].float()
    assert torch.equal(inputs["image"], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 12])
def test_models_of_any_number_of_channels(channels, dtype):
    predictor = predictor_of(channels)
    images = [RNG.integers(0, 256, (40, 50, channels)).astype(dtype) for _ in range(2)]
    alone = [predictor(image)["instances"] for image in images]
    for one, other in zip(alone, predictor.batch(images, 2)):
        assert len(one) == len(other["instances"])
    with pytest.raises(ImageError, match=f"{channels + 1} channels: expected uint8 .*{channels}"):
        predictor(np.zeros((8, 8, channels + 1), dtype))


def test_floats_up_to_1_for_a_model_of_255_are_told():
    image = RNG.random((40, 50, 3))
    with pytest.warns(UserWarning, match="floats up to (0.99.*|1), but .* values around 100: multiply them by 255"):
        predictor_of(3)(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor_of(3)(image * 255)


@pytest.fixture
def video(tmp_path):
    with video_file(tmp_path / "a.mp4", 5, (48, 64)) as add:
        for _ in range(3):
            add(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    return tmp_path / "a.mp4"


@pytest.mark.parametrize("is_camera", [False, True])
def test_frames_are_gray_to_a_model_of_gray(is_camera, video):
    """As files of them would be; what comes back with the answers stays in colour."""
    predictor = predictor_of(1)
    reader = VideoReader(video)
    reader.is_camera = is_camera
    seen = list(predictor.stream(reader))
    assert len(seen) == 3
    for frame, _, _, outputs in seen:
        assert frame.shape == (48, 64, 3)
        expected = predictor(Image.fromarray(frame[:, :, ::-1]))["instances"]
        assert torch.equal(outputs["instances"].pred_boxes.tensor, expected.pred_boxes.tensor)
        assert len(expected)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_a_video_for_a_model_of_other_channels(channels, video):
    with pytest.raises(
        ImageError, match=rf"a\.mp4 is a video, .* have 3 channels, but the model takes {channels}: give"
    ):
        predictor_of(channels).stream(video)
