"""Run an exported model where neither litepred nor torch is installed: NumPy, Pillow and ONNX Runtime are enough.

    litepred export page.onnx                      # where litepred is
    pip install numpy pillow onnxruntime           # where the model is to run
    python onnx_without_torch.py page.onnx image.png more.jpg --output results.json --threshold 0.5

This file is all of it: copy it, and take from it what you need. It is for models with boxes, classes and scores, with
or without masks. It writes COCO's results format: a list of dicts, one per instance, with the number and the name of
its image, its category (the model's own number, from 0, and its name), ``bbox`` (x, y, width, height in pixels), score,
and the mask as COCO's compressed run lengths, which pycocotools reads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def read_image(path: str) -> Image.Image:
    """Read an image of 8 or 16 bits as RGB, upright as its EXIF data say."""
    try:
        with Image.open(path) as image:
            if image.format == "EPS":
                raise ValueError("it is PostScript, which is drawn by running a program")
            image.load()
            with contextlib.suppress(Exception):  # damaged EXIF data: the image is taken as it is stored
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise ValueError("what is black and what is white in its numbers is not known")
            return image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise all sorts on damaged files
        raise ValueError(f"it cannot be read ({error}): expected a whole PNG, JPEG, TIFF, WebP …") from error


def resized_size(height: int, width: int, short_edge: int, long_edge_at_most: int) -> tuple[int, int]:
    """Return the (height, width) that the model is to see; a short edge of 0 stands for no resizing."""
    if not short_edge:
        return height, width
    size = float(short_edge)
    scale = size / min(height, width)
    new = (size, scale * width) if height < width else (scale * height, size)
    if max(new) > long_edge_at_most:
        scale = long_edge_at_most / max(new)
        new = (new[0] * scale, new[1] * scale)
    return max(1, int(new[0] + 0.5)), max(1, int(new[1] + 0.5))


def paste_mask(mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float = 0.5) -> np.ndarray:
    """Stretch the probabilities of a mask (M, M) over its box; returns (height, width) bool.

    Bilinear sampling at the centres of pixels is a product of three matrices: rows · mask · columns.
    """
    cells = np.arange(len(mask), dtype=np.float32)

    def weights(low: int, high: int, start: np.float32, end: np.float32) -> np.ndarray:  # (pixels, M)
        centres = np.arange(low, high, dtype=np.float32) + np.float32(0.5)
        position = (centres - start) / (end - start) * np.float32(len(mask)) - np.float32(0.5)
        return np.maximum(1 - np.abs(position[:, None] - cells), 0)

    x0, y0 = np.maximum(np.floor(box[:2]) - 1, 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[2:]) + 1, (width, height)).astype(int)
    inside = weights(y0, y1, box[1], box[3]) @ mask @ weights(x0, x1, box[0], box[2]).T
    pasted = np.zeros((height, width), bool)
    pasted[y0:y1, x0:x1] = inside >= threshold
    return pasted


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO does: lengths of runs of 0, 1, 0, 1 … down the columns, written as text.

    From the fourth on, a length is written as its difference from the one two places before it; five bits to a
    character, the lowest first, and a sixth bit where more follow.
    """
    pixels = np.concatenate([[False], mask.ravel(order="F")])  # the first run is of 0, and may be empty
    ends = np.flatnonzero(pixels[1:] != pixels[:-1])
    lengths = np.diff(ends, prepend=0, append=mask.size).tolist()
    text = []
    for i, length in enumerate(lengths):
        value = length - lengths[i - 2] if i > 2 else length
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return {"size": list(mask.shape), "counts": "".join(text)}


