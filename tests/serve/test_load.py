"""Many clients at once, slow and broken ones among them: none is left without an answer, and memory is flat."""

from __future__ import annotations

import itertools
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from process_worker import images, tiny_predictor
from served import png, post, served, talk
from test_soak import resident_mib

from litepred.serve import Limits, create_app

pytestmark = pytest.mark.long

CLIENTS, REQUESTS = 16, 500


def test_load(capsys):
    app = create_app(tiny_predictor(mask_format="roi"), Limits(timeout=30, queue=CLIENTS, batch_size=4))
    photos = [png(image) for image in images()]
    numbers, memory, took_s, statuses = itertools.count(), [], [], []
    lock = threading.Lock()

    def one(number, address):
        photo, draw = photos[number % len(photos)], random.Random(number)
        kind = number % 10
        if kind == 0:  # comes in pieces
            pieces = [photo[i : i + 2000] for i in range(0, len(photo), 2000)]
            return 200, talk(address, post(len(photo)), *pieces, pause=0.02)
        if kind == 1:  # goes away in the middle of the upload, or while it waits
            talk(address, post(len(photo)), photo[: draw.randrange(len(photo) + 1)], hang_up=True)
            return None, b""
        if kind == 2:  # sends what is damaged
            return 400, talk(address, post(len(photo)), bytes(10) + photo[10:])
        if kind == 3:  # speaks no HTTP
            return 400, talk(address, b"\x16\x03\x01 hello\r\n\r\n")
        start = time.perf_counter()
        heard = talk(address, post(len(photo)), photo)
        took_s.append(time.perf_counter() - start)
        return 200, heard

    def client(address):
        while (number := next(numbers)) < REQUESTS:
            wanted, heard = one(number, address)
            status = int(re.match(rb"HTTP/1.1 (\d+)", heard)[1]) if wanted else None
            with lock:
                statuses.append((wanted, status))
                if number % 50 == 49:
                    memory.append(resident_mib())

    with served(app) as server:
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, [server.address] * CLIENTS))
        elapsed_s = time.perf_counter() - start
        counted = app.state.service.metrics.text().decode()
    assert len(statuses) == REQUESTS
    assert [pair for pair in statuses if pair[0] != pair[1]] == []
    assert app.state.service._held == app.state.service._pending == 0
    assert "litepred_pending 0.0" in counted
    assert 'status="500"' not in counted
    with capsys.disabled():
        took_s.sort()
        print(
            f"\n{REQUESTS} requests of {CLIENTS} clients in {elapsed_s:.1f} s; half of the plain ones within "
            f"{took_s[len(took_s) // 2]:.2f} s, 95 % within {took_s[int(len(took_s) * 0.95)]:.2f} s; "
            f"resident MiB after each 50: {[round(one) for one in memory]}"
        )
    assert max(memory[2:]) <= memory[1] * 1.05
