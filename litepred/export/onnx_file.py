"""Write a predictor's model as one ONNX file, which gets its name once its answers agree with the predictor's."""

from __future__ import annotations

import ast
import copy
import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..config.node import without_others
from ..data import ImageLike
from ..default_model import example_page
from ..errors import ConfigError, ImageError, LitepredError, package
from ..files import whole_file
from ..layers import DeformConv
from ..modeling.backbone import Backbone
from ..modeling.rcnn import MetaArch
from ..modeling.semantic import is_called, is_strided
from ..predictor import Predictor, parts_of_others, several_images
from ..resolve import known_names
from .engines import OnnxRuntime
from .graph import ImageGraph, plain_model
from .metadata import check_target, header_texts, onnx_module

__all__ = ["ExportReport", "check_export", "export_onnx", "graph_image"]

_LEAST_TORCH = (2, 14)
_LEAST_OPSET, _DEFORM_OPSET = 18, 19  # which torch's exporter writes, and in which deformable convolutions came
_MOST_BYTES = 2**31 - 2**24  # protobuf holds 2 GB; the graph itself takes some of it
_HALF_FROM = 256  # smaller tensors stay in float32: constants of boxes and anchors, and biases
_LARGEST_HALF = 65504
_TRACED_SIZE = (352, 448)
# Torch describes the strides of maps that are one cell high or wide in another way, which no result depends on. So the
# graph that it makes for maps of two cells or more, at every stride of a pyramid, is right for smaller images too.
_LEAST_TRACED = 257
# How far an answer may be from the predictor's: the tolerances of the stored answers of Detectron2.
_TOLERANCES = {"boxes": 0.02, "proposals": 0.02, "scores": 5e-4}
_SAME_WITHIN = 50  # tolerances of box and score together; farther ones are two different instances
_RELATIVE = 1e-3  # of the largest value, for all other answers
_TALKATIVE = ("torch.onnx", "torch.export", "torch._guards", "onnxscript", "onnx_ir")  # loggers
_NONE_FOUND = (320, 448)


@dataclass(frozen=True)
class ExportReport:
    """What `export_onnx` wrote, and how far it is from the predictor.

    Attributes:
        path: of the ONNX file that was written.
        outputs: names of the graph's outputs, in order.
        differences: for each output the largest difference over all images; of ``boxes`` and ``proposals`` in pixels,
            of ``scores`` and ``masks`` in probability.
        instances: how many instances or proposals were compared.
        images: how many images were compared.
        num_bytes: size of the file, in bytes.
        seconds: how long exporting and comparing took.
    """

    path: str
    outputs: tuple[str, ...]
    differences: dict[str, float]
    instances: int
    images: int
    num_bytes: int
    seconds: float

    def __str__(self) -> str:
        largest = ", ".join(f"{name} {value:.2g}" for name, value in self.differences.items())
        return (
            f"{self.path}: {self.num_bytes / 1e6:,.1f} MB, {self.seconds:.0f} s; compared with the predictor on "
            f"{self.images} images with {self.instances} instances, largest differences: {largest}"
        )


