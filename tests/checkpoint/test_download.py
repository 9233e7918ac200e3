from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from urllib.request import Request

import pytest
from loopback_server import BODY, OTHER, Server, answers, chunked, cut, silent, stalls, whole

from litepred.checkpoint import download as module
from litepred.checkpoint.download import cache_folder, download, resolve_url
from litepred.errors import CheckpointError

PAGE = b"\n<!DOCTYPE html><html><body>Please sign in</body></html>"
MD5 = hashlib.md5(BODY).hexdigest()
ZOO = "detectron2://COCO-Detection/rpn_R_50_C4_1x/137258005/model_final_450694.pkl"
ABSOLUTE = os.path.abspath("/folder")  # with a drive, where there are any
ZOO_PLACE = "detectron2/COCO-Detection/rpn_R_50_C4_1x/137258005/model_final_450694.pkl"


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_BACKOFF_S", 0.01)
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.3)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("LITEPRED_CACHE", str(tmp_path / "cache"))
    for name in ("FVCORE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://host/a b/ü.pth?x=%20", "https://host/a%20b/%C3%BC.pth?x=%20"),
        ("HTTP://host/a.pth", "http://host/a.pth"),
        ("detectron2://a/b.pkl", "https://dl.fbaipublicfiles.com/detectron2/a/b.pkl"),
        (
            "catalog://ImageNetPretrained/FAIR/R-50-GN",
            "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/47261647/R-50-GN.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/35858933/e2e_mask_rcnn_R-50-FPN_1x",
            "https://dl.fbaipublicfiles.com/detectron/35858933/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml."
            "01_48_14.DzEQe4wC/output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/36225147/fast_R-50-FPN_1x",
            "https://dl.fbaipublicfiles.com/detectron/36225147/12_2017_baselines/fast_rcnn_R-50-FPN_1x.yaml."
            "08_39_09.L3obSdQ2/output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/35998355/rpn_R-50-C4_1x",
            "https://dl.fbaipublicfiles.com/detectron/35998355/12_2017_baselines/rpn_R-50-C4_1x.yaml."
            "08_00_43.njH5oD9L/output/train/coco_2014_train%3Acoco_2014_valminusminival/rpn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/37697547/e2e_keypoint_rcnn_R-50-FPN_1x",
            "https://dl.fbaipublicfiles.com/detectron/37697547/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml."
            "08_42_54.kdzV35ao/output/train/keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival/"
            "generalized_rcnn/model_final.pkl",
        ),
        (
            "catalog://Caffe2Detectron/COCO/48616381/e2e_mask_rcnn_R-50-FPN_2x_gn",
            "https://dl.fbaipublicfiles.com/detectron/GN/48616381/04_2018_gn_baselines/e2e_mask_rcnn_R-50-FPN_2x_gn_0416."
            "13_23_38.bTlTI97Q/output/train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
    ],
)
def test_addresses(url, address):
    assert resolve_url(url) == address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is no address to download from"),
        ("model_final.pth", "is no address to download from"),
        ("https://", "is no address to download from"),
        ("file:///etc/hostname", "given by its plain path"),
        ("ftp://host/model.pth", "expected https://"),
        ("data://text/plain,x", "expected https://"),
        ("catalog://ImageNetPretrained/R-50", "is not known: expected .*ImageNetPretrained/MSRA/R-50,"),
        ("catalog://MSRA/R-50", "is not known"),
        ("catalog://36225147/fast_R-50-FPN_1x", "is not known"),
    ],
)
def test_what_is_no_address(url, message):
    with pytest.raises(CheckpointError, match=message):
        resolve_url(url)


