"""Draw a prediction in one call, or show it in a notebook."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Metadata
from ..errors import LitepredError
from ..structures import Outputs
from .image import VisImage, as_rgb
from .visualizer import ColorMode, Visualizer

__all__ = ["draw", "show"]

_STUFF_OPACITY = 0.25  # behind instances
_SEMANTIC_OPACITY = 0.5
_PROPOSALS = 100
_NOTEBOOK_SIDE = 1600  # pixels


def draw(
    image: np.ndarray, outputs: Outputs, metadata: Metadata | None = None, threshold: float = 0.5, **options: Any
) -> np.ndarray:
    """Draw a prediction over its image.

    Args:
        image: (H, W, 3) uint8, BGR, of the size that the prediction is in; or gray, (H, W).
        outputs: what a `Predictor` returned. Stuff segments are tinted where it has ``panoptic_seg``, all pixels where
            it has only ``sem_seg``; instances get their mask, box, keypoints, name and score; the best 100 proposals
            get their boxes.
        metadata: names and colours of the classes.
        threshold: instances that score less are left out.
        **options: options of `Visualizer`: ``instance_mode``, ``line_width``, ``opacity``, ``scale``,
            ``font_size_scale``, ``font``, ``labels`` and ``scores``.

    Returns:
        A new (H, W, 3) uint8 array, BGR.
    """
    visualizer = Visualizer(as_rgb(image)[:, :, ::-1], metadata, **options)
    instances = outputs.get("instances")
    if instances is not None:
        instances = instances.to("cpu")
        if instances.has("scores"):
            instances = instances[instances.scores >= threshold]
    if "panoptic_seg" in outputs:
        ids, segments = outputs["panoptic_seg"]
        if instances is None:
            visualizer.draw_panoptic_seg(ids, segments)
        elif options.get("instance_mode") is not ColorMode.IMAGE_BW:
            stuff = [segment for segment in segments if not segment["isthing"]]
            visualizer.draw_panoptic_seg(ids, stuff, alpha=_STUFF_OPACITY)
    elif "sem_seg" in outputs and instances is None:
        visualizer.draw_sem_seg(outputs["sem_seg"].max(dim=0).indices, alpha=_SEMANTIC_OPACITY)
    if instances is not None:
        visualizer.draw_instance_predictions(instances)
    elif "proposals" in outputs:
        visualizer.overlay_instances(boxes=outputs["proposals"].proposal_boxes[:_PROPOSALS])
    return np.ascontiguousarray(visualizer.output.canvas[:, :, ::-1])


def show(image: np.ndarray, outputs: Outputs, metadata: Metadata | None = None, **options: Any) -> None:
    """Show in a notebook the picture that `draw` makes of a prediction, with the same arguments.

    By default ``scale`` limits the picture to 1,600 pixels a side.

    Raises:
        LitepredError: outside a notebook.
    """
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError as error:
        raise LitepredError(
            "show() is for notebooks and needs IPython, which is not installed: pip install ipython; elsewhere write "
            "what litepred.draw() returns with cv2.imwrite"
        ) from error
    if get_ipython() is None:
        raise LitepredError("show() is for notebooks: elsewhere write what litepred.draw() returns with cv2.imwrite")
    options.setdefault("scale", min(1.0, _NOTEBOOK_SIDE / max(np.shape(image)[:2])))
    display(VisImage(draw(image, outputs, metadata, **options)[:, :, ::-1]))
