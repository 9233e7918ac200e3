"""Pictures of DensePose results over the grey photo, as DensePose's own tools draw them.

N instances, H × W pixels. Images are uint8 arrays (H, W, 3) in BGR order. Later instances lie on top of earlier ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..data import image_to_array
from ..errors import ImageError, LitepredError
from ..structures import Instances
from .converters import (
    CompoundExtractor,
    DensePoseResultExtractor,
    extract_boxes_xywh_from_instances,
    extract_scores_from_instances,
)
from .structures import DensePoseChartResult

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageLike = np.ndarray | Image | str | os.PathLike[str] | BinaryIO

__all__ = [
    "STYLES",
    "VISUALIZERS",
    "CompoundVisualizer",
    "DensePoseResultsFineSegmentationVisualizer",
    "DensePoseResultsUVisualizer",
    "DensePoseResultsVVisualizer",
    "ScoredBoundingBoxVisualizer",
    "draw",
    "get_texture_atlas",
    "parse_names",
]

Extractor = Callable[..., Any]

STYLES = ("densepose", "idm-vton")
_NUM_PARTS = 24
_PARULA = 12  # cv2.COLORMAP_PARULA, named here so that cv2 is imported at the first picture
_GREEN, _PALE = (18, 127, 15), (218, 227, 218)


class _MapVisualizer:
    """Paint one of labels, u and v on every body.

    Args:
        inplace: whether to paint over the picture. Otherwise the picture is made black before each instance, so that
            the last one alone remains, as in IDM-VTON's copy of DensePose.
        cmap: the number of one of OpenCV's colour maps, such as ``cv2.COLORMAP_VIRIDIS``; by default Parula.
        alpha: opacity of the paint, 0 to 1.
        cfg: what DensePose's own tools pass to every visualizer; it has no effect, as the two below.
        texture_atlas: see ``cfg``.
        texture_atlases_dict: see ``cfg``.
    """

    extractor: ClassVar[Extractor] = DensePoseResultExtractor()

    def __init__(
        self,
        inplace: bool = True,
        cmap: int = _PARULA,
        alpha: float = 0.7,
        cfg: object = None,
        texture_atlas: object = None,
        texture_atlases_dict: object = None,
    ) -> None:
        self.inplace = inplace
        self.cmap = cmap
        self.alpha = alpha

    def visualize(
        self, image_bgr: np.ndarray, results_and_boxes_xywh: tuple[Sequence[DensePoseChartResult] | None, Tensor | None]
    ) -> np.ndarray:
        """Paint the results that `DensePoseResultExtractor` returned into ``image_bgr``; return the same array."""
        import cv2

        results, boxes = results_and_boxes_xywh
        if results is None or boxes is None:
            return image_bgr
        for result, box_xywh in zip(results, boxes.tolist()):
            x, y, width, height = (int(number) for number in box_xywh)
            if not self.inplace:
                image_bgr[:] = 0
            if width <= 0 or height <= 0:  # as in DensePose, such a box is not painted, though its result has a pixel
                continue
            window = image_bgr[y : y + height, x : x + width]
            body = result.labels.cpu().numpy() > 0
            paint = cv2.applyColorMap(self._values(result).cpu().numpy(), self.cmap)[body]  # (P, 3)
            # 1.0 - 0.7 is more than 0.3: truncated, some greys would come out darker with the latter
            window[body] = (window[body] * (1.0 - self.alpha) + paint * self.alpha).astype(np.uint8)
        return image_bgr

    def _values(self, result: DensePoseChartResult) -> Tensor:
        raise NotImplementedError


class DensePoseResultsFineSegmentationVisualizer(_MapVisualizer):
    """Paint each body part in a colour of its own."""

    def _values(self, result: DensePoseChartResult) -> Tensor:
        return (result.labels.float() * (255.0 / _NUM_PARTS)).to(torch.uint8)


class DensePoseResultsUVisualizer(_MapVisualizer):
    """Paint the first surface coordinate; where it leaves 0…1 colours wrap around, as in DensePose."""

    _row = 0

    def _values(self, result: DensePoseChartResult) -> Tensor:
        return ((result.uv[self._row] * 255.0).long() & 255).to(torch.uint8)


class DensePoseResultsVVisualizer(DensePoseResultsUVisualizer):
    """Paint the second surface coordinate, likewise."""

    _row = 1


class ScoredBoundingBoxVisualizer:
    """Draw boxes with their scores, from a pair of boxes (N, 4), as x, y, width and height, and scores (N,)."""

    extractor: ClassVar[Extractor] = CompoundExtractor(
        [extract_boxes_xywh_from_instances, extract_scores_from_instances]
    )

    def __init__(self, cfg: object = None, texture_atlas: object = None, texture_atlases_dict: object = None) -> None:
        """Take what DensePose's own tools pass to every visualizer, without effect."""

    def visualize(self, image_bgr: np.ndarray, scored_bboxes: Sequence[Tensor | None]) -> np.ndarray:
        """Draw into ``image_bgr``; return the same array."""
        import cv2

        boxes, scores = scored_bboxes
        for box, score in [] if boxes is None or scores is None else zip(boxes.cpu().numpy(), scores.tolist()):
            corner, opposite = ((int(x), int(y)) for x, y in (box[:2], box[:2] + box[2:]))
            cv2.rectangle(image_bgr, corner, opposite, _GREEN, 1)
            cv2.putText(
                image_bgr, f"{score:6.4f}", corner, cv2.FONT_HERSHEY_SIMPLEX, 0.35, _PALE, 1, lineType=cv2.LINE_AA
            )
        return image_bgr