@pytest.mark.parametrize(
    ("script", "requests", "body"),
    [
        ([whole()], 1, BODY),
        ([whole(length="none")], 1, BODY),
        ([chunked], 1, BODY),
        ([whole(b"\x80")], 1, b"\x80"),
        # breaks off, lies about the length, or stalls
        ([cut(), whole()], 2, BODY),
        ([cut(at=0), whole()], 2, BODY),
        ([cut(body=OTHER), cut(), cut(), whole()], 4, BODY),
        ([whole(length=len(BODY) + 1), whole()], 2, BODY),
        ([stalls, whole()], 2, BODY),
        ([silent, whole()], 2, BODY),
        # passing troubles
        ([answers(500), whole()], 2, BODY),
        ([answers(503), answers(429), answers(502), whole()], 4, BODY),
        ([cut(), answers(503), whole()], 3, BODY),
        # redirects
        ([answers(302, Location="/elsewhere.bin"), whole()], 2, BODY),
        ([answers(301, Location="b"), answers(307, Location="c"), whole()], 3, BODY),
    ],
)
def test_the_whole_file_arrives(server, tmp_path, script, requests, body):
    server.script = script
    file = download(f"{server.url}/a/model_final.pkl")
    assert file.read_bytes() == body
    assert len(server.requests) == requests
    assert files(tmp_path) == ["model_final.pkl"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([cut()], "the connection ended after 100,000 of 300,002 bytes"),
        ([whole(length=len(BODY) + 1)], "the connection ended after 300,002 of 300,003 bytes"),
        ([stalls], r"nothing came for 0\.3 seconds"),
        ([silent], r"nothing came for 0\.3 seconds"),
        ([answers(500)], "the server answers 500"),
        ([answers(404), whole()], "the server answers 404 Not Found"),
        ([answers(403, PAGE), whole()], "the server answers 403 Forbidden"),
        ([whole(PAGE), whole()], "answers with a web page"),
        ([whole(b"<?xml version='1.0'?><Error/>")], "answers with a web page"),
        ([whole(b"")], "answers with an empty file"),
        ([answers(302, Location="file:///etc/hostname")], "file:///etc/hostname"),
        ([answers(302, Location="ftp://127.0.0.1/x.pkl")], "redirects from http to ftp://127.0.0.1/x.pkl"),
        ([answers(302, Location="/again")], "infinite loop"),
    ],
)
def test_nothing_is_left_of_a_failure(server, tmp_path, script, message):
    server.script = script
    with pytest.raises(CheckpointError, match=message) as caught:
        download(f"{server.url}/a/model_final.pkl")
    assert f"{server.url}/a/model_final.pkl could not be downloaded" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("model_final_280758.pkl", "280758"),
        ("model_final_f10217.pkl", "f10217"),
        ("model_0039999_e76410.pkl", "e76410"),
        ("box_proposals_21bc3a.pkl", "21bc3a"),
        ("weights_0123456789abcdef0123456789abcdef.safetensors", "0123456789abcdef0123456789abcdef"),
        ("model_final.pkl", None),
        ("model_0039999.pth", None),
        ("checkpoint_100000.pth", None),
        ("trained_20240131.pth", None),
        ("a_decade.pth", None),
        ("model_12ab.pkl", None),
        ("model_final_280758.zip", None),
    ],
)
def test_the_hash_in_a_name(server, tmp_path, name, named):
    if named is None:
        assert download(f"{server.url}/{name}").is_file()
        return
    with pytest.raises(CheckpointError, match=rf"md5 of what came is {MD5}, .* begins with {named}\. .* was deleted"):
        download(f"{server.url}/{name}")
    assert files(tmp_path) == [] and len(server.requests) == 1


@pytest.mark.parametrize("digits", [6, 32])
def test_a_hash_that_fits(server, tmp_path, digits):
    server.script = [cut(), whole()]
    file = download(f"{server.url}/model_final_{MD5[:digits]}.pkl")
    assert file.read_bytes() == BODY


