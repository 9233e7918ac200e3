"""Services on this machine, and images to send to them."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time

import numpy as np
import uvicorn
from PIL import Image


def png(image: np.ndarray | Image.Image) -> bytes:
    """The file of an image, (H, W, 3) BGR or of Pillow."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def served(app):
    """Run an application in a thread; give the server, whose ``address`` is (host, port)."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on", http="h11"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    server.address = server.servers[0].sockets[0].getsockname()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def talk(address, *parts: bytes, pause=0.0, hang_up=False) -> bytes:
    """Send bytes over a connection of one's own, with pauses between them; return what comes back."""
    with socket.create_connection(address, timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        if hang_up:
            return b""
        heard = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                heard += piece
        return heard


def post(length: int, *headers: str) -> bytes:
    """The head of a request to /predict."""
    lines = ["POST /predict HTTP/1.1", "Host: here", "Connection: close", f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode()
