"""The service: its answers, its limits, its headers, and clients that are slow, broken, impatient or many."""

from __future__ import annotations

import io
import json
import re
import struct
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from data.test_bands import predictor_of
from data.test_tiff import tiff_of
from fastapi.testclient import TestClient
from PIL import Image
from process_worker import answer, images, tiny_predictor
from prometheus_client.parser import text_string_to_metric_families
from python_multipart.exceptions import FormParserError
from served import png, post, served, talk, wait_until
from tiny_models import tiny_cfg, tiny_model

import litepred
from litepred import Predictor
from litepred.errors import ConfigError
from litepred.results import instances_to_coco_json, to_dicts
from litepred.serve import Limits, create_app
from litepred.serve.schema import Answer
from litepred.serve.service import Service, _FormParser

PHOTO = png(images()[0])
LIMITS = Limits(max_bytes=100_000, max_pixels=9_000, timeout=20)
# Threads share the processor in another way from run to run, and sums may be rounded otherwise.
TOLERANCE = {"boxes": 0.02, "scores": 5e-4, "classes": 0, "keypoints": 0.5}
KEYS = {"boxes": "box", "scores": "score", "classes": "category_id", "keypoints": "keypoints"}


@pytest.fixture(scope="module")
def predictor():
    return tiny_predictor(mask_format="roi")


@pytest.fixture(scope="module")
def client(predictor):
    with TestClient(create_app(predictor, LIMITS)) as client:
        yield client


def everything(client, content=PHOTO, **query):
    response = client.post("/predict", content=content, params={"threshold": 0, **query})
    assert response.status_code == 200, response.text
    return response


def assert_close(rows, expected):
    for name, key in KEYS.items():
        found = np.array([row[key] for row in rows], float)
        assert found.shape == expected[name].shape
        assert np.abs(found - expected[name]).max(initial=0) <= TOLERANCE[name]


@pytest.mark.parametrize(
    ("host", "site", "status"),
    [
        ("localhost:8000", "same-origin", 200),
        ("127.0.0.1:8000", "none", 200),
        ("[::1]:8000", None, 200),
        ("Models.example", "same-origin", 200),
        ("evil.example:8000", "same-origin", 403),  # whose name was led to this machine
        ("[::1", "same-origin", 403),
        ("localhost:8000", "cross-site", 403),
    ],
)
@pytest.mark.parametrize("names", [["MODELS.example", "a"], "models.example"])
def test_a_service_of_known_names(predictor, names, host, site, status):
    headers = {"host": host} | ({} if site is None else {"sec-fetch-site": site})
    with TestClient(create_app(predictor, LIMITS, names)) as client:
        answer = client.post("/predict", content=PHOTO, headers=headers)
        assert answer.status_code == status
        assert status == 200 or "it answers its own machine" in answer.json()["error"]
        assert (
            client.get("/", headers={"host": "localhost", "sec-fetch-site": "cross-site"}).status_code == 200
        )  # a link


def test_a_service_that_has_ended_says_so(predictor):
    app = create_app(predictor, LIMITS)
    with TestClient(app) as client:
        everything(client)
    with TestClient(app) as client:
        answer = client.post("/predict", content=PHOTO)
    assert (answer.status_code, answer.json()["error"]) == (503, "the service is shutting down")


def test_eight_clients_get_the_serial_answers(client):
    serial = [answer(tiny_predictor()(image)) for image in images()]
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda image: everything(client, png(image)).json(), images()))
    for content, image, expected in zip(contents, images(), serial, strict=True):
        assert (content["height"], content["width"]) == image.shape[:2]
        assert len(content["instances"]) > 0
        assert_close(content["instances"], expected)


def test_a_form_brings_the_same_answer(client):
    form = client.post("/predict?threshold=0", files={"anything": ("näme.exe", PHOTO, "text/plain")}, data={"a": "b"})
    assert form.json() == everything(client).json()