def test_offline_says_what_to_fetch_and_where_to_put_it(tmp_path):
    with socket.socket() as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"http://127.0.0.1:{port}/a/model_final_280758.pkl"
        with pytest.raises(CheckpointError) as caught:
            download(url)
    place = tmp_path / "cache" / f"127.0.0.1_{port}" / "a" / "model_final_280758.pkl"
    assert url in str(caught.value) and f"put it at {place}" in str(caught.value)
    place.write_bytes(BODY)
    assert download(url) == place


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (socket.gaierror(-2, "Name or service not known"), 4),
        (ConnectionResetError(104, "Connection reset by peer"), 4),
        (ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate"), 1),
    ],
)
def test_no_connection(tmp_path, monkeypatch, error, tries):
    calls = []

    def fail(*args, **kwargs):
        calls.append(args)
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(CheckpointError, match=re.escape(error.strerror)) as caught:
        download(ZOO)
    assert resolve_url(ZOO) in str(caught.value) and str(tmp_path / "cache" / ZOO_PLACE) in str(caught.value)
    assert len(calls) == tries


def test_a_redirect_may_not_leave_tls():
    redirects, request = module._WebRedirects(), Request("https://host/a.pkl")
    followed = redirects.redirect_request(request, None, 302, "Found", {}, "https://other/a.pkl")
    assert followed.full_url == "https://other/a.pkl"
    with pytest.raises(module._FailedError, match="from https to http://host"):
        redirects.redirect_request(request, None, 302, "Found", {}, "http://host/a.pkl")


@pytest.mark.parametrize(
    ("folder", "variable"),
    [("cache", None), ("fvcore", "FVCORE_CACHE"), ("home/.torch/iopath_cache", None)],
)
def test_cached_files_are_used_where_they_lie(tmp_path, monkeypatch, folder, variable):
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / folder))
    file = tmp_path / folder / ZOO_PLACE
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)
    assert download(ZOO) == download(resolve_url(ZOO)) == file


def test_detectron2_keeps_the_query_in_a_files_name(server, tmp_path):
    file = tmp_path / "home/.torch/iopath_cache/a/model.pth?dl=1"
    file.parent.mkdir(parents=True)
    file.write_bytes(OTHER)
    assert download(f"{server.url}/a/model.pth?dl=1") == file
    assert download(f"{server.url}/a/model.pth").read_bytes() == BODY


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (resolve_url(ZOO), ZOO_PLACE),
        ("https://host.org/a/model.pth", "host.org/a/model.pth"),
        ("http://host.org:81/a/model.pth?token=1/2", "host.org_81/a/model.pth"),
        ("https://host.org/../a//./../model.pth", "host.org/a/model.pth"),
        ("https://../../model.pth", "model.pth"),
        ("https://host.org/a:b%3Ac\\d.pth", "host.org/a_b%3Ac_d.pth"),
        ("https://host.org/aux/com1.v2/nul.pth", "host.org/_aux/_com1.v2/_nul.pth"),
        ("https://con/CON", "_con/_CON"),
        ("https://host.org/console/auxiliary.pth", "host.org/console/auxiliary.pth"),
        ("https://host.org/get?id=12", "host.org/get-" + hashlib.sha256(b"id=12").hexdigest()[:8]),
    ],
)
def test_places(address, place):
    assert module._place(address).as_posix() == place


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/hostname", "given by its plain path"),
        ("https://host", "names no file"),
        ("https://host/folder/", "names no file"),
        ("https://host/..", "names no file"),
        ("http:///model.pth", "names no file"),
        ("http://[::1/model.pth", "is not an address"),
        ("http://127.0.0.1:port/model.pth", "nonnumeric port"),
        ("http://a..b/model.pth", "label empty"),
    ],
)
def test_what_names_no_file_to_download(url, message):
    with pytest.raises(CheckpointError, match=message):
        download(url)


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, "home/.cache/litepred"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/litepred"),
        ("linux", {"XDG_CACHE_HOME": ABSOLUTE}, f"{ABSOLUTE}/litepred"),
        ("darwin", {"XDG_CACHE_HOME": ABSOLUTE}, "home/Library/Caches/litepred"),
        ("win32", {}, "home/AppData/Local/litepred/Cache"),
        ("win32", {"LOCALAPPDATA": ABSOLUTE}, f"{ABSOLUTE}/litepred/Cache"),
        ("linux", {"LITEPRED_CACHE": "~/mine"}, "home/mine"),
    ],
)
def test_the_cache_folder(tmp_path, monkeypatch, platform, variables, place):
    monkeypatch.delenv("LITEPRED_CACHE")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == tmp_path / place


