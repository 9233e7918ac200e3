"""One contender in a process of its own: it makes its predictor ready, then runs when told to by a line on stdin.

    python benchmarks/contenders.py CONTENDER MODEL FOLDER IMAGE THREADS

Every line that it writes is a JSON object of measures: first those of getting ready, then one per line that it reads.
``FOLDER`` holds the model's ``config.yaml`` and ``model.pth``. Parts of a run are told apart by clocks around the calls
of the library's own functions; what is measured is what users run.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
import torchvision

SIZE = (800, 1216)  # of the backbone's input
CLOCKS: dict[str, float] = {}


def clocked(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``function`` add the time that it takes to a clock."""

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            CLOCKS[part] = CLOCKS.get(part, 0.0) + time.perf_counter() - start

    return call


def clock_names(part: str, modules: list[ModuleType], names: tuple[str, ...]) -> None:
    """Put clocks around functions in the modules that call them."""
    for module in modules:
        for name in names:
            if hasattr(module, name):
                setattr(module, name, clocked(part, getattr(module, name)))


POST = ("detector_postprocess", "sem_seg_postprocess", "enlarged_logits", "combine_semantic_and_instance_outputs")


def litepred(folder: Path, **options: Any) -> Any:
    """A `litepred.Predictor`."""
    from litepred import Predictor
    from litepred.modeling import panoptic, rcnn, retinanet, semantic

    clock_names("post", [panoptic, rcnn, retinanet, semantic], POST)
    predictor = Predictor(folder / "config.yaml", weights=folder / "model.pth", device="cpu", **options)
    clock_parts(predictor)
    return predictor


def exported(folder: Path, threads: int, engine: str, precision: str = "float32", int8: bool = False) -> Any:
    """A `litepred.Predictor` on an exported file, which the first contender that needs it writes."""
    from litepred import Predictor
    from litepred.export import export_onnx, quantize_onnx

    path, quantized = folder / "model.onnx", folder / "model-int8.onnx"
    images = [str(folder / "calibration.png")]
    if not path.exists():
        predictor = Predictor(folder / "config.yaml", weights=folder / "model.pth", device="cpu")
        export_onnx(predictor, path, check=images)
    if int8 and not quantized.exists():
        quantize_onnx(path, quantized, images)
    return Predictor(quantized if int8 else path, engine=engine, precision=precision, threads=threads)


def clock_parts(predictor: Any) -> None:
    """Time the resizing and the model of a litepred or Detectron2 predictor."""
    get_transform = predictor.aug.get_transform

    def clocked_transform(image: Any) -> Any:
        transform = get_transform(image)
        transform.apply_image = clocked("resize", transform.apply_image)
        return transform

    predictor.aug.get_transform = clocked_transform
    predictor.model.forward = clocked("model and post", predictor.model.forward)


def detectron2(folder: Path) -> Any:
    """A ``detectron2.engine.DefaultPredictor``."""
    try:
        import detectron2._C  # noqa: F401
    except ImportError:  # not built: what these models run does without it
        sys.modules["detectron2._C"] = ModuleType("detectron2._C")
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor
    from detectron2.modeling.meta_arch import panoptic_fpn, rcnn, retinanet, semantic_seg

    clock_names("post", [panoptic_fpn, rcnn, retinanet, semantic_seg], POST)
    functions = vars(torch.nn.functional)  # the head enlarges its logits itself: what `enlarged_logits` does here
    semantic_seg.F = SimpleNamespace(**functions | {"interpolate": clocked("post", functions["interpolate"])})
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "config.yaml"))
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = str(folder / "model.pth"), "cpu"
    predictor = DefaultPredictor(cfg)
    clock_parts(predictor)
    return predictor


def torchvision_model(folder: Path) -> Any:
    """The detector of ``torchvision.models.detection``, with what it takes to call it on a BGR image."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    model.load_state_dict(torch.load(folder / "model.pth", weights_only=True))
    model.eval()
    model.forward = clocked("model and post", model.forward)
    model.transform.postprocess = clocked("post", model.transform.postprocess)

    @torch.no_grad()
    def predict(image: np.ndarray) -> Any:
        pixels = torch.as_tensor(image[:, :, ::-1].transpose(2, 0, 1).copy()).float() / 255
        outputs = model([pixels])[0]
        outputs["masks"] = clocked("post", lambda masks: masks > 0.5)(outputs["masks"])  # probabilities to bitmaps
        return outputs

    return predict


def litepred_from_torchvision(folder: Path) -> Any:
    """A `litepred.Predictor` with torchvision's weights and answers."""
    from litepred import Predictor
    from litepred.modeling import rcnn, torchvision_rcnn

    clock_names("post", [rcnn, torchvision_rcnn], POST)
    predictor = Predictor.from_torchvision(folder / "model.pth", device="cpu")
    clock_parts(predictor)
    return predictor