class CompoundVisualizer:
    """Several visualisers, which draw one after the other."""

    def __init__(self, visualizers: Sequence[Any]) -> None:
        self.visualizers = list(visualizers)

    def visualize(self, image_bgr: np.ndarray, data: Sequence[Any]) -> np.ndarray:
        """Draw into ``image_bgr`` the entry of ``data`` that each visualiser has there; return the picture."""
        for visualizer, its_data in zip(self.visualizers, data):
            image_bgr = visualizer.visualize(image_bgr, its_data)
        return image_bgr


def get_texture_atlas(path: str | None) -> None:
    """Return no texture for no path, as DensePose's own tools call it unless they are told to draw textures.

    Raises:
        LitepredError: A path is given: textures are not drawn here.
    """
    if path is not None:
        raise LitepredError(f"the texture atlas {path!r} was given, but litepred draws no textures: leave it out")


VISUALIZERS: dict[str, Any] = {
    "dp_segm": DensePoseResultsFineSegmentationVisualizer,
    "dp_u": DensePoseResultsUVisualizer,
    "dp_v": DensePoseResultsVVisualizer,
    "bbox": ScoredBoundingBoxVisualizer,
}


def parse_names(text: str) -> list[str]:
    """Split a comma-separated list of `VISUALIZERS`.

    Raises:
        LitepredError: A name is unknown.
    """
    names = text.split(",")
    if unknown := [name for name in names if name not in VISUALIZERS]:
        raise LitepredError(
            f"cannot draw {', '.join(map(repr, unknown))}: expected one or more of {', '.join(VISUALIZERS)}, separated "
            "by commas without blanks. DensePose's contours, textures and CSE models are not drawn here"
        )
    return names


def draw(image: ImageLike, instances: Instances, what: str = "dp_segm", style: str = "densepose") -> np.ndarray:
    """Draw what a DensePose model found.

    Args:
        image: the image that was predicted on: a uint8 array (H, W, 3) in BGR order, a path or a Pillow image.
        instances: the prediction's ``instances``. All of them are drawn, so select the wanted ones before.
        what: names separated by commas, in the order of drawing: "dp_segm" for the body parts in 24 colours, "dp_u"
            and "dp_v" for the coordinates on them, "bbox" for boxes with scores.
        style: "densepose" paints every body over the grey photo. "idm-vton" paints "dp_segm" as the try-on demo of
            that name does: opaque on black, and only the last instance, which has the lowest score. In both styles,
            a photo in which nobody was found comes back grey.

    Returns:
        A new (H, W, 3) uint8 array, BGR.

    Raises:
        ImageError: ``image`` is no image, or has not the instances' size.
        LitepredError: ``what`` or ``style`` is none of those above.
    """
    import cv2

    names = parse_names(what)
    if style not in STYLES:
        raise LitepredError(f"style is {style!r}: expected one of {', '.join(STYLES)}")
    array = image_to_array(image)
    if tuple(instances.image_size) != array.shape[:2]:
        raise ImageError(
            f"the image has {array.shape[:2]} pixels and the instances are of one with {tuple(instances.image_size)}: "
            "pass the image that was predicted on"
        )
    canvas = np.repeat(cv2.cvtColor(array, cv2.COLOR_BGR2GRAY)[:, :, None], 3, axis=2)
    in_black = style == "idm-vton"
    maps = {name for name in names if name.startswith("dp_")}
    last_alone = in_black and maps == {"dp_segm"}  # the other instances need not be converted then
    results = DensePoseResultExtractor()(instances, slice(-1, None) if last_alone else None) if maps else None
    for name in names:
        options = {"inplace": False, "alpha": 1.0} if in_black and name == "dp_segm" else {}
        visualizer = VISUALIZERS[name](**options)
        canvas = visualizer.visualize(canvas, results if name in maps else visualizer.extractor(instances))
    return canvas
