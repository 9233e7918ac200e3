"""Run a model on a video, or on a camera (camera:0), frame by frame, and write what it sees as a video.

    python examples/video.py street.mp4 seen.mp4

Without a video: one of a page that scrolls by.
"""

import argparse
from pathlib import Path

from litepred import Predictor, draw, example_page, read_image
from litepred.data import VideoReader, video_file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("source", nargs="?", help="video file, or camera:0")
parser.add_argument("target", nargs="?", type=Path, default=Path("litepred-output", "video.mp4"))
arguments = parser.parse_args()
source, target = arguments.source, arguments.target
target.parent.mkdir(exist_ok=True)
if source is None:
    source = target.with_name("scrolling.mp4")
    page = read_image(example_page())
    with video_file(source, fps=5, size_hw=(480, 640)) as add_frame:
        for top in range(0, 400, 80):
            add_frame(page[top : top + 480, :640])

predictor = Predictor()
with VideoReader(source) as probe:  # and close it: a camera opens once
    _, _, first = next(iter(probe))
with VideoReader(source) as reader, video_file(target, reader.fps, first.shape[:2]) as add_frame:
    for frame, index, time_s, outputs in predictor.stream(reader):
        add_frame(draw(frame, outputs, predictor.metadata))
        print(f"frame {index} at {time_s:.1f} s: {(outputs['instances'].scores > 0.5).sum()} instances")
print("written:", target)
