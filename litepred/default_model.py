"""Find the model that comes with the package, which finds text, titles, lists, tables and figures on document pages."""

from __future__ import annotations

from pathlib import Path

from .config import CfgNode, get_cfg
from .errors import ConfigError

__all__ = ["default_config", "example_page"]


def _asset(name: str) -> Path:
    package = Path(__file__).resolve().parent
    for folder in (package / "weights", package.parent / "weights"):  # installed, and in a checkout
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{name!r} is missing from the installation in {package}: reinstall litepred")


def default_config() -> CfgNode:
    """Return a fresh config of the default model; ``MODEL.WEIGHTS`` is the path of its weights."""
    cfg = get_cfg()
    cfg.merge_from_file(_asset("page_layout.yaml"))
    cfg.MODEL.WEIGHTS = str(_asset(cfg.MODEL.WEIGHTS))
    return cfg


def example_page() -> Path:
    """Return the path of a document page to try the default model on."""
    return _asset("example_page.png")
