"""The R-CNN family: image → features → proposals → instances → original pixels.

N images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from ..config import CfgNode, configurable
from ..errors import ConfigError, ImageError, LitepredError, scalar
from ..layers import InferenceModule
from ..structures import ImageList, Instances
from .backbone import Backbone
from .build import META_ARCH_REGISTRY, build_backbone, build_proposal_generator, build_roi_heads
from .postprocess import MASK_FORMATS, detector_postprocess
from .roi_heads import ROIHeads

__all__ = ["GeneralizedRCNN", "MetaArch", "ProposalNetwork"]

Inputs = Sequence[Mapping[str, Any]]
Sizes = Sequence[tuple[int, int]]  # (height, width) of each image


class RawOutputs(TypedDict, total=False):
    """What a network finds in N padded images, in pixels of its input; each key only if it finds such.

    Attributes:
        instances: of each image.
        proposals: of each image, where the network only proposes.
        sem_seg: logits (N, K, H, W), at the resolution at which the semantic head predicts.
        sem_seg_is_padded: true where they are at the padded input's size, although the head can leave that to others.
    """

    instances: list[Instances]
    proposals: list[Instances]
    sem_seg: Tensor
    sem_seg_is_padded: bool


class MetaArch(InferenceModule):
    """What all whole models share: a backbone, the way from images to its input, and back to the images' pixels.

    Args:
        backbone: images to feature maps.
        pixel_mean: per channel, in the order of ``input_format``.
        pixel_std: per channel; the image minus mean is divided by it.
        input_format: order of the channels that the model was trained on, "BGR" or "RGB".

    Raises:
        ConfigError: when mean and standard deviation differ in length, or images cannot be normalised by them.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    resizes_itself = False  # whether images come to the model in their own size
    dense_parts: tuple[str, ...] = ("backbone",)  # the submodules that convolve or multiply matrices; see `optimize`

    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        **ignored: Any,
    ) -> None:
        super().__init__()
        mean, deviation = _floats(pixel_mean), _floats(pixel_std)
        if not (len(mean) == len(deviation) and np.isfinite([mean, deviation]).all() and deviation.all()):
            raise ConfigError(
                f"MODEL.PIXEL_MEAN is {pixel_mean} and MODEL.PIXEL_STD is {pixel_std}: expected finite numbers, one "
                "per channel in both, and none of the deviations 0"
            )
        self.backbone = backbone
        self.input_format = input_format
        self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate what all models read of a config into arguments."""
        return {
            "backbone": build_backbone(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes; inputs are moved there."""
        return self.pixel_mean.device

    def _move_to_current_device(self, x: Tensor) -> Tensor:
        return x.to(self.device)

    def preprocess_image(self, batched_inputs: Inputs) -> ImageList:
        """Normalise the images, pad them at the right and bottom to one size, and batch them.

        Raises:
            ImageError: when the batch is no list of dicts, an image not a (C, H, W) tensor with the model's number of
                channels, or a wanted size no number of pixels.
        """
        images = []
        for image in self.checked_images(batched_inputs):
            image = image.to(self.device, non_blocking=True).to(self.pixel_mean.dtype)
            images.append(self.resize(self.normalize(image)))
        return self.pad(images)

    def checked_images(self, batched_inputs: Inputs) -> list[Tensor]:
        """Return the ``image`` of each input, or raise as `preprocess_image` does."""
        if not isinstance(batched_inputs, Sequence):
            raise ImageError(
                f"the model got a {type(batched_inputs).__name__}: expected a list of dicts, one per image, "
                "with a tensor as 'image' in each"
            )
        return [_checked_image(i, inputs, len(self.pixel_mean)) for i, inputs in enumerate(batched_inputs)]

    def normalize(self, image: Tensor) -> Tensor:
        """Subtract the mean from an image (C, H, W) of the model's dtype, and divide by the standard deviation."""
        return (image - self.pixel_mean) / self.pixel_std

    def resize(self, image: Tensor) -> Tensor:
        """Bring an image (C, H, W) to the size that the network is to see, if the model does so itself."""
        return image

    def pad(self, images: Sequence[Tensor]) -> ImageList:
        """Batch normalised images, padded at the right and bottom to one size that the backbone takes."""
        constraints = self.backbone.padding_constraints
        return ImageList.from_tensors(images, self.backbone.size_divisibility, padding_constraints=constraints)

    @staticmethod
    def _postprocess(
        instances: Sequence[Instances], batched_inputs: Inputs, image_sizes: Sizes
    ) -> list[dict[str, Instances]]:
        """Bring the instances of each image, whose input had one of ``image_sizes``, to the size that it asks for."""
        return [
            {"instances": detector_postprocess(one, *output_size(inputs, size), mask_format=inputs.get("mask_format"))}
            for one, inputs, size in zip(instances, batched_inputs, image_sizes)
        ]

    def padded_size(self, image: Tensor) -> tuple[int, int]:
        """Return the (height, width) that the network sees of an image (C, H, W) alone, padding included."""
        square = self.backbone.padding_constraints.get("square_size", 0)
        height, width = (square, square) if square > 0 else image.shape[1:]
        unit = max(1, self.backbone.size_divisibility)
        return -(-height // unit) * unit, -(-width // unit) * unit

    def forward(self, batched_inputs: Inputs) -> list[dict[str, Any]]:
        """Run the model on a batch.

        Args:
            batched_inputs: a dict per image, with ``image``, a (C, H, W) tensor of any real dtype in 0…255 and in the
                channel order of ``input_format``; optionally ``height`` and ``width`` of the answers in pixels (else
                those of ``image``), ``mask_format`` (see `write_masks`; else the model's own), and ``proposals`` where
                the model proposes none itself. Ground truth is ignored.

        Returns:
            A dict per image, in order.

        Raises:
            ImageError: when an image is not such a tensor, or the batch or a size is something else.
        """
        if isinstance(batched_inputs, Sequence) and not batched_inputs:
            return []
        return self.inference(batched_inputs)

    def inference(self, batched_inputs: Inputs, do_postprocess: bool = True) -> list[Any]:
        """Run the model on a batch that is not empty.

        Returns:
            A dict per image; or, of a model that finds instances and without ``do_postprocess``, the raw `Instances` in
            pixels of the network's input, whose boxes may leave the image.
        """
        images = self.preprocess_image(batched_inputs)
        raw = self.network(images)
        return self.postprocess(raw, batched_inputs, images.image_sizes) if do_postprocess else raw["instances"]

    def network(self, images: ImageList, proposals: list[Instances] | None = None) -> RawOutputs:
        """Compute what is in normalised, padded images.

        This is the part that can be compiled or exported: what it does depends on the shapes of tensors alone, not on
        their values.

        Args:
            images: the batch.
            proposals: of each image, for a model that proposes none itself.
        """
        raise NotImplementedError

    def postprocess(self, raw: RawOutputs, batched_inputs: Inputs, image_sizes: Sizes) -> list[dict[str, Any]]:
        """Bring what `network` found to the size that each input asks for.

        Args:
            raw: the answers of `network`.
            batched_inputs: see `forward`.
            image_sizes: unpadded (height, width) of the images that the network saw.

        Returns:
            A dict per image: ``{"instances": Instances}``, where a subclass does not say otherwise.
        """
        mask_format = getattr(self, "mask_format", None)  # of a model that finds masks
        requests = [{"mask_format": mask_format, **inputs} for inputs in batched_inputs]
        return self._postprocess(raw["instances"], requests, image_sizes)


def _floats(values: Any) -> np.ndarray:
    """Return numbers in the float32 that images have, whole ones too; NaN in the place of what is no number."""
    listed = list(map(scalar, values)) if isinstance(values, Iterable) else [None]
    return np.array([one if isinstance(one, (int, float)) else np.nan for one in listed], np.float32)


def _checked_image(index: int, inputs: Any, channels: int) -> Tensor:
    """Return the image of one input, in which all is as a model expects it."""
    if not isinstance(inputs, Mapping):
        raise ImageError(
            f"input {index} of the model is a {type(inputs).__name__}: expected a dict with a tensor as 'image'"
        )
    image = inputs.get("image")
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != channels or not image.numel():
        came = f"a tensor of shape {tuple(image.shape)}" if isinstance(image, Tensor) else repr(type(image))
        expected = f"a tensor of shape ({channels}, height, width), height and width at least 1"
    elif image.is_complex() or image.is_quantized or image.is_meta or image.layout is not torch.strided:
        came = f"a tensor of {image.dtype} and {image.layout} on {image.device}"
        expected = "real numbers from 0 to 255 in a dense tensor"
    elif image.device.type == "cpu" and not _is_finite(image):  # on an accelerator, asking would mean waiting
        came, expected = "NaN or infinite values", "numbers from 0 to 255"
    else:
        output_size(inputs, image.shape[1:])
        return image
    raise ImageError(f"input {index} of the model has {came} as its 'image': expected {expected}")


def _is_finite(image: Tensor) -> bool:
    """Whether there is no NaN and no infinity; their sum, which may be infinite without them, is 50 times faster."""
    return not image.is_floating_point() or bool(image.sum().isfinite()) or bool(torch.isfinite(image).all())


def output_size(inputs: Mapping[str, Any], image_size: Sequence[int]) -> tuple[int, int]:
    """Return the (height, width) that the answers for one input shall have.

    Raises:
        ImageError: when one is no number of pixels.
    """
    wanted = inputs.get("height", image_size[0]), inputs.get("width", image_size[1])
    try:
        height, width = (int(one) for one in wanted)
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if height < 1 or width < 1:
        raise ImageError(
            f"an input of the model has the height {wanted[0]!r} and the width {wanted[1]!r} for its answers: expected "
            "whole numbers of pixels, 1 or more, or neither for those of its 'image'"
        )
    return height, width


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(MetaArch):
    """Backbone, proposal generator, and heads on the proposals.

    Args:
        proposal_generator: features to proposals; ``None`` when every input brings its ``proposals``.
        roi_heads: features and proposals to instances.
        **kwargs: see `MetaArch`.

    Attributes:
        mask_format: how ``pred_masks`` come; see `write_masks`.
        mask_formats: those that `set_mask_format` takes.
    """

    mask_formats: tuple[str, ...] = MASK_FORMATS

    @configurable
    def __init__(self, *, proposal_generator: nn.Module | None, roi_heads: ROIHeads, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.mask_format: str | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate a config into arguments."""
        arguments = super().from_config(cfg)
        shapes = arguments["backbone"].output_shape()
        return arguments | {
            "proposal_generator": build_proposal_generator(cfg, shapes),
            "roi_heads": build_roi_heads(cfg, shapes),
        }

    def inference(  # type: ignore[override]
        self, batched_inputs: Inputs, detected_instances: list[Instances] | None = None, do_postprocess: bool = True
    ) -> list[Any]:
        """Run the model on a batch that is not empty.

        Args:
            batched_inputs: see `forward`.
            detected_instances: per image, ``pred_boxes`` and ``pred_classes`` in pixels of the network's input; then
                nothing is proposed or classified, and only masks and keypoints are added to them.
            do_postprocess: whether to bring the instances to the wanted size.

        Returns:
            ``{"instances": Instances}`` per image, or the raw `Instances` in pixels of the network's input.
        """
        images = self.preprocess_image(batched_inputs)
        if detected_instances is None:
            raw = self.network(images, self.given_proposals(batched_inputs, images.image_sizes))
        else:
            given = [instances.to(self.device) for instances in detected_instances]
            raw = {"instances": self.roi_heads.forward_with_given_boxes(self.backbone(images.tensor), given)}
        return self.postprocess(raw, batched_inputs, images.image_sizes) if do_postprocess else raw["instances"]

    def network(self, images: ImageList, proposals: list[Instances] | None = None) -> RawOutputs:
        """Find instances in normalised, padded images; see `MetaArch.network`."""
        return {"instances": self._detect(images, self.backbone(images.tensor), proposals)}

    def set_mask_format(self, mask_format: str) -> None:
        """Let ``pred_masks`` come in another format; see `write_masks`.

        Raises:
            ConfigError: for a format that is not among ``mask_formats``.
        """
        if mask_format not in self.mask_formats:
            raise ConfigError(f"mask_format is {mask_format!r}: expected one of {', '.join(self.mask_formats)}")
        self.mask_format = mask_format

    def given_proposals(self, batched_inputs: Inputs, image_sizes: Sizes) -> list[Instances] | None:
        """Return the proposals that the inputs bring, ``None`` for a model that proposes itself.

        Raises:
            LitepredError: when an input brings none, or some that belong to an image of another size.
        """
        if self.proposal_generator is not None:
            return None
        given = []
        for i, (inputs, size) in enumerate(zip(batched_inputs, image_sizes)):
            proposals = inputs.get("proposals")
            if not isinstance(proposals, Instances) or not proposals.has("proposal_boxes"):
                raise LitepredError(
                    f"input {i} has no 'proposals', but this model proposes none itself (MODEL.PROPOSAL_GENERATOR.NAME "
                    "is PrecomputedProposals): expected Instances with proposal_boxes in pixels of 'image'"
                )
            boxes = proposals.proposal_boxes
            if not hasattr(boxes, "tensor") or proposals.image_size != size:
                raise LitepredError(
                    f"the 'proposals' of input {i} have a {type(boxes).__name__} as proposal_boxes and the image size "
                    f"{proposals.image_size}, where the image has {size}: expected Instances with Boxes as "
                    "proposal_boxes, in pixels of 'image'"
                )
            given.append(proposals.to(self.device))
        return given

    def _detect(
        self, images: ImageList, features: dict[str, Tensor], proposals: list[Instances] | None
    ) -> list[Instances]:
        if self.proposal_generator is not None:
            proposals, _ = self.proposal_generator(images, features, None)
        instances, _ = self.roi_heads(images, features, proposals, None)
        return instances


@META_ARCH_REGISTRY.register()
class ProposalNetwork(MetaArch):
    """A region proposal network alone.

    Args:
        proposal_generator: features to proposals.
        **kwargs: see `MetaArch`.
    """

    @configurable
    def __init__(self, *, proposal_generator: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.proposal_generator = proposal_generator

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Translate a config into arguments."""
        arguments = super().from_config(cfg)
        shapes = arguments["backbone"].output_shape()
        return arguments | {"proposal_generator": build_proposal_generator(cfg, shapes)}

    def network(self, images: ImageList, proposals: list[Instances] | None = None) -> RawOutputs:
        """Propose boxes in normalised, padded images; see `MetaArch.network`."""
        found, _ = self.proposal_generator(images, self.backbone(images.tensor), None)
        return {"proposals": found}

    def postprocess(self, raw: RawOutputs, batched_inputs: Inputs, image_sizes: Sizes) -> list[dict[str, Any]]:
        """Return ``{"proposals": Instances}`` per image, with ``proposal_boxes`` and raw ``objectness_logits``."""
        found = super().postprocess({"instances": raw["proposals"]}, batched_inputs, image_sizes)
        return [{"proposals": one["instances"]} for one in found]