class OnnxModel:
    """An exported model, with what its file says of it.

    Args:
        path: of a file that ``litepred export`` wrote.
        threads: to compute with; by default one per core.
    """

    def __init__(self, path: str, threads: int | None = None) -> None:
        import onnxruntime  # here, so that --help needs it not

        if not os.path.isfile(path):
            raise ValueError(f"there is no file {path!r}: expected a model that litepred export wrote")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors are told below
        if threads:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of ONNX Runtime's own kinds
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{path!r} is no ONNX model that ONNX Runtime can load ({reason:.200}): expected a file that litepred "
                "export wrote"
            ) from error
        self.inputs = {one.name: one for one in self.session.get_inputs()}
        self.outputs = [one.name for one in self.session.get_outputs()]
        facts = self.session.get_modelmeta().custom_metadata_map
        try:
            resizing = json.loads(facts["litepred.resizing"])
            self.short_edge, self.long_edge = int(resizing["short_edge"]), int(resizing["long_edge_at_most"])
            self.channels = resizing["channels"]
            self.class_names: list[str] = json.loads(facts.get("litepred.class_names", "[]"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path!r} does not say how its images are resized (litepred.resizing in its metadata): expected a "
                "file that litepred export wrote"
            ) from error
        if not {"boxes", "scores", "classes"} <= set(self.outputs) or list(self.inputs) != ["image"]:
            raise ValueError(
                f"{path!r} takes {', '.join(self.inputs)} and returns {', '.join(self.outputs)}: expected a detector, "
                "which takes an image and returns boxes, scores and classes; for others take litepred"
            )
        if self.inputs["image"].shape[0] not in (1, 3):
            raise ValueError(f"{path!r} takes images of {self.inputs['image'].shape[0]} bands: take litepred for it")
        if self.inputs["image"].type != "tensor(uint8)":
            raise ValueError(f"{path!r} is a torchvision model, which resizes in its own way: take litepred for it")

    def __call__(self, image: Image.Image) -> dict[str, np.ndarray]:
        """Return ``boxes`` (N, 4), x0 y0 x1 y1 in pixels of the image, ``scores``, ``classes``, perhaps ``masks``."""
        shape = self.inputs["image"].shape  # numbers, and names of what may be any number
        height, width = resized_size(image.height, image.width, self.short_edge, self.long_edge)
        if any(isinstance(side, int) and side != wanted for side, wanted in zip(shape[1:], (height, width))):
            raise ValueError(
                f"it becomes {height} × {width} pixels, but the model takes {shape[1]} × {shape[2]} alone: export it "
                "without --size"
            )
        small = image.convert("L") if shape[0] == 1 else image
        if small.size != (width, height):
            small = small.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(small).reshape(height, width, -1)
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        arrays = {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1))}  # (C, H, W)
        wanted = [name for name in ("boxes", "scores", "classes", "masks") if name in self.outputs]
        try:
            found = dict(zip(wanted, self.session.run(wanted, arrays)))
        except Exception as error:  # of ONNX Runtime's own kinds
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"ONNX Runtime cannot run the model on it ({reason:.200}): export it anew") from error
        scales = np.array([image.width / width, image.height / height] * 2, np.float32)
        boxes = found["boxes"] * scales
        finite = np.isfinite(boxes).all(axis=1)
        found["boxes"] = np.clip(boxes, 0, np.array([image.width, image.height] * 2, np.float32))
        sides = found["boxes"][:, 2:] - found["boxes"][:, :2]
        keep = finite & (sides > 0).all(axis=1)
        return {name: value[keep] for name, value in found.items()}

    def category(self, number: int) -> str:
        """Return the name of a class, and its number where the file has no names."""
        return self.class_names[number] if number < len(self.class_names) else str(number)


def coco_results(model: OnnxModel, image: Image.Image, image_id: int, file_name: str, threshold: float) -> list[dict]:
    """Return what a model finds in an image, as entries of COCO's results format."""
    found = model(image)
    entries = []
    for i in np.flatnonzero(found["scores"] >= threshold):
        box, category = found["boxes"][i], int(found["classes"][i])
        entry = {
            "image_id": image_id,
            "file_name": file_name,
            "category_id": category,
            "category_name": model.category(category),
            "bbox": [float(value) for value in (*box[:2], *(box[2:] - box[:2]))],
            "score": float(found["scores"][i]),
        }
        if "masks" in found:
            entry["segmentation"] = run_lengths(paste_mask(found["masks"][i], box, image.height, image.width))
        entries.append(entry)
    return entries


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Run a file of litepred export on images, without litepred or torch.")
    parser.add_argument("model", metavar="MODEL.onnx", help="file that litepred export wrote")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="in any format that Pillow reads")
    parser.add_argument("--output", metavar="FILE", required=True, help="results to write, as JSON")
    parser.add_argument("--threshold", type=float, default=0.5, help="least score of an instance; default: %(default)s")
    parser.add_argument("--threads", type=int, help="to compute with; default: one per core")
    return parser.parse_args()


def main() -> int:
    """Run the command; returns 1 where an image could not be read."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names may have letters that the console has not
    arguments = parse_arguments()
    target = Path(arguments.output)
    if target.is_dir():
        print(f"--output is the folder {str(target)!r}: expected the name of a file to write", file=sys.stderr)
        return 2
    try:
        model = OnnxModel(arguments.model, arguments.threads)
    except ImportError as error:
        print(f"the package {error.name} is missing: pip install numpy pillow onnxruntime", file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    entries, status = [], 0
    for image_id, path in enumerate(arguments.images):
        try:
            found = coco_results(model, read_image(path), image_id, Path(path).name, arguments.threshold)
        except ValueError as error:
            print(f"left out: {path!r}: {error}", file=sys.stderr)
            status = 1
            continue
        print(f"{path}: {len(found)} instances")
        entries += found
    beside = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(entries, indent=1), encoding="utf-8")
        os.replace(beside, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        print(f"cannot write {str(target)!r}: {error.strerror}", file=sys.stderr)
        return 2
    print("written:", target)
    return status


if __name__ == "__main__":
    sys.exit(main())
