"""A folder of 200 pages with five broken files: right counts, flat memory. Some minutes: python -m pytest -m long."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from golden_answers import ASSETS
from PIL import Image

pytestmark = pytest.mark.long
BROKEN = {7: b"", 60: b"no picture", 61: None, 120: b"\x89PNG\r\n\x1a\n", 199: None}  # None: cut short


def fill(folder: Path) -> None:
    """Write pages of five sizes, and the broken files among them."""
    sources = [Image.open(path).convert("RGB") for path in sorted((ASSETS / "annotated").glob("page*.png"))]
    for i in range(200):
        page = sources[i % len(sources)].crop((0, 0, 420 - 20 * (i % 5), 540 - 30 * (i % 5)))
        path = folder / f"{i:03d}.png"
        page.save(path)
        if i in BROKEN:
            content = BROKEN[i]
            path.write_bytes(path.read_bytes()[:2000] if content is None else content)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from Linux's /proc")
def test_two_hundred_pages(tmp_path, capsys):
    (tmp_path / "pages").mkdir()
    fill(tmp_path / "pages")
    options = ["--save-json", "--coco", "coco.json", "--csv", "all.csv", "--panoptic", "panoptic", "--threshold", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "litepred", "predict", "pages", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    resident = []
    lines = []
    for line in process.stdout:
        lines.append(line)
        resident.append(resident_mb(process.pid))
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait() == 1, err
    assert len(lines) == 195
    assert err.count("litepred: error: ") == 5
    assert "195 of 200 images" in err
    assert "5 could not be read" in err
    assert len(list((tmp_path / "litepred-output").glob("*.png"))) == 195
    assert len(list((tmp_path / "litepred-output").glob("*.json"))) == 195
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert len({entry["image_id"] for entry in entries}) == 195
    assert len((tmp_path / "all.csv").read_text().splitlines()) == len(entries) + 1
    panoptic = json.loads((tmp_path / "panoptic" / "panoptic.json").read_text())
    assert len(panoptic["annotations"]) == len(panoptic["images"]) == 195
    after_50, after_200 = statistics.median(resident[45:55]), statistics.median(resident[-10:])
    with capsys.disabled():
        print(
            f"\nresident after 50 pages {after_50:.0f} MB, after 200 pages {after_200:.0f} MB; {err.splitlines()[-1]}"
        )
    assert abs(after_200 - after_50) <= 0.05 * after_50