def backbone(folder: Path, **options: Any) -> Any:
    """The backbone alone, on one padded image."""
    import litepred

    model = litepred.Predictor(folder / "config.yaml", weights=folder / "model.pth", device="cpu", **options).model
    x = model.preprocess_image([{"image": torch.rand(3, *SIZE) * 255}]).tensor  # as the compiled code knows it

    @torch.no_grad()
    def predict(_: Any) -> Any:
        return model.backbone(x)

    return predict


def onnxruntime_backbone(folder: Path, threads: int) -> Any:
    """The backbone as ONNX Runtime computes it."""
    import onnxruntime

    import litepred

    predictor = litepred.Predictor(folder / "config.yaml", weights=folder / "model.pth", device="cpu", exact=True)
    path, names = folder / "backbone.onnx", list(predictor.model.backbone.output_shape())
    if not path.exists():
        module = torch.nn.Module()
        module.backbone = predictor.model.backbone
        module.forward = lambda x: tuple(module.backbone(x).values())  # type: ignore[assignment]
        module.eval()
        x = torch.randn(1, 3, *SIZE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (x,), path, input_names=["x"], output_names=names, dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x = torch.randn(1, 3, *SIZE).numpy()
    return lambda _: session.run(None, {"x": x})


CONTENDERS: dict[str, Callable[[Path, int], Any]] = {
    "litepred": lambda folder, threads: litepred(folder),
    "litepred exact": lambda folder, threads: litepred(folder, exact=True),
    "litepred compiled": lambda folder, threads: litepred(folder, compile=True),
    "litepred bfloat16": lambda folder, threads: litepred(folder, precision="bfloat16"),
    "litepred bfloat16 compiled": lambda folder, threads: litepred(folder, precision="bfloat16", compile=True),
    "Detectron2": lambda folder, threads: detectron2(folder),
    "torchvision": lambda folder, threads: torchvision_model(folder),
    "litepred from torchvision": lambda folder, threads: litepred_from_torchvision(folder),
    "litepred backbone": lambda folder, threads: backbone(folder),
    "litepred backbone compiled": lambda folder, threads: backbone(folder, compile=True),
    "litepred backbone bfloat16": lambda folder, threads: backbone(folder, precision="bfloat16"),
    "ONNX Runtime backbone": onnxruntime_backbone,
    "litepred on ONNX Runtime": lambda folder, threads: exported(folder, threads, "onnxruntime"),
    "litepred on ONNX Runtime int8": lambda folder, threads: exported(folder, threads, "onnxruntime", int8=True),
    "litepred on OpenVINO": lambda folder, threads: exported(folder, threads, "openvino"),
    "litepred on OpenVINO bfloat16": lambda folder, threads: exported(folder, threads, "openvino", "bfloat16"),
    "litepred on OpenVINO int8": lambda folder, threads: exported(folder, threads, "openvino", int8=True),
}


def measure(predict: Any, path: str) -> dict[str, float]:
    """Read the image, predict on it, and return how long the parts took, in seconds."""
    CLOCKS.clear()
    start = time.perf_counter()
    image = cv2.imread(path)
    CLOCKS["read"] = time.perf_counter() - start
    predict(image)
    measured = {"total s": time.perf_counter() - start}
    both = CLOCKS.pop("model and post", None)
    if both is not None:
        measured["model s"] = both - (CLOCKS["post"] if predict_is_module(predict) else 0.0)
    return measured | {f"{part} s": seconds for part, seconds in CLOCKS.items()}


def predict_is_module(predict: Any) -> bool:
    """Whether the clock around the model has the post-processing in it."""
    return "post" in CLOCKS and hasattr(predict, "model")


def throughput(predict: Any, path: str, images: int, batch_size: int) -> dict[str, float]:
    """Run ``images`` images, read from their file one by one, through batches."""
    start = time.perf_counter()
    if hasattr(predict, "batch"):
        done = sum(1 for _ in predict.batch([path] * images, batch_size))
    else:
        done = sum(1 for _ in map(predict, (cv2.imread(path) for _ in range(images))))
    return {f"images/s in batches of {batch_size}": done / (time.perf_counter() - start)}


def memory(field: str) -> float:
    """Return a field of this process's memory, such as VmRSS, in MiB; 0 where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main() -> None:
    """Get ready, say so, and run on demand."""
    contender, folder, path, threads = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    warnings.simplefilter("ignore")
    if contender.startswith("litepred"):
        import_module("litepred")  # first, as in a user's script: what it sets is read by the next lines already
    torch.set_num_threads(threads)
    torchvision.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)  # its operators are loaded before the clock starts
    answers, sys.stdout = sys.stdout, sys.stderr
    imported = memory("VmRSS")
    start = time.perf_counter()
    predict = CONTENDERS[contender](folder, threads)
    ready = {"ready s": time.perf_counter() - start}
    ready["first s"] = measure(predict, path)["total s"]
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        order, *numbers = line.split()
        if order == "run":
            done = measure(predict, path)
            peak = memory("VmHWM")
            done |= {"peak memory MiB": peak, "peak beyond imports MiB": peak - imported}
        else:
            done = throughput(predict, path, *map(int, numbers))
        print(json.dumps(done), file=answers, flush=True)


if __name__ == "__main__":
    main()
