"""The page of examples/browser in a real Chromium, against the predictor's own answers."""

from __future__ import annotations

import base64
import functools
import io
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from chromium import drop, keep_screenshot
from golden_answers import ASSETS
from PIL import Image

from litepred.data import read_image

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "weights" / "example_page.png"
LAYOUTS = ASSETS / "page_layout"
PATIENCE = 300_000  # milliseconds for one image, on a busy machine


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The example as its README makes it, served."""
    folder = tmp_path_factory.mktemp("served") / "browser"
    shutil.copytree(ROOT / "examples" / "browser", folder, ignore=shutil.ignore_patterns("node_modules", "*.onnx"))
    npm = shutil.which("npm")
    assert npm, "npm is missing: install Node.js"
    subprocess.run([npm, "install", "onnxruntime-web", "--ignore-scripts"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "litepred", "export", "page.onnx"], cwd=folder, check=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def tab(browser, url):
    """One tab for all tests of this module, in which the model is loaded once."""
    tab = browser.new_page()
    tab.requests = []
    tab.on("request", lambda request: tab.requests.append(request))
    tab.goto(url + "?engine=wasm")
    return tab


def wait_for_answer(tab, name):
    tab.locator("#status, #error").filter(has_text=f"{name}").filter(has_not_text="Opening").first.wait_for(
        timeout=PATIENCE
    )


def choose(tab, path):
    tab.set_input_files("#file", path)
    wait_for_answer(tab, Path(path).name)


def table(tab):
    rows = [row.split("\t") for row in tab.locator("#rows").inner_text().splitlines()]
    return [name.strip() for name, *_ in rows], np.array([row[2:] for row in rows], float).reshape(-1, 4)


def expected(predictor, path):
    instances = predictor(path)["instances"]
    return instances[instances.scores >= 0.5]


def assert_as_predicted(tab, predictor, path):
    instances = expected(predictor, path)
    names, boxes = table(tab)
    assert len(instances) > 3
    assert sorted(names) == sorted(predictor.metadata.thing_classes[i] for i in instances.pred_classes)
    for label, box in zip(instances.pred_classes, instances.pred_boxes.tensor.numpy()):
        same = [i for i, name in enumerate(names) if name == predictor.metadata.thing_classes[label]]
        assert np.abs(boxes[same] - box).max(axis=1).min() <= 1.5
    return instances


@pytest.mark.parametrize(
    "path", [PAGE, *(LAYOUTS / name for name in ("tugboat_2col_table.png", "dotguide_figures.png"))]
)
def test_boxes_and_names(tab, page_predictor, path):
    choose(tab, path)
    print(tab.inner_text("#status"))
    keep_screenshot(tab, f"{path.stem}.png")
    assert_as_predicted(tab, page_predictor, path)


def test_warped_jpeg(tab, page_predictor):
    path = LAYOUTS / "ltnews_2col_warped.jpg"
    choose(tab, path)
    keep_screenshot(tab, f"{path.stem}.png")
    assert_as_predicted(tab, page_predictor, path)


def test_masks(tab, page_predictor):
    choose(tab, PAGE)
    address = tab.evaluate("document.getElementById('picture').toDataURL()")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))
    paper = (read_image(PAGE) == 255).all(axis=2)
    instances = expected(page_predictor, PAGE)
    masks = instances.pred_masks.numpy().any(axis=0)
    assert shown.shape[:2] == paper.shape
    free = np.ones_like(paper)  # of lines and labels
    for x0, y0, x1, y1 in instances.pred_boxes.tensor.round().int().tolist():
        free[y0 - 20 : y0, x1 - 100 : x1 + 4] = False
        for edge in (np.s_[y0 - 4 : y0 + 4, x0:x1], np.s_[y1 - 4 : y1 + 4, x0:x1], np.s_[y0:y1, x0 - 4 : x0 + 4]):
            free[edge] = False
        free[y0:y1, x1 - 4 : x1 + 4] = False
    tinted = (shown != 255).any(axis=2)
    assert (free & paper & masks).sum() > 100_000
    assert (tinted == masks)[free & paper].mean() > 0.999


def test_nothing_left_this_machine(tab, url):
    assert len(tab.requests) > 5
    assert {request.method for request in tab.requests} == {"GET"}
    assert [one.url for one in tab.requests if not one.url.startswith((url, "data:", "blob:"))] == []


def test_an_empty_page(tab, tmp_path):
    Image.new("RGB", (300, 400), "white").save(tmp_path / "empty.png")
    choose(tab, tmp_path / "empty.png")
    assert "Nothing found" in tab.inner_text("#status")
    assert table(tab)[0] == []


@pytest.mark.parametrize("content", [b"", b"no picture", PAGE.read_bytes()[:40]])
def test_what_is_no_image(tab, tmp_path, content):
    (tmp_path / "notes.png").write_bytes(content)
    choose(tab, tmp_path / "notes.png")
    assert "notes.png is no image that this browser can read: choose a PNG" in tab.inner_text("#error")
    assert not tab.is_visible("#result")
    keep_screenshot(tab, "error.png")


def test_dropped(tab, page_predictor):
    drop(tab, PAGE)
    wait_for_answer(tab, "dropped.png")
    assert tab.inner_text("#error") == ""
    assert_as_predicted(tab, page_predictor, PAGE)


def test_with_the_keyboard_on_a_phone(tab):
    tab.set_viewport_size({"width": 320, "height": 640})
    choose(tab, PAGE)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    keep_screenshot(tab, "phone.png")
    tab.focus("#file")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "least"
    before = len(table(tab)[0])
    for _ in range(9):
        tab.keyboard.press("ArrowRight")
    assert tab.inner_text("#least-shown") == "95 %"
    assert 0 < len(table(tab)[0]) < before
    assert "outlined" in tab.get_by_role("img").get_attribute("aria-label")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "scroll"


@pytest.mark.parametrize(
    ("height", "width", "new_hw"), [(198, 153, (149, 115)), (31, 50, (62, 97)), (7, 9, (7, 3)), (5, 5, (1, 1))]
)
def test_resizing_is_pillows(tab, height, width, new_hw):
    rgba = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    found = tab.evaluate(
        """async ([rgba, ...sizes]) => {
            const { resize } = await import("./resize.js");
            return Array.from(resize(new Uint8ClampedArray(rgba), ...sizes));
        }""",
        [rgba.ravel().tolist(), height, width, *new_hw],
    )
    image = Image.fromarray(np.ascontiguousarray(rgba[:, :, :3]))
    wanted = np.asarray(image.resize(new_hw[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.array(found, np.uint8).reshape(wanted.shape), wanted)


@pytest.mark.parametrize(
    ("missing", "advice"),
    [("page.onnx", "make it with litepred export page.onnx"), ("*.bundle.min.mjs", "npm install onnxruntime-web")],
)
def test_a_file_that_is_missing(browser, url, missing, advice):
    with browser.new_context() as context:
        context.route(f"**/{missing}", lambda route: route.fulfill(status=404))
        tab = context.new_page()
        tab.goto(url + "?engine=wasm")
        tab.set_input_files("#file", PAGE)
        tab.locator("#error:not(:empty)").wait_for(timeout=PATIENCE)
        assert advice in tab.inner_text("#error")
