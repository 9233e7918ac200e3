"""`Predictor`, which turns an image into Detectron2's standard dict of what is in it."""

from __future__ import annotations

import gc
import os
import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, TypedDict, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from . import extensions
from .checkpoint import load_into, named_for, read_checkpoint
from .config import unknown_settings
from .data import ImageLike, Metadata, ResizeShortestEdge, VideoReader, bands_for_array, image_to_array
from .environment import prepare_process
from .errors import CheckpointError, ConfigError, ImageError, absent, wording
from .modeling import GeneralizedRCNN, build_model, without_random_init
from .optimize import compiling, optimize
from .resolve import ConfigLike, ResolvedModel, WeightsLike, class_kind, plain_state, resolve_model, torchvision_config
from .selection import Choice, Selection, Way
from .structures import Boxes, Instances, Origin, Outputs, set_origin
from .tta import GeneralizedRCNNWithTTA

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["DefaultPredictor", "ModelInput", "Predictor", "StreamedFrame", "parts_of_others", "several_images"]

_Source: TypeAlias = "ImageLike | Callable[[], ImageLike]"
_MOST_THREADS = 1024  # OpenMP takes any number, and then has no memory for the stacks
_OURS = ("litepred.", "torch.", "torchvision.")  # a part of somebody else may read keys of its own
_MOVED = "Predictor(…, device='cuda') or 'cpu'; it is built for one device, and always ready to predict"
_INSTEAD = {
    **dict.fromkeys(("to", "cuda", "cpu", "eval"), _MOVED),
    "half": "Predictor(…, precision='float16')",
    **dict.fromkeys(("predict", "forward", "infer", "inference", "detect"), "predictor(image)"),
    **dict.fromkeys(("names", "classes", "class_names"), "predictor.metadata.thing_classes"),
    **dict.fromkeys(("threshold", "conf", "score_threshold"), "predictor(image, threshold=0.5)"),
    "train": "predictor(image): litepred only predicts, Detectron2 trains",
}
_TORCH_PROCESS = os.getpid()  # the process that imported torch, unless this one is its fork


class Handle(Protocol):
    """An open image file of rasterio or tifffile, see `litepred.tiles.open_windows`."""

    def close(self) -> Any:
        """Let go of the file."""


class Sliced(Protocol):
    """An image that is cut like an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C)."""

    def __getitem__(self, windows: Any, /) -> Any: ...


class ModelInput(TypedDict):
    """An image as models take it.

    Attributes:
        image: (C, H, W) uint8, or float32 where it came as floats, in the size that the model is to see, and in the
            channel order of its config.
        height: of the image that the answer is given for, in pixels.
        width: of that image, in pixels.
    """

    image: Tensor
    height: int
    width: int


class StreamedFrame(NamedTuple):
    """A frame of a video or camera, and what was found in it.

    Attributes:
        frame: (H, W, 3) uint8, BGR.
        index: its number, from 0.
        time_s: when it is shown in the video, or came from the camera, in seconds after the first.
        outputs: as a `Predictor` returns them.
    """

    frame: np.ndarray
    index: int  # type: ignore[assignment]  # it hides the tuple's method of this name, which nobody needs
    time_s: float
    outputs: Outputs


