import sys

import pytest

from litepred.drop_in import finder


@pytest.fixture
def drop_in():
    """The drop-in in this process, and taken out again."""
    finder.as_detectron2(replace=True)  # also where Detectron2 is installed, to compare with
    yield
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, finder._Finder)]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("detectron2", "densepose", "apply_net")]:
        del sys.modules[name]
