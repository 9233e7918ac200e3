"""What Python runs first in a process that a program under ``litepred run`` starts, where LITEPRED_REPLACE is set."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

try:
    from litepred.drop_in.finder import as_detectron2
except ImportError:  # the process belongs to an environment without litepred
    pass
else:
    as_detectron2()

# The environment's own module of this name is hidden by this one.
_folders = [folder for folder in sys.path if Path(folder) != Path(__file__).parent]
_spec = importlib.machinery.PathFinder.find_spec("sitecustomize", _folders)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