def export_onnx(
    predictor: Predictor,
    path: str | os.PathLike[str],
    *,
    size_hw: tuple[int, int] | None = None,
    half: bool = False,
    opset: int | None = None,
    check: Iterable[ImageLike] | None = None,
) -> ExportReport:
    """Write a model as an ONNX file of one piece, which takes images of any size.

    The input ``image`` is (C, H, W), uint8 (float32 in 0…255 for torchvision's models, whose resizing does not round),
    resized as the file's metadata say; the graph normalises and pads it. A model that proposes nothing itself has a
    second input ``proposals`` (P, 4). The outputs are those of `litepred.export.graph.flatten`, in pixels of the input.
    Config, class names and litepred's version are in the metadata, so that ``Predictor("model.onnx")`` needs nothing
    else.

    The file is written under a temporary name, run by ONNX Runtime and compared with the predictor; it gets its name
    only if it agrees.

    Args:
        predictor: whose model is exported; it must compute in float32, on whatever device.
        path: where the ONNX file is written; a file that is there is replaced.
        size_hw: height and width in pixels after resizing, when images of that size alone are to be taken.
        half: store the weights in float16, in half the space. They are still multiplied in float32. The differences
            that their rounding makes are told and not limited; that the same instances are found is.
        opset: version of ONNX's operators; by default 18, and 19 for deformable convolutions, which are in it first.
        check: images to compare on; by default the example page, a part of it, and an empty image.

    Raises:
        ConfigError: when this model cannot be exported, or an argument makes no sense.
        ImageError: when an image to compare on cannot be read, or is of floats that the file does not take; or when
            ``check`` is a single image.
        LitepredError: when the file's answers differ from the predictor's. Nothing is written then.
        WriteError: when the file cannot be written.
    """
    started = time.perf_counter()
    check_target(path)
    opset = check_export(predictor, half, size_hw, opset)
    model: MetaArch = predictor.model
    bands = len(model.pixel_mean)
    if size_hw is not None and not model.resizes_itself:  # which may bring what it has resized to another size again
        graph_image(predictor, np.zeros((*size_hw, bands), np.uint8), size_hw)
    if model.device.type != "cpu":
        model = copy.deepcopy(model).cpu()
    graph = ImageGraph(cast(MetaArch, plain_model(model))).eval()
    reference = ImageGraph(model)
    examples = _examples(bands) if check is None else several_images(check, "check")
    images = [graph_image(predictor, image) for image in examples]
    if size_hw is not None:
        images = [_resized(image, size_hw) for image in images]
    if not images:
        raise ConfigError("check has no images: pass at least one, or leave it out")
    proto = _traced(graph, predictor, size_hw, opset)
    _tidy(proto.graph)
    if half:
        _store_in_half(proto, onnx_module())
    for key, text in header_texts(predictor.cfg, known_names(predictor.cfg, predictor.metadata)).items():
        proto.metadata_props.add(key=key, value=text)
    with whole_file(path) as file:
        file.write(proto.SerializeToString())
        file.close()
        engine = OnnxRuntime(file.name)
        compared = [_compare(reference, engine, image, half) for image in images]
        num_bytes = os.path.getsize(file.name)
        del engine
    differences = {name: max(one[name] for one, _ in compared) for name in graph.names}
    return ExportReport(
        os.fspath(path),
        graph.names,
        differences,
        sum(number for _, number in compared),
        len(images),
        num_bytes,
        time.perf_counter() - started,
    )


def check_export(predictor: Predictor, half: bool, size_hw: tuple[int, int] | None, opset: int | None) -> int:
    """Check, before any work is done, that `export_onnx` can export a predictor's model; return the opset to write.

    Raises:
        ConfigError: it cannot, or a package is missing.
    """
    if not isinstance(predictor, Predictor):
        raise ConfigError(f"{type(predictor).__name__} is no predictor: expected a Predictor, as Predictor(config) is")
    onnx = onnx_module()
    for name in ("onnxscript", "onnxruntime"):  # of which the first translates, and the second compares at the end
        package(name, "writing an ONNX file", "'litepred[onnx]'", ConfigError)
    model = _exportable(predictor, half, size_hw)
    own_keys, others = without_others(predictor.cfg)[1], parts_of_others(model)
    if own_keys and others:
        raise ConfigError(
            f"the config has {own_keys[0]}, which {others[0]} may read, and which no file can name: announce it with "
            "litepred.extensions.announce(config_sections=…), in a module that is imported before the file is opened"
        )
    least = _DEFORM_OPSET if any(isinstance(part, DeformConv) for part in model.modules()) else _LEAST_OPSET
    most = onnx.defs.onnx_opset_version()
    opset = least if opset is None else opset
    if not least <= opset <= most:
        raise ConfigError(f"opset (--opset) is {opset}: expected {least} to {most} for this model, or leave it out")
    return opset