@pytest.mark.parametrize("mask_format", ["polygon", "rle", "none"])
def test_masks_as_json(client, predictor, mask_format):
    rows = everything(client, mask_format=mask_format).json()["instances"]
    expected = to_dicts(predictor(io.BytesIO(PHOTO)), predictor.metadata, mask_format)
    assert [row.get("mask") for row in rows] == [row.get("mask") for row in expected]
    assert ("mask" in rows[0]) == (mask_format != "none")


def test_coco(client, predictor):
    rows = everything(client, format="coco", image_id=7).json()
    expected = instances_to_coco_json(predictor(io.BytesIO(PHOTO)), 7, metadata=predictor.metadata)
    assert [row["segmentation"] for row in rows] == [row["segmentation"] for row in expected]
    assert {row["image_id"] for row in rows} == {7}


def test_coco_without_masks(client):
    rows = everything(client, format="coco", mask_format="none").json()
    assert rows and not any("segmentation" in row for row in rows)


def test_classes_of_a_model_that_finds_no_instances():
    cfg = tiny_cfg("semantic")
    cfg.INPUT.MIN_SIZE_TEST = 64
    with TestClient(create_app(Predictor(cfg, weights=tiny_model("semantic").state_dict()), LIMITS)) as client:
        response = client.post("/predict?classes=0", content=PHOTO)
    assert response.status_code == 422
    assert response.json() == {"error": "classes came, but this model finds sem_seg and no instances"}


def test_picture(client):
    response = everything(client, format="png")
    assert response.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(response.content)))
    assert picture.shape == images()[0].shape
    assert (picture != images()[0][:, :, ::-1]).any()
    untouched = everything(client, format="png", threshold=1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(untouched.content))), images()[0][:, :, ::-1])


def test_picture_of_many_bands():
    """Those of a file are its first three as red, green and blue."""
    pytest.importorskip("tifffile")
    bands = np.dstack([np.arange(i, i + 96, dtype=np.uint8).reshape(8, 12) for i in range(5)])
    with TestClient(create_app(predictor_of(5), LIMITS)) as client:
        response = everything(client, tiff_of(bands), format="png", threshold=1)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(response.content))), bands[:, :, :3])
        response = everything(client, tiff_of(bands.astype(np.float32) * 100), format="png", threshold=1)
        assert len(np.unique(np.asarray(Image.open(io.BytesIO(response.content))))) > 80


@pytest.fixture
def three_classes(monkeypatch):
    """Let the tiny model, for which all is one, find its classes by turns."""
    real = Predictor.run

    def run(predictor, inputs):
        answers = real(predictor, inputs)
        for one in answers:
            one["instances"].pred_classes = torch.arange(len(one["instances"])) % 3
        return answers

    monkeypatch.setattr(Predictor, "run", run)


def test_fewer_instances(client, three_classes):
    rows = everything(client).json()["instances"]
    least = sorted(row["score"] for row in rows)[len(rows) // 2]
    kept = everything(client, threshold=least).json()["instances"]
    assert 0 < len(kept) < len(rows)
    assert kept == [row for row in rows if row["score"] > least]
    for classes in ("2, 0", ["2", "0"], ["2,0", ""]):
        answer = everything(client, classes=classes).json()["instances"]
        assert answer == [row for row in rows if row["category_id"] != 1]


def test_classes_by_name(three_classes):
    with TestClient(create_app(tiny_predictor(class_names=["cat", "dog", "owl"]))) as client:
        rows = everything(client).json()["instances"]
        dogs = [row for row in rows if row["category"] == "dog"]
        assert everything(client, classes="dog").json()["instances"] == dogs != []
        response = client.post("/predict?classes=dog,bird", content=PHOTO)
        assert response.status_code == 422
        assert "classes has 'bird', which is no class of this model: it has cat, dog, owl" in response.json()["error"]


@pytest.mark.parametrize(
    ("family", "key"),
    [("fpn", "instances"), ("retinanet", "instances"), ("rotated", "instances"), ("panoptic", "segments"),
     ("semantic", "stuff"), ("proposals", "proposals")],
)  # fmt: skip
def test_answers_are_as_openapi_says(family, key):
    cfg = tiny_cfg(family)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    with TestClient(create_app(Predictor(cfg, weights=tiny_model(family).state_dict()))) as client:
        content = everything(client, mask_format="none").json()
        assert content[key]
        assert Answer.model_validate(content, strict=True).model_dump(exclude_none=True) == content
        assert everything(client, format="png").content.startswith(b"\x89PNG")
        status = client.post("/predict?format=coco", content=PHOTO).status_code
        assert status == (200 if "instances" in content else 422)


def cut_short(width, height):
    """A PNG of which only the head is there."""
    whole = png(Image.new("1", (8, 8)))
    header = whole[12:16] + struct.pack(">II", width, height) + whole[24:29]
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:60]


