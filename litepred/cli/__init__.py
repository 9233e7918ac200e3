"""The ``litepred`` program; each of its commands is a file."""

from .main import main

__all__ = ["main"]
