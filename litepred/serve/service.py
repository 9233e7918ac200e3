"""The way of a request: read within limits, prepared, answered by the model in its turn, and written."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeVar

from PIL import Image
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ..data import image_size
from ..errors import ImageError, LitepredError
from ..predictor import ModelInput, Predictor
from ..results import describe, filter, instances_to_coco_json, plain
from ..structures import Outputs
from ..visualizer import draw
from ..visualizer.image import bands_to_look_at
from .batcher import Batcher
from .limits import Limits
from .metrics import Metrics

__all__ = ["Service", "Wanted"]

T = TypeVar("T")
_GONE = 499  # nginx's number for a client that went away; nobody gets it
_logger = logging.getLogger(__name__)


class Upload(io.BytesIO):
    """The bytes of an image."""


Upload.__name__ = "upload"  # as messages call it


class RefusalError(Exception):
    """A request is not answered, for a reason that the client may know."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Wanted:
    """What a client wants to know of an image.

    Attributes:
        format: "json" for all that was found; "coco" for a list as in COCO's results; "png" for a picture.
        threshold: that scores must exceed.
        classes: names, or numbers from 0, of the classes to keep; empty for all.
        image_id: that COCO's entries carry.
        mask_format: of the answer as JSON: "polygon", "rle" or "none".
    """

    format: Literal["json", "coco", "png"]
    threshold: float
    classes: Sequence[str]
    image_id: int
    mask_format: str