REFUSED = [
    ({"content": b""}, 400, "the upload is empty"),
    ({"content": b"<html>"}, 400, "the upload is a web page"),
    ({"content": b"no image"}, 400, "the upload is no image of a format that is opened"),
    ({"content": PHOTO[:200]}, 400, "cannot be read as an image"),
    ({"content": cut_short(100, 91)}, 413, "the image has 100 × 91 pixels: at most 9,000 are taken"),
    ({"content": cut_short(60_000, 60_000)}, 413, "is too large"),
    ({"content": bytes(100_001)}, 413, "more than 100,000 bytes"),
    ({"files": {"image": ("a.png", bytes(100_000))}}, 413, "more than 100,000 bytes"),
    ({"content": iter([bytes(60_000), bytes(60_000)])}, 413, "more than 100,000 bytes"),
    ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "the form cannot be read"),
    ({"data": {"image": "x"}, "files": {"a": (None, "no file")}}, 400, "the form has no file"),
    ({"files": [("a", PHOTO), ("b", PHOTO)]}, 400, "Too many files"),
    ({"content": PHOTO, "params": {"threshold": "2"}}, 422, "threshold is '2'"),
    ({"content": PHOTO, "params": {"format": "xml"}}, 422, "format is 'xml'"),
    (
        {"content": PHOTO, "params": {"thresold": "0.7"}},
        422,
        "'thresold' is no query of /predict: expected format",
    ),
    ({"content": PHOTO, "params": {"threshold": ["0.5", "0.7"]}}, 422, "threshold came more than once: expected one"),
    ({"content": PHOTO, "params": {"classes": ["0", "x"]}}, 422, "classes has 'x', which is no class of this model"),
    ({"content": PHOTO, "params": {"classes": "x"}}, 422, "classes has 'x', which is no class of this model"),
]


@pytest.mark.parametrize(("request_", "status", "told"), REFUSED)
def test_refused(client, request_, status, told):
    response = client.post("/predict", **request_)
    assert response.status_code == status
    assert [*response.json()] == ["error"]
    assert told in response.json()["error"]
    for place in (Path(litepred.__file__).parent.parent, Path.home(), tempfile.gettempdir(), Path(__file__).parent):
        assert str(place) not in response.text


def test_a_tiff_is_refused_by_its_size(client):
    file = io.BytesIO()
    Image.new("L", (200, 100)).save(file, "TIFF")
    response = client.post("/predict", content=file.getvalue())
    assert response.status_code == 413
    assert "the image has 200 × 100 pixels" in response.json()["error"]


