"""Images per second of a folder, and frames per second of a video, beside Detectron2 and Ray Data where they are here.

    python benchmarks/throughput.py FOLDER                        # images, taken again until there are 1,000
    PYTHONPATH=detectron2 python benchmarks/throughput.py FOLDER  # beside a checkout of Detectron2, built or not

All run the default page model on the same JPEG files with all cores, one contender after the other, each in a process
of its own. The time counts from the start of that process. Masks have the size of their images, and nothing is written
but by the command, which writes a JSON file for each image.
The CSV also has the images per second of the first and the last tenth: they differ where the cost of an image grows
with the number of those before it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from run import ENVIRONMENT, processor, result_file

CONTENDERS = {  # and what has to be importable
    "litepred batch": "litepred",
    "litepred workers": "litepred",
    "Ray Data": "ray",
    "Detectron2 inference_on_dataset": "detectron2",
    "litepred stream": "litepred",
}
FRAMES_PER_SECOND = 25


def litepred_batch(folder: Path) -> Iterable[Any]:
    """One process: the next files are read in a thread meanwhile."""
    from litepred import Predictor

    return Predictor(folder / "config.yaml", weights=folder / "model.pth").batch(jpegs(folder))


def litepred_workers(folder: Path) -> Iterator[Any]:
    """A process for each core, as ``litepred predict --workers`` starts them."""
    command = [sys.executable, "-m", "litepred", "predict", str(folder / "images"), "--no-save-images", "--save-json"]
    command += ["--config", str(folder / "config.yaml"), "--weights", str(folder / "model.pth")]
    command += ["--output", str(folder / "answers"), "--workers", str(os.cpu_count())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout or ():  # a line for each image
        if ".jpg" in line:
            yield time.time()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")


def ray_data(folder: Path) -> Iterator[Any]:
    """A pool of actors, one for each core, as examples/ray_data.py makes it."""
    import ray

    class Detector:
        def __init__(self) -> None:
            from litepred import Predictor

            self.predictor = Predictor(folder / "config.yaml", weights=folder / "model.pth", threads=1)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"instances": [len(outputs["instances"]) for outputs in self.predictor.batch(list(batch["path"]))]}

    paths = ray.data.from_items([{"path": str(path)} for path in jpegs(folder)])
    pool = ray.data.ActorPoolStrategy(size=os.cpu_count())
    return paths.map_batches(Detector, compute=pool, batch_size=8, num_cpus=1).iter_rows()


def detectron2(folder: Path) -> Iterator[Any]:
    """What Detectron2 evaluates a data set with, and an evaluator that computes nothing."""
    from contenders import detectron2 as predictor_of
    from detectron2.data import DatasetCatalog, build_detection_test_loader
    from detectron2.evaluation import DatasetEvaluator, inference_on_dataset

    predictor = predictor_of(folder)
    records = [{"file_name": str(path), "image_id": path.name} for path in jpegs(folder)]
    DatasetCatalog.register("jpegs", lambda: records)
    ends = []

    class Clock(DatasetEvaluator):
        def process(self, inputs: Any, outputs: Any) -> None:
            ends.extend([time.time()] * len(inputs))

    inference_on_dataset(predictor.model, build_detection_test_loader(predictor.cfg, "jpegs"), Clock())
    yield from ends


def litepred_stream(folder: Path) -> Iterable[Any]:
    """A tenth of the images as the frames of a video."""
    from litepred import Predictor

    return Predictor(folder / "config.yaml", weights=folder / "model.pth").stream(folder / "frames.mp4")


RUNS = dict(zip(CONTENDERS, (litepred_batch, litepred_workers, ray_data, detectron2, litepred_stream)))


def jpegs(folder: Path) -> list[Path]:
    """Return the files that all contenders read, in order."""
    return sorted((folder / "images").glob("*.jpg"))


def write_inputs(images: Iterable[Path], count: int, folder: Path) -> None:
    """Write ``count`` JPEG files, taking the images in turn, and a video of a tenth of them."""
    import cv2

    (folder / "images").mkdir()
    paths = itertools.islice(itertools.cycle(images), count)
    video = None
    for i, path in enumerate(paths):
        pixels = cv2.imread(str(path))
        cv2.imwrite(str(folder / "images" / f"{i:06}.jpg"), pixels)
        if i % 10 == 0:
            if video is None:
                size_wh = pixels.shape[1::-1]
                code = cv2.VideoWriter.fourcc(*"mp4v")
                video = cv2.VideoWriter(str(folder / "frames.mp4"), code, FRAMES_PER_SECOND, size_wh)
            video.write(cv2.resize(pixels, size_wh))
    if video is not None:
        video.release()


def measure(contender: str, folder: Path) -> dict[str, Any]:
    """Run a contender in a process of its own, and return its figures."""
    command = [sys.executable, __file__, "--run", contender, str(folder)]
    start = time.time()
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True)
    ends = [end - start for end in json.loads(ran.stdout.splitlines()[-1])]
    tenth = max(1, len(ends) // 10)
    return {
        "contender": contender,
        "images": len(ends),
        "first s": f"{ends[0]:.2f}",
        "total s": f"{ends[-1]:.2f}",
        "images/s": f"{len(ends) / ends[-1]:.3f}",
        "images/s first tenth": f"{tenth / (ends[tenth] - ends[0]):.3f}",
        "images/s last tenth": f"{tenth / (ends[-1] - ends[-tenth - 1]):.3f}",
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="of images")
    parser.add_argument("--images", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=RUNS, help="this one alone, and no CSV")
    arguments = parser.parse_args()
    if arguments.run:
        answers = RUNS[arguments.run](arguments.folder)
        print(json.dumps([answer if isinstance(answer, float) else time.time() for answer in answers]))
        return

    from run import ROWS, write_model

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_model(ROWS["page"][0], folder)
        images = [path for path in sorted(arguments.folder.iterdir()) if path.suffix in (".jpg", ".jpeg", ".png")]
        write_inputs(images, arguments.images, folder)
        rows = []
        for contender, needed in CONTENDERS.items():
            if arguments.contender in (None, contender) and find_spec(needed):
                rows.append(measure(contender, folder))
                print(rows[-1], flush=True)
    if arguments.contender:
        return
    target = result_file(Path(__file__).parent / "results", processor(), "throughput_")
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(target)


if __name__ == "__main__":
    main()
