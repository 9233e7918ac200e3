"""What the tests in a browser share."""

from __future__ import annotations

import os
from pathlib import Path


def keep_screenshot(tab, name):
    """Keep a picture of a page in the folder ``LITEPRED_SCREENSHOTS``, if there is one."""
    if folder := os.environ.get("LITEPRED_SCREENSHOTS"):
        tab.screenshot(path=str(Path(folder) / name), full_page=True)


def drop(tab, path):
    """Drop a file onto a page, as ``dropped.png``."""
    data = tab.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        list(path.read_bytes()),
    )
    tab.dispatch_event("main", "drop", {"dataTransfer": data})