def test_an_error_of_ours_says_nothing_of_the_inside(predictor, monkeypatch, caplog):
    monkeypatch.setattr(Predictor, "run", lambda self, inputs: 1 / 0)
    with TestClient(create_app(predictor)) as client:
        response = client.post("/predict", content=PHOTO)
    assert response.status_code == 500
    assert response.json() == {"error": "the service failed at this image; its log says why"}
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/health", 200), ("GET", "/ready", 200), ("GET", "/metrics", 200),
     ("GET", "/openapi.json", 200), ("GET", "/docs", 404), ("GET", "/../etc/passwd", 404), ("GET", "/predict", 405),
     ("POST", "/predict", 400)],
)  # fmt: skip
def test_every_answer_has_safe_headers(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "access-control-allow-origin" not in response.headers
    assert "server" not in response.headers
    assert status == 200 or [*response.json()] == ["error"]


def test_the_page_may_run_what_is_in_it_and_nothing_else(client):
    response = client.get("/")
    assert not re.search(r"(src|href|url)[=(]\W*(https?:|//)", response.text)
    policy = response.headers["content-security-policy"]
    assert len(re.findall("'sha256-", policy)) == response.text.count("<script>") + response.text.count("<style>") == 2
    assert "unsafe" not in policy
    assert not re.search(r"\s(style|on\w+)=", response.text)


def test_openapi_has_examples(client):
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/predict", "/health", "/ready", "/metrics"}
    predict = document["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/octet-stream"}
    assert set(predict["responses"]) == {"200", "400", "408", "413", "422", "500", "503"}
    examples = predict["responses"]["200"]["content"]["application/json"]["examples"]
    Answer.model_validate(examples["json"]["value"], strict=True)
    named = {one["name"] for one in predict["parameters"]}
    assert named == {"format", "threshold", "classes", "image_id", "mask_format"}


def test_metrics_count():
    with TestClient(create_app(tiny_predictor(), LIMITS)) as client:
        for content in (PHOTO, PHOTO, b"no image"):
            client.post("/predict", content=content)
        for query in ("threshold=2", "thresold=0.7"):
            client.post(f"/predict?{query}", content=PHOTO)
        client.post("/no/predict", content=PHOTO)
        text = client.get("/metrics").text
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["litepred_requests_total", "200"] == 2
    assert values["litepred_requests_total", "400"] == 1
    assert values["litepred_requests_total", "422"] == 2
    assert ("litepred_requests_total", "404") not in values
    assert values["litepred_request_seconds_count",] == 5
    assert values["litepred_model_seconds_count",] == values["litepred_batch_images_count",] == 2
    assert values["litepred_pending",] == 0


@pytest.mark.parametrize(
    ("limits", "told"),
    [({"queue": 0}, "queue is 0: expected a whole number above 0"), ({"timeout": "1"}, "expected a number of seconds"),
     ({"max_bytes": 1.5}, "max_bytes is 1.5"), ({"batch_size": True}, "batch_size is True")],
)  # fmt: skip
def test_limits_that_are_none(limits, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        Limits(**limits)


def test_limits_of_numpy():
    limits = Limits(max_pixels=np.int64(4_000_000), timeout=np.float32(0.5))
    assert [(type(value), value) for value in (limits.max_pixels, limits.timeout)] == [(int, 4_000_000), (float, 0.5)]


class Gate:
    """Holds a predictor's model back until it is opened, and notes the images that it ran on."""

    def __init__(self, monkeypatch):
        self.opened, self.runs, real = threading.Event(), 0, Predictor.run

        def run(predictor, inputs):
            self.runs += 1
            assert self.opened.wait(30)
            return real(predictor, inputs)

        monkeypatch.setattr(Predictor, "run", run)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


def pending(app):
    return app.state.service._pending


def test_a_full_queue(predictor, gate):
    app = create_app(predictor, Limits(queue=2))
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.post, "/predict", content=PHOTO) for _ in range(2)]
        wait_until(lambda: pending(app) == 2)
        for response in (client.post("/predict", content=PHOTO), client.get("/ready")):
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
        gate.opened.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
        assert client.get("/ready").json() == {"status": "ready"}