def graph_image(predictor: Predictor, image: ImageLike, size_hw: tuple[int, int] | None = None) -> Tensor:
    """Return an image (C, H, W) as the exported graph of a predictor's model takes it.

    Raises:
        ConfigError: when the graph is to take images of ``size_hw`` alone, and this one becomes of another size.
        ImageError: when it cannot be read, or is of floats that the graph does not take.
    """
    prepared = predictor.prepare(image)
    pixels: Tensor = prepared["image"]
    told = repr(os.fspath(image)) if isinstance(image, (str, os.PathLike)) else "an image"
    told = f"{told} of {prepared['height']} × {prepared['width']} pixels (height × width)"
    if getattr(predictor.model, "resizes_itself", False):
        pixels = predictor.model.resize(pixels.float())
    elif pixels.dtype != torch.uint8:
        raise ImageError(f"{told} has floats, but the exported model takes uint8 alone: convert it to that")
    height, width = pixels.shape[1:]
    if size_hw is not None and tuple(size_hw) != (height, width):
        raise ConfigError(
            f"{told} is resized to {height} × {width}, but the file is to take {size_hw[0]} × {size_hw[1]} alone: "
            "leave size_hw (--size) out, or change it or the config's INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST"
        )
    return pixels


def _exportable(predictor: Predictor, half: bool, size_hw: tuple[int, int] | None) -> MetaArch:
    """Return the predictor's model, or say why it cannot be exported, before any work is done."""
    model: Any = predictor.model
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _LEAST_TORCH:
        least = ".".join(map(str, _LEAST_TORCH))
        raise ConfigError(f"exporting needs the exporter of torch {least} or newer, and here is {torch.__version__}")
    if not isinstance(model, MetaArch) or type(model).network is MetaArch.network:
        raise ConfigError(
            f"{type(model).__name__} cannot be exported: expected a model of litepred, or one with a network() of its "
            "own, from a batch of images to raw outputs"
        )
    if any(getattr(module, "box_dim", 4) == 5 for module in model.modules()):
        raise ConfigError("a model of rotated boxes cannot be exported: ONNX has no operator that suppresses them")
    is_of_one_size = size_hw is not None or _square_size(model) > 0
    for part in model.modules():
        if reason := getattr(part, "torch_only", ""):
            raise ConfigError(f"{type(part).__name__} cannot be exported: {reason}. Run the model with torch")
        if not is_of_one_size and (reason := getattr(part, "one_size_only", "")):
            raise ConfigError(
                f"{type(part).__name__} cannot be exported for images of any size: {reason}. Export it for one, "
                "size_hw=(height, width) or --size HEIGHT WIDTH in pixels after resizing"
            )
        if is_strided(part) and is_called(part):
            raise ConfigError("the semantic head has hooks or another forward, which a graph has not: take them off")
    if predictor.precision != "float32":
        raise ConfigError(
            f"the predictor computes in {predictor.precision}: build it with precision='float32' to export it, and "
            "choose the precision of the file where it is written or run"
        )
    size = sum(tensor.numel() * (2 if half else 4) for tensor in model.state_dict().values())
    if size > _MOST_BYTES:
        advice = "export it with half=True (--half)" if not half and size < 2 * _MOST_BYTES else "it is too large"
        raise ConfigError(f"the model has {size / 1e9:.1f} GB of weights, and an ONNX file at most 2 GB: {advice}")
    return model


def _takes_proposals(model: MetaArch) -> bool:
    return getattr(model, "proposal_generator", model) is None


def _square_size(model: nn.Module) -> int:
    """Return the side of the square that a model pads its images to, 0 for none."""
    backbone = getattr(model, "backbone", None)
    return backbone.padding_constraints.get("square_size", 0) if isinstance(backbone, Backbone) else 0