class Service:
    """One predictor, and the requests that wait for it.

    Images are read and answers written in a few threads; the model runs in one thread (see `Batcher`). Everything else
    happens in the event loop.

    Args:
        predictor: answers all requests.
        limits: what is taken from clients.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics(lambda: self._pending)
        self._predictor = predictor
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="litepred-images")
        self._batcher = Batcher(predictor, limits.batch_size or predictor.usual_batch_size, self.metrics.run)
        self._pending = 0  # requests
        self._held = 0  # bytes of uploads
        self._closed = False

    @property
    def is_ready(self) -> bool:
        """Whether the next image would be taken."""
        return not self._closed and self._pending < self.limits.queue

    def close(self) -> None:
        """Finish what was begun, and end the threads."""
        self._closed = True
        self._batcher.close()
        self._pool.shutdown()

    async def answer(self, request: Request, wanted: Wanted) -> Response:
        """Answer a request that brings an image: with what was found, or with a status and a sentence."""
        start, status, reason = perf_counter(), 500, "the service failed at this image; its log says why"
        try:
            response = await self._answer(request, wanted)
        except RefusalError as error:
            status, reason = error.status, str(error)
        except ClientDisconnect:
            status, reason = _GONE, "the client went away"
        except ImageError as error:
            is_too_large = isinstance(error.__cause__, (Image.DecompressionBombError, MemoryError))
            status, reason = (413 if is_too_large else 400), str(error)
        except LitepredError as error:  # of what was asked for, this model has nothing
            status, reason = 422, str(error)
        except Exception:
            _logger.exception("A request failed")
        else:
            self.metrics.request(200, perf_counter() - start)
            return response
        self.metrics.request(status, perf_counter() - start)
        headers = {"Retry-After": "1"} if status == 503 else {"Connection": "close"} if status == 408 else None
        return JSONResponse({"error": reason}, status, headers)

    async def _answer(self, request: Request, wanted: Wanted) -> Response:
        limits = self.limits
        try:
            body = await asyncio.wait_for(self._body(request), limits.timeout)
        except asyncio.TimeoutError:
            raise RefusalError(408, f"the request did not arrive within {limits.timeout:g} seconds") from None
        if self._closed:
            raise RefusalError(503, "the service is shutting down")
        if not self.is_ready:
            raise RefusalError(503, f"{self._pending} requests are worked on or wait already: try again")
        held = len(body)
        self._pending += 1
        self._held += held
        try:
            image = await _image_of(request, body)
            del body  # of a form, the image is a copy
            self._held += len(image) - held
            held = len(image)
            return await self._unless_gone(request, self._work(image, wanted))
        finally:
            self._pending -= 1
            self._held -= held

    async def _body(self, request: Request) -> bytes:
        """Read a request's body. One that is too large is read to its end and not kept, so that the answer is heard."""
        most, announced = self.limits.max_bytes, request.headers.get("content-length", "")
        too_large = RefusalError(413, f"the request has more than {most:,} bytes, the most that are taken")
        if announced.isdecimal() and int(announced) > most and "expect" in request.headers:
            raise too_large
        chunks: list[bytes] = []
        size = held = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    chunks.clear()
                    continue
                chunks.append(chunk)
                held += len(chunk)
                self._held += len(chunk)
                if self._held > most * self.limits.queue:
                    raise RefusalError(503, "other uploads take all the memory there is for them: try again")
        finally:
            self._held -= held
        if size > most:
            raise too_large
        return b"".join(chunks)

    async def _unless_gone(self, request: Request, work: Any) -> Response:
        """Wait for an answer, until time is up or the client goes away; what has not begun by then never does."""
        working, going = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({working, going}, timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if going.done():
                raise ClientDisconnect
            raise RefusalError(503, f"no answer was there after {self.limits.timeout:g} seconds: try again")
        finally:
            working.cancel()
            going.cancel()

    async def _work(self, data: bytes, wanted: Wanted) -> Response:
        inputs = await self._in_pool(self._prepare, data)
        outputs = await asyncio.wrap_future(self._batcher.submit(inputs))
        return await self._in_pool(self._write, data, outputs, inputs, wanted)

    async def _in_pool(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _prepare(self, data: bytes) -> ModelInput:
        height, width = image_size(Upload(data))
        if height * width > self.limits.max_pixels:
            raise RefusalError(
                413, f"the image has {width} × {height} pixels: at most {self.limits.max_pixels:,} are taken"
            )
        return self._predictor.prepare(Upload(data))

    def _write(self, data: bytes, outputs: Outputs, inputs: ModelInput, wanted: Wanted) -> Response:
        metadata = self._predictor.metadata
        if "instances" in outputs:
            outputs = filter(outputs, wanted.threshold, wanted.classes or None, metadata)
        elif wanted.classes:
            raise RefusalError(422, f"classes came, but this model finds {', '.join(outputs)} and no instances")
        if wanted.format == "png":
            image = bands_to_look_at(self._predictor.read(Upload(data)), self._predictor.input_format)
            picture = draw(image, outputs, metadata, threshold=wanted.threshold)
            file = io.BytesIO()
            Image.fromarray(picture[:, :, ::-1]).save(file, "PNG", compress_level=3)
            return Response(file.getvalue(), media_type="image/png")
        content: Any = {"height": inputs["height"], "width": inputs["width"]}
        if wanted.format == "coco":
            mask_format = "none" if wanted.mask_format == "none" else "rle"
            content = instances_to_coco_json(outputs, wanted.image_id, mask_format=mask_format, metadata=metadata)
        else:
            content |= describe(outputs, metadata, wanted.mask_format)
        return Response(json.dumps(content, default=plain).encode(), media_type="application/json")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _FormParser(MultiPartParser):
    spool_max_size = 1 << 62  # nothing that was uploaded is written to the disk
    max_file_size = spool_max_size  # as it is called before starlette 0.46


async def _image_of(request: Request, body: bytes) -> bytes:
    """Return the image in a body: the file of a form, or the body itself."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return body

    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await _FormParser(request.headers, stream(), max_files=1, max_fields=16).parse()  # type: ignore[arg-type]
    except (MultiPartException, ValueError) as error:  # the second of python-multipart, before starlette caught it
        raise RefusalError(400, f"the form cannot be read: {error}") from error
    files = [value for _, value in form.multi_items() if not isinstance(value, str)]
    if not files:
        raise RefusalError(400, "the form has no file: send the image as one, as curl -F image=@photo.jpg does")
    return await files[0].read()