def test_an_answer_that_takes_too_long(predictor, gate):
    app = create_app(predictor, Limits(timeout=0.1))
    with TestClient(app) as client:
        response = client.post("/predict", content=PHOTO)
        assert response.status_code == 503
        assert "no answer was there after 0.1 seconds" in response.json()["error"]
        assert pending(app) == 0
        gate.opened.set()


def test_a_slow_client(predictor):
    app = create_app(predictor, Limits(timeout=0.2))
    with served(app) as server:
        heard = talk(server.address, post(len(PHOTO)), PHOTO[:50])
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.2 seconds" in heard


def test_clients_that_go_away(predictor, gate):
    app = create_app(predictor)
    with served(app) as server:
        talk(server.address, post(len(PHOTO)), PHOTO[:50], hang_up=True)
        with ThreadPoolExecutor(1) as pool:
            patient = pool.submit(talk, server.address, post(len(PHOTO)), PHOTO)
            wait_until(lambda: gate.runs == 1)
            talk(server.address, post(len(PHOTO)), PHOTO, pause=0.2, hang_up=True)
            wait_until(lambda: pending(app) == 1)
            gate.opened.set()
            assert patient.result().startswith(b"HTTP/1.1 200 ")
        counted = app.state.service.metrics.text().decode()
    assert gate.runs == 1  # the model never saw the image of the one who went away
    assert 'litepred_requests_total{status="499"} 2.0' in counted
    assert app.state.service._held == 0


def test_uploads_take_no_more_memory_than_there_is_for_them(predictor):
    app = create_app(predictor, Limits(max_bytes=100_000, queue=1, timeout=20))
    with served(app) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(talk, server.address, post(90_000), bytes(60_000), bytes(30_000), pause=0.5)
        wait_until(lambda: app.state.service._held >= 60_000)
        heard = talk(server.address, post(90_000), bytes(90_000))
        assert heard.startswith(b"HTTP/1.1 503 ")
        assert b"other uploads take all the memory" in heard
        assert first.result().startswith(b"HTTP/1.1 400 ")


def test_of_a_form_the_image_alone_is_held(predictor, gate, monkeypatch):
    freed, read = [], Service._body

    class Body(bytes):
        def __del__(self):
            freed.append(len(self))

    async def body(service, request):
        return Body(await read(service, request))

    monkeypatch.setattr(Service, "_body", body)
    app = create_app(predictor)
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/predict", files={"image": PHOTO}, data={"a": "b" * 999})
        wait_until(lambda: gate.runs == 1)
        assert app.state.service._held == len(PHOTO)
        assert len(freed) == 1
        gate.opened.set()
        assert asked.result().status_code == 200
    assert app.state.service._held == 0


def test_older_releases_of_what_reads_forms(client, monkeypatch):
    def fail(*_):
        raise FormParserError("Did not find boundary character")

    assert _FormParser.max_file_size == _FormParser.spool_max_size > 1 << 60
    monkeypatch.setattr(_FormParser, "parse", fail)
    response = client.post("/predict", files={"image": PHOTO})
    assert response.status_code == 400
    assert response.json() == {"error": "the form cannot be read: Did not find boundary character"}


def test_one_who_asks_first_is_told_before_it_sends(client, predictor):
    with served(create_app(predictor, LIMITS)) as server:
        heard = talk(server.address, post(100_001, "Expect: 100-continue"))
    assert heard.startswith(b"HTTP/1.1 413 ")


def test_what_was_begun_is_finished(predictor, gate):
    app = create_app(predictor)
    with ThreadPoolExecutor(1) as pool:
        with served(app) as server:
            asked = pool.submit(talk, server.address, post(len(PHOTO)), PHOTO)
            wait_until(lambda: gate.runs == 1)
            server.should_exit = True
            threading.Timer(0.2, gate.opened.set).start()
        heard = asked.result()
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert json.loads(heard.partition(b"\r\n\r\n")[2])["height"] == 64
    assert not app.state.service.is_ready
