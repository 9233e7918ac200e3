"""A server on this machine that serves well, breaks off, stalls and lies, as its script tells it."""

from __future__ import annotations

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = b"\x80\x04" + random.Random(0).randbytes(300_000)
OTHER = b"\x80\x04" + random.Random(1).randbytes(250_000)


class Server(ThreadingHTTPServer):
    """Answers request n with ``script[n]``, and all later ones with the last entry."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = [whole()]
        self.requests = []  # path and headers of each
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the game."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        script = self.server.script
        script[min(len(self.server.requests), len(script)) - 1](self)

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body) if length is None else length, **headers}.items():
            if value != "none":
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def answers(status, body=b"", **headers):
    return lambda handler: handler.answer(status, body, **headers)


def whole(body=BODY, **headers):
    return answers(200, body, **headers)


def cut(at=100_000, body=BODY, **headers):
    """Announce the whole, send a part, hang up."""
    return answers(200, body[:at], length=len(body), **headers)


def stalls(handler):
    handler.answer(200, BODY[:100_000], length=len(BODY))
    handler.server.over.wait(5)


def silent(handler):
    handler.server.over.wait(5)


def chunked(handler):
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(BODY), 70_000):
        part = BODY[start : start + 70_000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    handler.wfile.write(b"0\r\n\r\n")