class Predictor:
    """Run a trained model on images.

    `litepred.environment` tells what this changes in the process besides its own objects, and how to forbid it.

    Args:
        cfg: a config, of which a copy is used; or the path of a YAML file; or the path of a safetensors file that holds
            config, class names and weights, as ``litepred convert`` makes it; or the name of a model of the zoo, whose
            released checkpoint is downloaded; or ``hf://owner/repository[@revision][/path]`` for one on the Hugging
            Face hub; or the path of an ONNX file that ``litepred export`` made. By default the model for document pages
            that comes with the package.
        weights: path of a checkpoint, or a state dict in Detectron2's names, instead of ``MODEL.WEIGHTS``.
        device: such as "cpu" or "cuda:1", instead of the config's ``MODEL.DEVICE``. Where that device does not exist
            the model runs on the CPU, with a warning.
        class_names: names of the classes in order, instead of those in the file of the weights or config, or of what
            is known of the data set.
        infer_num_classes: set the numbers of classes and keypoints in the config to those of the checkpoint.
        exact: run the model as Detectron2 does, for the same bits. By default a faster form of it runs, whose answers
            differ by rounding (see `litepred.optimize`).
        precision: of convolutions and matrix products: "float32", "bfloat16" or "float16". Where the hardware is not
            faster with the last two, a warning says so and float32 is used. "auto" takes the fastest, without a word,
            which is OpenVINO's own choice there, and float32 on ONNX Runtime.
        compile: compile the parts that get faster by it with ``torch.compile``. That takes a while, and a progress bar
            on standard error shows it.
        mask_format: what ``pred_masks`` are: "bitmask", (N, H, W) bool; or smaller: "roi", `ROIMasks` to be pasted when
            asked; "rle", COCO's RLE (needs pycocotools); "polygon", a list of outlines per instance.
        engine: what runs the model: "torch"; or "onnxruntime" or "openvino", which run a file of ``litepred export``,
            and for which another model is exported once into the cache (see `litepred.export`). By default torch, and
            ONNX Runtime for an ONNX file.
        threads: how many threads torch may use on the CPU, in the whole process and from now on. By default torch
            chooses, which is one per core.
        tta: predict each image at all sizes of ``cfg.TEST.AUG``, mirrored as well where it says so, and pool what is
            found (test-time augmentation): better, and as many times slower. Models of boxes and masks can; others, and
            engines, are refused.

    Attributes:
        cfg: the config in use.
        model: the model, ``model(list[dict]) -> list[dict]``.
        metadata: names of the classes: those given as ``class_names``, else those that come with the model, else those
            of the data set ``cfg.DATASETS.TEST[0]``, in this case with its colours, as far as they are known.
        aug: the resizing, a `ResizeShortestEdge`.
        input_format: order of the channels in the model's input, "BGR" or "RGB".
        engine: what runs the model: "torch", "onnxruntime" or "openvino".
        precision: the precision in use: what "auto" came to, or "float32" where the one asked for is not fast.

    Raises:
        ConfigError: when the config cannot be read, or does not describe a model.
        CheckpointError: when the checkpoint cannot be read safely, or does not fit the model.
    """

    model: Any
    engine, precision, _weights = "torch", "float32", "unknown"  # of a subclass with an ``__init__`` of its own

    def __init__(
        self,
        cfg: ConfigLike | None = None,
        weights: WeightsLike | None = None,
        *,
        device: str | torch.device | None = None,
        class_names: Sequence[str] | None = None,
        infer_num_classes: bool = False,
        exact: bool = False,
        precision: str = "float32",
        compile: bool = False,
        mask_format: str = "bitmask",
        engine: str | None = None,
        threads: int | None = None,
        tta: bool = False,
    ) -> None:
        if exact and (compile or precision != "float32"):
            raise ConfigError(
                f"exact=True came with precision={precision!r} and compile={compile}: the bits of Detectron2 need "
                "its own graph in float32, drop one or the other"
            )
        if engine not in (None, "torch", *extensions.engines()):
            raise ConfigError(f"engine is {engine!r}: expected one of torch, {', '.join(extensions.engines())}")
        prepare_process(_TORCH_PROCESS)
        if threads is not None:
            threads = _count("threads", threads, _MOST_THREADS)
            torch.set_num_threads(threads)
        with _collector_paused():
            resolved = resolve_model(cfg, weights, device, class_names, infer_num_classes)
            self.engine = engine or ("onnxruntime" if resolved.is_exported else "torch")
            _check_engine(self.engine, resolved, exact, compile, tta)
            try:
                self._build(resolved, precision, threads, exact)
            except CheckpointError as error:
                if cfg is not None:
                    raise
                missing = "No config came with the weights, so that of the page model was taken: pass theirs, "
                missing += wording("Predictor('config.yaml', weights=…)", "--config config.yaml")
                raise CheckpointError(f"{error}\n{missing}") from None
            del resolved  # with the weights as they were read
            if mask_format != "bitmask":
                if getattr(self.model, "set_mask_format", None) is None:
                    kind = type(self.model).__name__
                    raise ConfigError(f"mask_format is {mask_format!r}, but {kind} has no masks to write: leave it out")
                self.model.set_mask_format(mask_format)
            if self.engine == "torch" and not exact:
                precision = optimize(self.model, precision, compile)
            elif self.engine != "torch":
                precision = getattr(self.model, "precision", precision)
            self.precision = precision
        if compile:
            self._warm_up()
        if tta:
            self.model = GeneralizedRCNNWithTTA(self.cfg, self.model)

    def __repr__(self) -> str:
        classes = self.metadata.get("thing_classes")
        told = [self.cfg.MODEL.META_ARCHITECTURE, *([f"{len(classes)} classes"] if classes else ())]
        told += [f"weights={self._weights!r}", f"device={self.cfg.MODEL.DEVICE!r}"]
        told += [f"precision={self.precision!r}", f"engine={self.engine!r}"]
        return f"{type(self).__name__}({', '.join(told)})"

    if not TYPE_CHECKING:  # which could check no attribute otherwise

        def __getattr__(self, name: str) -> Any:
            if name == "metadata":  # as for ``engine``; each predictor has its own
                self.metadata = Metadata()
                return self.metadata
            raise absent(self, name, _INSTEAD)

    def _build(self, resolved: ResolvedModel, precision: str, threads: int | None, exact: bool) -> None:
        """Build the model, and load its weights."""
        self.cfg, self.metadata = resolved.cfg, resolved.metadata
        self._weights = resolved.checkpoint.name if resolved.checkpoint else "random"
        self.input_format: str = self.cfg.INPUT.FORMAT
        if self.input_format not in ("BGR", "RGB"):
            raise ConfigError(f"INPUT.FORMAT is {self.input_format!r}: expected 'BGR' or 'RGB'")
        checkpoint = resolved.checkpoint if self.engine == "torch" else None
        if self.engine != "torch":
            self.model = extensions.engine(self.engine)(resolved, self.engine, precision, threads)
        else:
            with without_random_init() if checkpoint else nullcontext():
                self.model = build_model(self.cfg)
            if not parts_of_others(self.model):
                for told in unknown_settings(self.cfg):
                    warnings.warn(told, stacklevel=3)
        short_edge = 0 if getattr(self.model, "resizes_itself", False) else self.cfg.INPUT.MIN_SIZE_TEST
        self.aug = ResizeShortestEdge(short_edge, self.cfg.INPUT.MAX_SIZE_TEST, last_is_alpha=exact)
        if checkpoint:
            state, option = named_for(self.model, checkpoint), wording("infer_num_classes=True", "--infer-num-classes")
            # not the state dict of a user, who may go on with it, nor where other code may hold views of the weights
            adopt = bool(checkpoint.format) and not parts_of_others(self.model)
            load_into(self.model, state, source=checkpoint.name, counts_follow=option, adopt=adopt)
        elif self.engine == "torch":
            warnings.warn(
                "MODEL.WEIGHTS is empty: the model keeps its random weights and its answers mean nothing. Pass "
                + wording("weights='model_final.pth'", "--weights model_final.pth")
                + ", or set MODEL.WEIGHTS.",
                stacklevel=3,
            )

    @classmethod
    def from_torchvision(
        cls, weights: WeightsLike, *, device: str | torch.device | None = None, **kwargs: Any
    ) -> Predictor:
        """Run a detector of ``torchvision.models.detection`` with torchvision's own answers.

        Args:
            weights: state dict, or the path of one, of ``fasterrcnn_resnet50_fpn``, ``maskrcnn_resnet50_fpn``,
                ``keypointrcnn_resnet50_fpn``, or a ``_v2`` of the first two, fine-tuned or not. A detector that was
                fine-tuned from an ImageNet backbone alone has frozen norms with an epsilon: give `Predictor` the config
                ``model_zoo.get_config("torchvision/…")`` for it, with ``MODEL.RESNETS.NORM`` set to ``FrozenBN``.
            device: such as "cpu" or "cuda:1". By default CUDA where there is any, else the CPU.
            **kwargs: further arguments of `Predictor`, such as ``class_names`` (without background) or ``exact``.

        Raises:
            CheckpointError: when the file cannot be read, or belongs to another model.
        """
        state = plain_state(weights) if isinstance(weights, Mapping) else read_checkpoint(weights).model
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(torchvision_config(state), weights=state, device=device, **kwargs)

    def _warm_up(self) -> None:
        """Compile for wide and tall images, with one instance and with several, so that no later image has to wait.

        Nothing is found in a black image, so the heads that follow detection are given boxes.
        """
        short, long = self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.MAX_SIZE_TEST
        long = min(long, short * 4 // 3)
        with compiling():
            sizes, hidden = [(short, long), (long, short)], sys.stderr is None  # as in a program without a console
            for height, width in tqdm(sizes, desc="compiling the model", unit="size", disable=hidden):
                inputs: Any = self.prepare(np.zeros((height, width, len(self.cfg.MODEL.PIXEL_MEAN)), np.uint8))
                size = (inputs["image"].shape[1], inputs["image"].shape[2])
                whole = torch.tensor([[0, 0, size[1], size[0]]], dtype=torch.float32, device="cpu")
                if getattr(self.model, "proposal_generator", self) is None:
                    logits = whole.new_zeros(1)
                    inputs["proposals"] = Instances(size, proposal_boxes=Boxes(whole), objectness_logits=logits)
                self.run([inputs])
                if not isinstance(self.model, GeneralizedRCNN):
                    continue
                for number in (1, 3, 20):  # compiled code tells none, one, few and many apart
                    given = Instances(size, pred_boxes=Boxes((whole / 2).repeat(number, 1)))
                    given.scores = whole.new_ones(number)
                    given.pred_classes = whole.new_zeros(number, dtype=torch.int64)
                    with torch.no_grad():
                        GeneralizedRCNN.inference(self.model, [inputs], [given], do_postprocess=False)

    def __call__(self, image: ImageLike | Handle | Sliced, **way: Unpack[Way]) -> Outputs:
        """Predict on one image.

        Args:
            image: a uint8 array (H, W, 3) in BGR order, as ``cv2.imread`` returns it; or (H, W) or (H, W, 1) gray, or
                (H, W, 4) BGRA, whose alpha is dropped; or floats of such shapes, in the range that the model was
                trained on; or a path, an open binary file or a Pillow image, whose colour order is known and whose
                EXIF rotation is applied. A model of other than 1 or 3 channels takes as many bands.
            **way: ``threshold``, ``classes``, ``agnostic_nms`` and ``max_detections`` for this call, see `Choice`;
                other calls, of other threads too, stay as they are. With ``tile`` and ``overlap``, see `Way`, ``image``
                may also be a handle that is read window by window; see `litepred.tiles.open_windows`.

        Returns:
            What the model finds in the image, on the model's device; of tiles ``instances`` alone, on the CPU.

        Raises:
            ImageError: when ``image`` is none of these, or cannot be read.
            ConfigError: when the model cannot find what is chosen, such as more than an exported file reports.
        """
        choice, tiled = self._split(way)
        if tiled is not None:
            return self._known([tiled(image)], image)[0]
        (answer,) = self._run_each([self.prepare(image)], [_path(image)], choice)  # type: ignore[arg-type]
        if isinstance(answer, ImageError):
            try:
                raise answer
            finally:
                del answer  # whose traceback would hold it, and the image, until the garbage is collected
        return self._known([answer], image)[0]

    def _split(self, way: Way, batch_size: int | None = None) -> tuple[Choice, Callable[[Any], Outputs] | None]:
        """Check a way, and take it apart: what is chosen, and the function that predicts on tiles, where they came."""
        tile, overlap = way.get("tile"), way.get("overlap")
        if unknown := way.keys() - Way.__annotations__.keys():
            whose = (
                "it belongs to Predictor(…)"
                if unknown <= {*(type(self).__init__.__kwdefaults__ or ())}
                else "leave it out"
            )
            raise ConfigError(
                f"{', '.join(sorted(unknown))} came, but a call takes {', '.join(Way.__annotations__)}: {whose}"
            )
        choice: Any = {name: value for name, value in way.items() if name not in ("tile", "overlap")}
        if isinstance(choice.get("classes"), Iterator):
            choice["classes"] = list(choice["classes"])  # it is read for each image, and an iterator gives it once
        self._selection(choice)
        if tile is None:
            if overlap is not None:
                names = wording("overlap", "--overlap"), wording("tile", "--tile")
                raise ConfigError(f"{names[0]} is {overlap!r}, but {names[1]} did not come: give the side of the tiles")
            return choice, None
        batch_size, by_tiles = batch_size or self.usual_batch_size, extensions.satellite("tile")
        return choice, lambda image: by_tiles(
            self, image, tile, 0.2 if overlap is None else overlap, choice, batch_size
        )

    @property
    def usual_batch_size(self) -> int:
        """How many images run together unless a caller says so: one on the CPU, which has enough to do with it."""
        return 1 if torch.device(self.cfg.MODEL.DEVICE).type == "cpu" else 4

    def read(self, path: ImageLike) -> np.ndarray:
        """Read an image file into the array that predicts the same as the file, and that `litepred.draw` takes.

        Args:
            path: as `__call__` takes it.

        Returns:
            (H, W, C), uint8 or floats, with the C channels of the model: BGR of three; of other than one or three, the
            file's bands in the order in which an array has to have them.

        Raises:
            ImageError: it is no such image, or cannot be read.
        """
        channels = len(self.cfg.MODEL.PIXEL_MEAN)
        array = image_to_array(path, channels)
        return array if isinstance(path, np.ndarray) else bands_for_array(array, channels, self.input_format)

    def prepare(self, image: ImageLike) -> ModelInput:
        """Read and resize an image, and put it into the form that the model takes.

        Args:
            image: as `__call__` takes it.

        Raises:
            ImageError: when ``image`` is no such image, or cannot be read.
        """
        mean = self.cfg.MODEL.PIXEL_MEAN
        array = image_to_array(image, channels=len(mean), format=self.input_format)
        if array.dtype != np.uint8 and array.max() <= 1 < max(mean):
            warnings.warn(
                f"the image has floats up to {array.max():.3g}, but the model was trained on values around "
                f"{max(mean):g}: multiply them by 255, unless they are meant to be that dark",
                stacklevel=3,
            )
        resized = np.require(self.aug.get_transform(array).apply_image(array), requirements=["C", "W"])
        tensor = torch.from_numpy(resized).permute(2, 0, 1)  # (C, H, W)
        tensor = tensor if tensor.dtype == torch.uint8 else tensor.float()
        if torch.device(self.cfg.MODEL.DEVICE).type == "cuda" and torch.cuda.is_available():
            tensor = tensor.pin_memory()
        return {"image": tensor, "height": array.shape[0], "width": array.shape[1]}

    _model_input = prepare  # its name before it was public, by which scripts still call it

    @torch.no_grad()
    def run(self, inputs: Sequence[ModelInput], **choice: Unpack[Choice]) -> list[Outputs]:
        """Run the model on what `prepare` returned, all in one batch, and return what it finds in each image.

        ``choice`` is as `__call__` takes it.
        """
        prepare_process(_TORCH_PROCESS)
        selection = self._selection(choice)
        if selection is None:
            return self._known(self.model(inputs))
        own_ious = (getattr(part, "test_nms_thresh", None) for part in self.model.modules())
        select = partial(selection.apply, nms_iou=next((iou for iou in own_ious if iou is not None), 0.5))
        model = selection.limited(self.model) if self.engine == "torch" else self.model
        answers: list[Outputs] = model([{**one, "select": select} for one in inputs])
        for one in answers:
            fields = list(one) if isinstance(one, Mapping) else [f"a {type(one).__name__}"]
            if "instances" in fields:
                one["instances"] = select(one["instances"])
            elif others := choice.keys() - {"threshold"}:  # below which nothing of such a model is
                names = ", ".join(wording(name, f"--{name.replace('_', '-')}") for name in sorted(others))
                raise ConfigError(
                    f"{names} came, but this model finds {', '.join(fields)} and no instances: leave it out"
                )
        return self._known(answers)

    def _selection(self, choice: Choice) -> Selection | None:
        selection = Selection.of(self.metadata, **choice, num_classes=class_kind(self.cfg)[1])
        if selection is not None and self.engine != "torch":
            selection.check_exported(self.model)
        return selection

    def _known(self, answers: list[Outputs], image: Any = None) -> list[Outputs]:
        """Let instances know the names of their classes, and where their image is, which is not kept for them."""
        known = weakref.ref(image) if isinstance(image, (np.ndarray, Image.Image)) else _path(image)
        origin = Origin(self.metadata.get("thing_classes") or (), known)
        for one in answers:
            if not isinstance(one, Mapping):  # of a model of somebody else's
                continue
            for found in (one.get("instances"), one.get("proposals")):
                if isinstance(found, Instances):
                    set_origin(found, origin)
        return answers

    @overload
    def batch(
        self,
        images: Iterable[_Source],
        batch_size: int | None = None,
        return_errors: Literal[False] = False,
        **way: Unpack[Way],
    ) -> Iterator[Outputs]: ...
    @overload
    def batch(
        self,
        images: Iterable[_Source],
        batch_size: int | None = None,
        *,
        return_errors: Literal[True],
        **way: Unpack[Way],
    ) -> Iterator[Outputs | ImageError]: ...
    def batch(
        self,
        images: Iterable[_Source],
        batch_size: int | None = None,
        return_errors: bool = False,
        **way: Unpack[Way],
    ) -> Iterator[Outputs | ImageError]:
        """Predict on many images, with the answers that they get one by one.

        While the model works on some images, a thread reads and resizes the next ones. Padding changes a model's
        numbers, so only images of the same padded size run together.

        Args:
            images: a list, a generator or any other iterable of what `__call__` takes, or of functions without
                arguments that return it, which the thread calls. At most twice ``batch_size`` images are held at once.
            batch_size: the most images to run together. By default 4 on an accelerator and 1 on the CPU, which is as
                busy with one image as with four.
            return_errors: yield the `ImageError` of an image that cannot be read, or that the model does not take, in
                the place of its answer, and go on, instead of raising it.
            **way: as `__call__` takes it, for all of the images. With ``tile`` each image is read when its turn comes,
                and ``batch_size`` of its tiles run together.

        Yields:
            A dict per image, in order.

        Raises:
            ImageError: when an image cannot be read or is not taken, at its turn; or when ``images`` is a single image
                or no iterable.
            ConfigError: when ``batch_size`` is not a whole number above 0, or as `__call__` raises it.
        """
        source = several_images(images, "batch()")
        batch_size = self.usual_batch_size if batch_size is None else _count("batch_size", batch_size)
        choice, tiled = self._split(way, batch_size)
        if tiled is not None:
            return self._tiled(source, tiled, return_errors)
        return self._batches(source, batch_size, return_errors, choice)

    def _tiled(
        self, images: Iterator[_Source], tiled: Callable[[Any], Outputs], return_errors: bool
    ) -> Iterator[Outputs | ImageError]:
        for image in images:
            try:
                yield self._known([tiled(image() if callable(image) else image)])[0]
            except ImageError as error:
                if not return_errors:
                    raise
                yield error

    def _batches(
        self, images: Iterator[_Source], batch_size: int, return_errors: bool, choice: Choice
    ) -> Iterator[Outputs | ImageError]:
        padded_size = getattr(self.model, "padded_size", lambda image: tuple(image.shape[1:]))
        with ThreadPoolExecutor(max_workers=1) as reader:

            def read() -> list[tuple[Future[ModelInput], str | None]]:
                some: list[tuple[Future[ModelInput], str | None]] = []
                try:
                    for image in islice(images, batch_size):
                        future = reader.submit(lambda one: self.prepare(one() if callable(one) else one), image)
                        some.append((future, _path(image)))
                except Exception as error:  # of the source itself: it comes after the answers for what was read before
                    some.append((Future(), None))
                    some[-1][0].set_exception(error)
                return some

            coming = read()
            while coming:
                some, coming = coming, read()
                groups: dict[tuple[int, int], list[int]] = {}
                for i, (one, _) in enumerate(some):
                    if one.exception() is None:
                        groups.setdefault(padded_size(one.result()["image"]), []).append(i)
                answers: dict[int, Outputs | ImageError] = {}
                for members in groups.values():
                    inputs, paths = [some[i][0].result() for i in members], [some[i][1] for i in members]
                    answers.update(zip(members, self._run_each(inputs, paths, choice)))
                errors = {i: one for i, one in answers.items() if isinstance(one, ImageError)}
                for i, (one, _) in enumerate(some):
                    error = one.exception() or errors.get(i)
                    if isinstance(error, ImageError) and return_errors:
                        yield error
                    elif error is not None:
                        raise error
                    else:
                        yield answers.pop(i)

    def _run_each(
        self, inputs: Sequence[ModelInput], paths: Sequence[str | None], choice: Choice
    ) -> Sequence[Outputs | ImageError]:
        """Run the model as `run` does; an image that it refuses gets the error, which names its file, as its answer."""
        try:
            return self.run(inputs, **choice)
        except ImageError as error:
            if len(inputs) > 1:
                return [self._run_each([one], [path], choice)[0] for one, path in zip(inputs, paths)]
            if paths[0] is None:
                return [error]
            named = ImageError(f"{paths[0]!r}: {error}")
            named.__cause__ = error
            return [named]

    def stream(
        self,
        source: str | os.PathLike[str] | int | VideoReader,
        batch_size: int | None = None,
        track: Any = False,
        **way: Unpack[Way],
    ) -> Iterator[StreamedFrame]:
        """Predict on the frames of a video or camera, in the memory that a few frames take.

        Args:
            source: path or address of a video; ``"camera:0"`` or 0 for the first camera, whose frames go on until the
                loop is left, as those of streams do; or a `VideoReader`.
            batch_size: the most frames of a video to run together, see `batch`. Those of a camera run one by one.
            track: whether instances get ``track_ids``, by which they are known again in later frames; or the tracker
                that gives them, see `litepred.tracking`.
            **way: as `__call__` takes it, for all of the frames.

        Yields:
            A `StreamedFrame` per frame, in order.

        Raises:
            ImageError: when ``source`` cannot be opened as a video, or the model takes other images than colour and
                gray; or, at the first frame, when it has none.
        """
        way = {**way, **self._split(way)[0]}
        reader = source if isinstance(source, VideoReader) else VideoReader(source)
        channels = len(self.cfg.MODEL.PIXEL_MEAN)
        if channels not in (1, 3):
            reader.close()
            raise ImageError(
                f"{reader.name} is a video, whose frames have 3 channels, but the model takes {channels}: give it "
                f"images of {channels} bands"
            )
        frames = self._stream(reader, batch_size, **way)
        return extensions.satellite("track")(frames, track, reader.fps) if track else frames

    def _stream(self, reader: VideoReader, batch_size: int | None, **way: Unpack[Way]) -> Iterator[StreamedFrame]:
        waiting: deque[tuple[int, float, np.ndarray]] = deque()
        is_gray = len(self.cfg.MODEL.PIXEL_MEAN) == 1

        def frames() -> Iterator[np.ndarray]:
            for one in reader:
                waiting.append(one)
                # gray as of an image file
                yield image_to_array(Image.fromarray(one[2][:, :, ::-1]), channels=1) if is_gray else one[2]

        with reader:
            one_by_one = (self(frame, **way) for frame in frames())
            answers = one_by_one if reader.is_camera else self.batch(frames(), batch_size, **way)
            for outputs in answers:
                index, time_s, frame = waiting.popleft()
                yield StreamedFrame(frame, index, time_s, outputs)


def parts_of_others(model: torch.nn.Module) -> list[str]:
    """Return the names of the classes in a model that are neither litepred's nor torch's."""
    kinds = {type(part) for part in model.modules()}
    return sorted(kind.__qualname__ for kind in kinds if not kind.__module__.startswith(_OURS))


def several_images(images: Any, name: str) -> Iterator[Any]:
    """Return an iterator over images that came as ``name``.

    Raises:
        ImageError: they are a single image, or no iterable.
    """
    is_one = isinstance(images, (str, os.PathLike, Image.Image)) or hasattr(images, "read")
    if is_one or (isinstance(images, np.ndarray) and images.ndim < 4 and images.dtype.kind not in "OUT"):
        raise ImageError(
            f"{name} got a single {type(images).__name__}: expected a list of images, such as "
            "sorted(Path(folder).iterdir()), or [image] for one"
        )
    try:
        return iter(images)
    except TypeError as error:
        raise ImageError(f"{name} got {images!r:.100}: expected a list of images, a generator …") from error


def _path(image: Any) -> str | None:
    """Return the path of an image that came as one."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else None


def _check_engine(engine: str, resolved: ResolvedModel, exact: bool, compile: bool, tta: bool) -> None:
    if engine == "torch" and resolved.is_exported:
        raise ConfigError(
            f"{resolved.cfg.MODEL.WEIGHTS!r} is an exported file, which torch does not run: leave "
            + wording("engine='torch'", "--engine torch")
            + " out, or pass the config and checkpoint that it was made from"
        )
    if engine != "torch" and (exact or compile or tta):
        raise ConfigError(
            f"engine={engine!r} came with exact={exact}, compile={compile} and tta={tta}, which are for torch: drop "
            "one or the other"
        )


def _count(name: str, value: Any, most: int | None = None) -> int:
    """Return ``value`` as an int.

    Raises:
        ConfigError: it is no whole number, below 1, or above ``most``.
    """
    is_whole = hasattr(value, "__index__") and not isinstance(value, (bool, np.ndarray, torch.Tensor))
    if not is_whole or value < 1 or (most is not None and value > most):
        limit = "" if most is None else f", and {most} at most"
        raise ConfigError(f"{name} is {value!r:.100}: expected 1 or more, as a whole number{limit}")
    return int(value)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector of the process.

    Building a model makes many objects and no garbage: a collection would take longer than the building.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


DefaultPredictor = Predictor
