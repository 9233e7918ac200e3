"""Tracking: numbers that instances keep from frame to frame, given by a tracker of the package trackers.

N instances of a frame.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from .errors import LitepredError, package
from .predictor import StreamedFrame
from .results.convert import to_supervision
from .structures import Instances, Outputs

__all__ = ["Tracker", "follow"]


class Tracker:
    """Give the instances of frame after frame a field ``track_ids``: (N,) int64, -1 for one that is followed by none.

    Args:
        tracker: ``True`` for ByteTrack of the package trackers, in whose settings a score above 0.7 begins a track; or
            a tracker of this package or supervision, or any with a method ``update`` from supervision's ``Detections``
            to those with a ``tracker_id``, as far as these keep ``data``.
        fps: frames per second, for ByteTrack.

    Raises:
        LitepredError: the packages are missing (the extra ``track``), or ``tracker`` has no such method.
    """

    def __init__(self, tracker: Any = True, fps: float = 30.0) -> None:
        if tracker is True:
            install = "'litepred[track]'"
            tracker = package("trackers", "track=True", install).ByteTrackTracker(frame_rate=fps)
        update = getattr(tracker, "update", None) or getattr(tracker, "update_with_detections", None)
        if not callable(update):
            raise LitepredError(f"track is {tracker!r:.60}: expected True, or a tracker that has a method update()")
        self._update = update
        self._takes_times = "timestamp" in inspect.signature(update).parameters

    def __call__(self, outputs: Outputs, time_s: float | None = None) -> Outputs:
        """Return the answer on the next frame with ``track_ids``.

        Args:
            outputs: what a predictor returned for the frame.
            time_s: when it is shown, in seconds; by default frames follow each other at one rate.

        Raises:
            LitepredError: it has no instances.
        """
        if "instances" not in outputs:
            raise LitepredError(f"track came, but this model finds {', '.join(outputs)} and no instances: leave it out")
        found = outputs["instances"]
        plain = Instances(found.image_size, pred_boxes=found.pred_boxes, scores=found.scores)
        plain.pred_classes = found.pred_classes
        detections = to_supervision(plain)
        detections.data = {"row": np.arange(len(found))}
        times = {"timestamp": time_s} if self._takes_times and time_s is not None else {}
        tracked = self._update(detections, **times)
        ids = np.full(len(found), -1, np.int64)
        if len(tracked):
            ids[tracked.data["row"]] = tracked.tracker_id
        named = found[:]
        named.track_ids = torch.from_numpy(ids).to(found.scores.device)
        return {**outputs, "instances": named}


def follow(frames: Iterable[StreamedFrame], tracker: Any, fps: float) -> Iterator[StreamedFrame]:
    """Yield frames whose instances have ``track_ids``; see `Tracker`, which is made at once."""
    track = Tracker(tracker, fps)
    return (one._replace(outputs=track(one.outputs, one.time_s)) for one in frames)
