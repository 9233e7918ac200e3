"""Answers over HTTP: one predictor behind FastAPI, with a page to try it on."""

from ..errors import LitepredError
from .limits import Limits

try:
    from .app import create_app
except ImportError as error:
    raise LitepredError(
        f"the service needs FastAPI, uvicorn and others, and {error.name} is missing: pip install 'litepred[serve]'"
    ) from error

__all__ = ["Limits", "create_app"]
