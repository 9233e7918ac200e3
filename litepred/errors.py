"""The exceptions that litepred raises, one small family.

Each message says what came, what was expected and what to do about it. They also derive from the builtin
exception that callers of Detectron2-style code already catch, so that existing ``except`` clauses keep working.
"""

__all__ = ["CheckpointError", "ConfigError", "ImageError", "LitepredError", "WriteError"]


class LitepredError(Exception):
    """Base of every exception that litepred raises on purpose."""


class ImageError(LitepredError, ValueError):
    """An image cannot be read, or an array is not an image that a model takes."""


class ConfigError(LitepredError, ValueError):
    """A config cannot be read, or it has an unknown key or a value that makes no sense."""


class CheckpointError(LitepredError, ValueError):
    """A checkpoint cannot be read safely, or does not fit the model."""


class WriteError(LitepredError, OSError):
    """A file cannot be written."""
