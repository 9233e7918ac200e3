"""``python -m litepred`` is the ``litepred`` command."""

import sys

from .cli import main

sys.exit(main())