def _examples(bands: int) -> list[ImageLike]:
    from ..data import read_image

    page = read_image(example_page(), "BGR")[:, :, np.arange(bands) % 3]
    return [page, page[: page.shape[0] // 2], np.full((*_NONE_FOUND, bands), 255, np.uint8)]


def _resized(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    values = torch.nn.functional.interpolate(image[None].float(), size_hw, mode="bilinear")
    return values.round().to(image.dtype)[0]


def _traced(graph: ImageGraph, predictor: Predictor, size_hw: tuple[int, int] | None, opset: int) -> Any:
    """Trace ``graph`` and translate it; returns an ``onnx.ModelProto``."""
    from .operators import translations

    model = graph.model
    height, width = size_hw or _TRACED_SIZE
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (len(model.pixel_mean), height, width), generator=generator, device="cpu")
    image = image.to(torch.float32 if model.resizes_itself else torch.uint8)
    arguments: dict[str, Tensor] = {"image": image}
    dynamic: dict[str, Any] = {"image": None}
    if size_hw is None:
        side = {1: torch.export.Dim("height", min=_LEAST_TRACED), 2: torch.export.Dim("width", min=_LEAST_TRACED)}
        dynamic = {"image": side}
    if _takes_proposals(model):
        arguments["proposals"] = torch.tensor([[4.0, 4, 60, 50], [8, 16, 90, 70], [0, 0, width, height]], device="cpu")
        dynamic["proposals"] = {0: torch.export.Dim("number", min=2)}
    with torch.no_grad():
        graph.names = tuple(graph.raw(**arguments))
        try:
            with _quiet():
                exported = torch.export.export(
                    graph,
                    (),
                    arguments,
                    dynamic_shapes=dynamic,
                    strict=True,
                    prefer_deferred_runtime_asserts_over_guards=True,
                )
                program = torch.onnx.export(
                    exported,
                    dynamo=True,
                    opset_version=opset,
                    custom_translation_table=translations(),
                    input_names=list(arguments),
                    output_names=list(graph.names),
                    optimize=True,
                    verbose=False,
                )
        except Exception as error:  # of many kinds, from the depths of torch
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(f"{type(model).__name__} cannot be exported: {reason:.300}") from error
    proto = program.model_proto  # type: ignore[union-attr]
    found = [one.version for one in proto.opset_import if not one.domain]
    if found != [opset]:  # which is torch's answer where it cannot translate
        raise ConfigError(
            f"torch's exporter wrote operators of version {found}, and {opset} was asked for: leave opset (--opset) out"
        )
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what torch's exporter tells of its own progress."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels):
            one.setLevel(level)


def _tidy(graph: Any) -> None:
    """Name each node after its module, and drop what the exporter noted about it, such as paths of this machine."""
    del graph.value_info[:]
    for node in graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
        module = scopes[-2].removeprefix("model.") if len(scopes) > 1 else ""
        node.name = f"{module}/{node.name}" if module else node.name
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _tidy(attribute.g)


def _store_in_half(proto: Any, onnx: Any) -> None:
    """Store the weights in float16, each with a node that makes float32 of it again when the file is loaded."""
    casts = []
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor) if tensor.data_type == onnx.TensorProto.FLOAT else np.zeros(0)
        if values.size < _HALF_FROM:
            continue
        if np.abs(values).max() > _LARGEST_HALF:
            raise ConfigError(
                f"{tensor.name} has the value {np.abs(values).max():g}, but float16 ends at {_LARGEST_HALF}: export "
                "without half=True (--half)"
            )
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(casts + nodes)


def _compare(graph: ImageGraph, engine: Any, image: Tensor, half: bool) -> tuple[dict[str, float], int]:
    """Run an image in both; returns the largest difference of each output, and how many instances there are.

    Raises:
        LitepredError: when they differ by more than rounding, or the engine cannot run the file on it.
    """
    arguments = {"image": image}
    if _takes_proposals(graph.model):
        height, width = image.shape[1:]
        corners = torch.rand(50, 2, 2, generator=torch.Generator().manual_seed(0), device="cpu")
        corners *= corners.new_tensor([width, height]) / 2
        arguments["proposals"] = torch.cat([corners[:, 0], corners.sum(dim=1)], dim=1)
    with torch.no_grad():
        expected = {name: value.numpy() for name, value in graph.raw(**arguments).items()}
    place = f"on an image of {image.shape[1]} × {image.shape[2]} pixels"
    try:
        found = engine.run({name: value.numpy() for name, value in arguments.items()})
    except Exception as error:  # of the engine's own kinds
        reason = " ".join(str(error).split())
        raise LitepredError(
            f"the exported model fails {place} ({reason:.300}): nothing was written. Please report this with the "
            "model's config"
        ) from error
    for name, value in expected.items():
        for whose, values in (("predictor", value), ("exported model", found[name])):
            # Minus infinity may be meant there, as the logits of a class that is switched off.
            if np.isnan(values).any() or not (name == "sem_seg" or np.isfinite(values).all()):
                raise LitepredError(
                    f"the {whose}'s {name} have NaN or infinity in them {place}: nothing was written. Check the weights"
                )
    rows = _rows_in_common(expected, found)
    differences = {}
    for name, value in expected.items():
        other = found[name]
        if rows is not None and name != "sem_seg":
            value, other = value[rows[0]], other[rows[1]]
        differ = value != other
        differences[name] = float(np.abs(value[differ].astype(np.float64) - other[differ]).max(initial=0))
        limit = _TOLERANCES.get(name, _RELATIVE * float(np.abs(value[np.isfinite(value)]).max(initial=1)))
        if differences[name] > limit and (not half or differences[name] == np.inf):
            raise LitepredError(
                f"the exported model's {name} differ from the predictor's by {differences[name]:.3g} {place}, expected "
                f"{limit:.3g} at most: nothing was written. Please report this with the model's config."
            )
    return differences, 0 if rows is None else len(rows[0])


def _rows_in_common(expected: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Pair the instances of two answers, whose order and last members may differ where scores are equal to rounding.

    Raises:
        LitepredError: when others than those are in one answer alone: rounding may decide about one in fifty, and
            about those that score as low as the last.
    """
    box = "boxes" if "boxes" in expected else "proposals"
    if box not in expected:
        return None
    score = "scores" if box == "boxes" else "objectness_logits"
    a, b = expected[box], found[box]
    near = np.abs(a[:, None] - b[None]).max(axis=2) if len(a) and len(b) else np.ones((len(a), len(b)))
    apart = near / _TOLERANCES["boxes"] + np.abs(expected[score][:, None] - found[score][None]) / _TOLERANCES["scores"]
    if "classes" in expected:
        apart = np.where(expected["classes"][:, None] == found["classes"][None], apart, np.inf)
    pairs = []
    for i in range(len(a)):
        j = int(apart[i].argmin()) if len(b) else 0
        if len(b) and apart[i, j] < _SAME_WITHIN:
            pairs.append((i, j))
            apart[:, j] = np.inf
    alone = 0
    for own, other, rows in ((expected[score], found[score], 0), (found[score], expected[score], 1)):
        unpaired = np.delete(own, [pair[rows] for pair in pairs])
        # Which of those that score as low as the last one is kept, rounding decides.
        last = own.min(initial=np.inf) + _TOLERANCES["scores"] if abs(len(own) - len(other)) < 2 else -np.inf
        alone = max(alone, int((unpaired > last).sum()))
    if alone > len(a) // 50:
        raise LitepredError(
            f"the exported model finds {len(b)} instances and the predictor {len(a)}, of which {len(pairs)} are the "
            "same: nothing was written. Please report this with the model's config."
        )
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return first, second
