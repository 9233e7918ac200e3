"""The drop-in: ``import detectron2`` answered by litepred, for scripts that are not to be changed.

`names` is the table of what stands for what, `finder` what Python's import asks, and the other files hold what only
such scripts ask for: the table says what they export, so they have no ``__all__``. Nothing here is imported by the rest
of litepred.
"""

from .finder import as_detectron2

__all__ = ["as_detectron2"]
