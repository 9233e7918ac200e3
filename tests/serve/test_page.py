"""The service's page in a real Chromium, against the predictor's own answers."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from chromium import drop, keep_screenshot
from PIL import Image
from process_worker import tiny_predictor
from served import served, wait_until
from tiny_models import tiny_cfg, tiny_model

from litepred import Predictor
from litepred.serve import Limits, create_app

pytestmark = pytest.mark.browser

PAGE = Path(__file__).parent.parent.parent / "weights" / "example_page.png"
PATIENCE = 60_000  # milliseconds for one image, on a busy machine


def address(server):
    return "http://{}:{}/".format(*server.address)


@pytest.fixture(scope="module")
def url(page_predictor):
    with served(create_app(page_predictor, Limits(max_pixels=2_000_000))) as server:
        yield address(server)


@pytest.fixture
def tab(browser, url):
    with browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True) as context:
        tab = context.new_page()
        tab.requests, tab.complaints = [], []
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("console", lambda one: tab.complaints.append(one.text) if "Content Security" in one.text else None)
        tab.goto(url)
        yield tab
        assert tab.complaints == []
        assert [one for one in tab.requests if not one.startswith((url, "data:", "blob:"))] == []


def choose(tab, path):
    tab.set_input_files("#file", path)
    tab.locator("#status, #error").filter(has_not_text="Looking").filter(has_text=Path(path).name).first.wait_for(
        timeout=PATIENCE
    )


def rows(tab):
    return [line.split("\t") for line in tab.locator("#rows").inner_text().splitlines()]


def expected(predictor, threshold, names=None):
    instances = predictor(PAGE)["instances"]
    classes = predictor.metadata.thing_classes
    found = zip(instances.pred_classes.tolist(), instances.scores.tolist(), instances.pred_boxes.tensor.tolist())
    named = [(classes[label], score, box) for label, score, box in found if score >= threshold]
    return [one for one in named if names is None or one[0] in names]


def assert_shown(tab, wanted):
    found = [(name.strip(), [*map(float, box.split(", "))]) for name, _, box in rows(tab)]
    assert [name for name, _ in found] == [name for name, *_ in wanted]
    assert np.abs(np.array([box for _, box in found]) - np.array([box for *_, box in wanted])).max() <= 1


def test_an_image_and_what_is_in_it(tab, page_predictor):
    keep_screenshot(tab, "serve-empty.png")
    choose(tab, PAGE)
    keep_screenshot(tab, "serve-page.png")
    assert_shown(tab, expected(page_predictor, 0.5))
    image = np.asarray(Image.open(PAGE).convert("RGB"))
    data = tab.evaluate("document.getElementById('picture').toDataURL()").partition(",")[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    instances = page_predictor(PAGE)["instances"]
    instances = instances[instances.scores >= 0.5]
    paper = (image == 255).all(axis=2)
    changed = (shown != image).any(axis=2)
    assert changed[instances.pred_masks.numpy().any(axis=0) & paper].mean() > 0.99
    outside = np.ones_like(paper)
    for x0, y0, x1, y1 in instances.pred_boxes.tensor.round().int().tolist():  # with their lines and labels
        outside[max(y0 - 20, 0) : y1 + 20, max(min(x0, x1 - 80) - 4, 0) : x1 + 4] = False
    assert outside.sum() > 100_000
    assert not changed[outside].any()


def test_threshold_and_classes_by_keyboard(tab, page_predictor):
    choose(tab, PAGE)
    tab.focus("#file")
    for name in ("camera", "least"):
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == name
    for _ in range(8):
        tab.keyboard.press("ArrowRight")
    assert tab.inner_text("#least-shown") == "90 %"
    assert_shown(tab, expected(page_predictor, 0.9))
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")  # the first class is unchecked
    assert_shown(tab, expected(page_predictor, 0.9, {"title", "list", "table", "figure"}))
    assert "text" not in tab.inner_text("#summary")
    for name in ("Least score", "Classes"):
        assert tab.get_by_label(name).count() + tab.get_by_role("group", name=name).count() == 1
    assert "title" in tab.get_by_role("img").get_attribute("aria-label")
    ids = ["scroll", "save-json", "save-picture"]
    while tab.evaluate("document.activeElement.type") == "checkbox":
        tab.keyboard.press("Tab")
    for name in ids:
        assert tab.evaluate("document.activeElement.id") == name
        tab.keyboard.press("Tab")


def test_downloads(tab, page_predictor):
    choose(tab, PAGE)
    with tab.expect_download() as download:
        tab.click("#save-json")
    assert download.value.suggested_filename == "example_page.json"
    content = json.loads(Path(download.value.path()).read_text())
    assert [one["category"] for one in content["instances"]] == [name for name, *_ in expected(page_predictor, 0.5)]
    with tab.expect_download() as download:
        tab.click("#save-picture")
    assert download.value.suggested_filename == "example_page-found.png"
    picture = Image.open(download.value.path()).convert("RGB")
    assert picture.size == Image.open(PAGE).size
    assert (np.asarray(picture) != np.asarray(Image.open(PAGE).convert("RGB"))).any()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "notes.png: the upload is empty"),
        (b"no picture", "notes.png: the upload is no image of a format that is opened"),
        (PAGE.read_bytes()[:90], "notes.png: the upload cannot be read as an image"),
        (bytes(17_000_000), "notes.png: the request has more than 16,000,000 bytes"),
    ],
)
def test_what_is_no_image(tab, tmp_path, content, told):
    (tmp_path / "notes.png").write_bytes(content)
    choose(tab, tmp_path / "notes.png")
    assert told in tab.inner_text("#error")
    assert not tab.is_visible("#result")
    keep_screenshot(tab, "serve-error.png")
    choose(tab, PAGE)  # and goes on
    assert tab.is_visible("#result")
    assert tab.inner_text("#error") == ""


def test_an_image_with_too_many_pixels(tab, tmp_path):
    Image.new("1", (1500, 1500)).save(tmp_path / "large.png")
    choose(tab, tmp_path / "large.png")
    assert "the image has 1500 × 1500 pixels: at most 2,000,000 are taken" in tab.inner_text("#error")


def test_nothing_in_it(tab, tmp_path):
    Image.new("RGB", (300, 400), "white").save(tmp_path / "white.png")
    choose(tab, tmp_path / "white.png")
    assert "Nothing found" in tab.inner_text("#status")
    assert rows(tab) == []


def test_a_format_that_the_browser_lacks(tab, page_predictor, tmp_path):
    Image.open(PAGE).convert("RGB").save(tmp_path / "page.tif")
    choose(tab, tmp_path / "page.tif")
    assert_shown(tab, expected(page_predictor, 0.5))
    assert tab.evaluate("document.getElementById('picture').width") == Image.open(PAGE).width


def test_dropped(tab, page_predictor):
    drop(tab, PAGE)
    tab.locator("#status").filter(has_text="dropped.png: done").wait_for(timeout=PATIENCE)
    assert_shown(tab, expected(page_predictor, 0.5))


def test_the_camera_on_a_phone(tab):
    tab.set_viewport_size({"width": 320, "height": 640})
    choose(tab, PAGE)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    keep_screenshot(tab, "serve-phone.png")
    tab.click("#camera")
    wait_until(lambda: tab.evaluate("document.getElementById('video').videoWidth > 0"))
    keep_screenshot(tab, "serve-camera.png")
    tab.get_by_role("button", name="Take picture").press("Enter")
    tab.locator("#status").filter(has_text="camera.png: done").wait_for(timeout=PATIENCE)
    assert not tab.is_visible("#viewfinder")
    assert tab.evaluate("document.getElementById('video').srcObject.getTracks().every((t) => t.readyState == 'ended')")
    tab.click("#camera")
    tab.locator("#viewfinder").wait_for()
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#viewfinder")


def photo(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


@pytest.mark.parametrize("family", ["rotated", "panoptic", "semantic", "proposals", "keypoints"])
def test_other_models(browser, tmp_path, family):
    if family == "keypoints":
        predictor = tiny_predictor()
    else:
        cfg = tiny_cfg(family)
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
        predictor = Predictor(cfg, weights=tiny_model(family).state_dict())
    with served(create_app(predictor)) as server, browser.new_context() as context:
        tab = context.new_page()
        tab.goto(address(server))
        choose(tab, photo(tmp_path))
        assert "noise.png: done" in tab.inner_text("#status")
        keep_screenshot(tab, f"serve-{family}.png")
        assert tab.is_visible("#choices") == (family in ("rotated", "panoptic", "keypoints"))
        picture = tab.locator("#picture").screenshot()
        assert np.asarray(Image.open(io.BytesIO(picture))).std() > 0


def test_a_service_that_has_ended(browser, tmp_path):
    with browser.new_context() as context:
        tab = context.new_page()
        with served(create_app(tiny_predictor())) as server:
            tab.goto(address(server))
        tab.set_input_files("#file", photo(tmp_path))
        tab.locator("#error").filter(has_text="The server did not answer").wait_for(timeout=PATIENCE)
