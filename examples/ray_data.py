"""Run a model over a folder with Ray Data, as actors on one machine or on a cluster (pip install "litepred[ray]").

    python examples/ray_data.py FOLDER results

On a cluster: start it with `ray.init("auto")` from a machine of the cluster, let FOLDER lie where all machines reach it
(or read with `ray.data.read_binary_files("s3://…")`), set `actors` to the number of processes that you want, and give
each a GPU with `num_gpus=1` in place of `num_cpus=1`.
"""

import argparse
from pathlib import Path

import ray

from litepred import ImageError, Predictor, example_page
from litepred.results import csv_rows


class Detector:
    """An actor: it loads the model once, and then answers batch by batch."""

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.predictor = Predictor(threads=1)  # one thread for each of its CPUs

    def __call__(self, batch: dict) -> dict:
        """Turn a batch of paths into rows: one per instance, and one per file that cannot be read."""
        rows = []
        for path in batch["path"]:
            try:
                instances = self.predictor(path)["instances"]
            except ImageError as error:
                rows.append({"file": path, "category": "", "score": 0.0, "box": [0.0] * 4, "error": str(error)})
                continue
            confident = instances[instances.scores >= self.threshold]
            for row in csv_rows(confident, path, self.predictor.metadata):
                box = [row[side] for side in ("x1", "y1", "x2", "y2")]
                rows.append({"file": path, "category": row["category"], "score": row["score"], "box": box, "error": ""})
        return {key: [row[key] for row in rows] for key in ("file", "category", "score", "box", "error")}


def predict_folder(folder: Path, actors: int = 2):
    """Return a data set of rows, in no order; nothing runs before it is asked for."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif"))
    blocks = max(1, min(len(files), 4 * actors))  # what the actors are given in turn
    paths = ray.data.from_items([{"path": str(path)} for path in files], override_num_blocks=blocks)
    pool = ray.data.ActorPoolStrategy(size=actors)
    return paths.map_batches(Detector, compute=pool, batch_size=4, num_cpus=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=example_page().parent)
    parser.add_argument("results", nargs="?", help="folder for Parquet files")
    arguments = parser.parse_args()
    found = predict_folder(arguments.folder).materialize()
    if arguments.results:
        found.write_parquet(arguments.results)
    for row in sorted(found.take_all(), key=lambda row: (row["file"], -row["score"])):
        print(Path(row["file"]).name, row["error"] or f"{row['category']} {row['score']:.2f}")
