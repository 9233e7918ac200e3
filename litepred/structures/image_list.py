"""Images of different sizes in one padded tensor.

There are B images; H and W are the padded height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ImageList"]


class ImageList:
    """A batch of images, padded at the right and bottom to one size.

    ``images[i]`` is a view of image ``i`` without its padding.

    Args:
        tensor: (B, H, W) or (B, ..., H, W).
        image_sizes: (height, width) in pixels of each image without padding.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        self.tensor = tensor
        self.image_sizes = image_sizes

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> ImageList:
        """Return the batch with its tensor moved or converted by ``Tensor.to``."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @staticmethod
    def from_tensors(
        tensors: Sequence[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Mapping[str, int] | None = None,
    ) -> ImageList:
        """Pad images to the largest height and the largest width among them.

        Args:
            tensors: a list or tuple of images, each (H_i, W_i) or (..., H_i, W_i) with equal leading dimensions.
                The dtype and device of the first decide.
            size_divisibility: when above 1, round the common height and width up to multiples of it.
            pad_value: the value of the padding.
            padding_constraints: ``size_divisibility`` in it overrides the argument; a positive ``square_size`` is the
                common height and width before rounding; a single image that is larger is cropped to it.

        Returns:
            The batch, contiguous. A single image that is contiguous and needs no padding shares its storage.

        Raises:
            AssertionError: when there is no image.
            TypeError: when the argument is not a list or tuple of tensors.
            ValueError: when the leading dimensions differ, or one of several images exceeds ``square_size``.
        """
        if not isinstance(tensors, (list, tuple)) or not all(isinstance(image, Tensor) for image in tensors):
            raise TypeError("ImageList.from_tensors expects a list or tuple of tensors: unbind a batched tensor first")
        if not tensors:
            raise AssertionError("ImageList.from_tensors got no image: expected at least one")
        first, shapes = tensors[0], [tuple(image.shape) for image in tensors]
        if any(len(shape) < 2 or shape[:-2] != first.shape[:-2] for shape in shapes):
            raise ValueError(
                f"images came with shapes {shapes}: expected (..., height, width) with equal leading dimensions"
            )
        sizes: list[Any] = [(image.shape[-2], image.shape[-1]) for image in tensors]
        height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
        if torch.jit.is_tracing():  # which has sizes as tensors, and would make a constant of what Python chooses
            sizes = [torch.stack([torch.as_tensor(side) for side in size]) for size in sizes]
            height, width = torch.stack(sizes).amax(dim=0)
        constraints = padding_constraints or {}
        square = constraints.get("square_size", 0)
        if square > 0:
            if len(tensors) > 1 and max(height, width) > square:
                raise ValueError(
                    f"a batch of {len(tensors)} has images up to {height} × {width}, which do not fit into square_size "
                    f"{square}: resize them or run them one at a time"
                )
            height = width = square
        divisor = constraints.get("size_divisibility", size_divisibility)
        if divisor > 1:
            height, width = ((side + divisor - 1) // divisor * divisor for side in (height, width))
        if len(tensors) > 1:
            batch = first.new_full((len(tensors), *first.shape[:-2], height, width), pad_value)
            for padded, image in zip(batch, tensors):
                padded[..., : image.shape[-2], : image.shape[-1]].copy_(image)
        elif not (torch.compiler.is_compiling() or torch.jit.is_tracing()) and sizes[0] == (height, width):
            batch = first[None].contiguous()
        else:
            padding = (0, width - sizes[0][1], 0, height - sizes[0][0])
            batch = F.pad(first, padding, value=pad_value)[None].contiguous()
        return ImageList(batch, sizes)

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, index: int) -> Tensor:
        height, width = self.image_sizes[index]
        return self.tensor[index, ..., :height, :width]
