"""The service as a FastAPI application: its addresses, what they say of themselves, and the headers of all answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..predictor import Predictor
from .limits import Limits
from .schema import BODY, Error, Status, responses
from .service import Service, Wanted

__all__ = ["create_app"]

_PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    """Return the hashes by which a policy allows the page's own elements of a kind, and no others."""
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", _PAGE, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in texts)


_PAGE_POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; img-src blob: data:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_DESCRIPTION = """\
`POST /predict` takes an image and tells what a model finds in it. `GET /` is a page to try it on. Every answer that is
not 200 has a JSON object with the sentence `error`, except 503 where too many connections are open."""

_router = APIRouter()


def create_app(
    predictor: Predictor, limits: Limits | None = None, host_names: Collection[str] | None = None
) -> FastAPI:
    """Make the application that ``litepred serve`` runs, for another ASGI server or within another application.

    Args:
        predictor: answers all requests. With ``mask_format="roi"`` masks take little memory while they wait.
        limits: what is taken from clients.
        host_names: by which names clients may ask for the service, besides localhost and addresses of numbers. Others
            are refused then, as that of a foreign page whose name was led to this machine, and so is what pages of
            other sites post. By default any name will do.
    """
    service = Service(predictor, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="litepred",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # a page that would load its programs from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(_router)
    if host_names is not None:
        given = [host_names] if isinstance(host_names, str) else host_names
        app.add_middleware(_KnownHosts, names={"localhost", *(name.lower() for name in given)})
    app.add_middleware(_SafeHeaders)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


class _KnownHosts:
    """Refuses what a page of another site may have sent by the browser of whoever uses this machine."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host = _name_of(headers.get("host", "localhost"))
            is_foreign = scope["method"] == "POST" and headers.get("sec-fetch-site") == "cross-site"
            if is_foreign or not (host in self.names or _is_address(host)):
                told = "a page of another site sent this" if is_foreign else f"{host!r} is no name of this service"
                told += ": it answers its own machine, and who asks for the names of --host-names"
                await JSONResponse({"error": told}, 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _name_of(host: str) -> str:
    """Return the name in a header ``Host``, without its port; nothing where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # such as a bracket that does not close
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class _SafeHeaders:
    """Gives every answer the headers that keep browsers from doing with it what was not meant."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_safely)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    _count(request, 422)
    told = [f"{one['loc'][-1]} is {str(one.get('input'))!r:.60}: {one['msg']}" for one in error.errors()]
    return JSONResponse({"error": "; ".join(told)}, 422)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    _count(request, error.status_code)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


@_router.post("/predict", openapi_extra=BODY, responses=responses(), response_model=None)
async def predict(
    request: Request,
    format: Annotated[
        Literal["json", "coco", "png"], Query(description="JSON, COCO's results, or a picture of what was found")
    ] = "json",
    threshold: Annotated[float, Query(ge=0, le=1, description="That scores must exceed")] = 0.5,
    classes: Annotated[
        Sequence[str], Query(description="Keep only these classes: names or numbers, with commas between them")
    ] = (),
    image_id: Annotated[int, Query(description="For COCO's results")] = 1,
    mask_format: Annotated[
        Literal["polygon", "rle", "none"], Query(description="How masks are written as JSON")
    ] = "polygon",
) -> Response:
    """Find things in an image."""
    known = [one.name for one in fields(Wanted)]
    if unknown := [name for name in request.query_params if name not in known]:
        raise HTTPException(422, f"{unknown[0]!r:.60} is no query of /predict: expected {', '.join(known)}")
    if repeated := [name for name in known if name != "classes" and len(request.query_params.getlist(name)) > 1]:
        raise HTTPException(422, f"{repeated[0]} came more than once: expected one value of it")
    kept = [one.strip() for text in classes if text for one in text.split(",")]
    return await _service(request).answer(request, Wanted(format, threshold, kept, image_id, mask_format))


@_router.get("/health", response_model=Status)
async def health() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "alive"}


@_router.get("/ready", response_model=Status, responses={503: {"model": Error, "description": "Busy, or ending"}})
async def ready(request: Request) -> Response:
    """Tell whether the next image would be taken."""
    if _service(request).is_ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"error": "the queue is full, or the service is ending"}, 503, {"Retry-After": "1"})


@_router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return counters and measures in Prometheus's text format."""
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@_router.get("/", include_in_schema=False)
async def page() -> Response:
    """Return the page to try it on."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _PAGE_POLICY})


def _count(request: Request, status: int) -> None:
    """Let the counters have a request to /predict that is refused before it is read."""
    if request.scope.get("endpoint") is predict:
        _service(request).metrics.request(status, 0.0)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