def test_an_unknown_home(monkeypatch):
    """As a service under a number that has no name, without HOME."""

    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LITEPRED_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(CheckpointError, match=r"Could not determine home directory.* set LITEPRED_CACHE"):
        cache_folder()


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot be written .*LITEPRED_CACHE"):
        download(f"{server.url}/model.pth")


def test_a_name_that_is_too_long(server, tmp_path):
    for _ in "12":  # before and after its folder exists
        with pytest.raises(CheckpointError, match="cannot be written"):
            download(f"{server.url}/{'a' * 300}.pth")


def test_a_program_without_a_console(server, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as pythonw.exe has it
    assert download(f"{server.url}/model.pth").read_bytes() == BODY


def test_a_full_disk(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left"):
        download(f"{server.url}/model.pth")
    assert files(tmp_path) == []


def test_an_interrupt_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupted(address, file, bar):
        file.write(b"\x80")
        assert [".tmp" in name for name in files(tmp_path)] == [True]
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(f"{server.url}/model.pth")
    assert files(tmp_path) == []


# Without the rest of its package, which imports torch.
ALONE = """
import sys, types
package = sys.modules["litepred.checkpoint"] = types.ModuleType("litepred.checkpoint")
package.__path__ = [sys.argv[1]]
from litepred.checkpoint.download import download
print(download(sys.argv[2]))
"""


def test_two_processes_at_once(server, tmp_path):
    both_are_here = threading.Barrier(2)

    def together(handler):
        with contextlib.suppress(threading.BrokenBarrierError):
            both_are_here.wait(20)
        handler.answer(200, BODY)

    server.script = [together]
    url = f"{server.url}/model_final_{MD5[:6]}.pkl"
    command = [sys.executable, "-c", ALONE, str(Path(module.__file__).parent), url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "12"]
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    place = tmp_path / "cache" / f"127.0.0.1_{server.server_port}" / f"model_final_{MD5[:6]}.pkl"
    assert results == [(f"{place}\n", "", 0)] * 2
    assert place.read_bytes() == BODY and files(tmp_path) == [place.name]
    assert not both_are_here.broken and len(server.requests) == 2


def test_another_process_that_was_faster_and_holds_the_file(server, tmp_path, monkeypatch):
    def refuse(part, target):
        raise PermissionError(13, "in use")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(CheckpointError, match="in use"):
        download(f"{server.url}/model.pth")

    def faster(part, target):
        Path(target).write_bytes(BODY)
        refuse(part, target)

    monkeypatch.setattr(os, "replace", faster)
    assert download(f"{server.url}/model.pth").read_bytes() == BODY
    assert files(tmp_path) == ["model.pth"]


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_is_for_terminals(server, monkeypatch, capsys, shown):
    class Stream(io.StringIO):
        def isatty(self):
            return shown

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    download(f"{server.url}/model_final.pkl")
    assert ("model_final.pkl" in stream.getvalue() and "293k/293k" in stream.getvalue()) == shown
    assert bool(stream.getvalue()) == shown and capsys.readouterr().out == ""


def test_the_bar_follows_restarts(server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    server.script = [cut(), cut(at=150_000), whole()]
    download(f"{server.url}/model_final.pkl")
    assert "293k/293k" in stream.getvalue().rsplit("\r", 1)[-1]
