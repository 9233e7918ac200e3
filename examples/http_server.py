"""Answer over HTTP: POST the bytes of an image, get its instances as JSON; what cannot be read gets a sentence.

    python examples/http_server.py [PORT]
    curl --data-binary @page.png http://127.0.0.1:8000

Threads share one predictor; images above the limits are refused before they are decoded.
"""

import argparse
import io
import json
import os
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

from litepred import ImageError, Predictor
from litepred.results import to_dicts

Image.MAX_IMAGE_PIXELS = 25_000_000  # Pillow refuses images of twice as many
MAX_BYTES = 32_000_000


class Server(ThreadingHTTPServer):
    """Serve one predictor; more images at a time than the processor has cores would only take memory."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], predictor: Predictor) -> None:
        super().__init__(address, Handler)
        self.predictor = predictor
        self.turn = threading.Semaphore(os.cpu_count() or 1)

    def predict(self, body: bytes) -> dict:
        """Predict on the bytes of an image file."""
        with self.turn:
            instances = self.predictor(io.BytesIO(body))["instances"]
            height, width = instances.image_size
            rows = to_dicts(instances, self.predictor.metadata)
        return {"height": height, "width": width, "instances": rows}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    timeout = 30  # seconds that a client may be silent

    def do_POST(self) -> None:
        """Answer with the instances of the image that was sent."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 15:
            return self.answer(HTTPStatus.LENGTH_REQUIRED, {"error": "send the image with its Content-Length"})
        if int(length) > MAX_BYTES:
            message = f"the image has {length} bytes: at most {MAX_BYTES} are taken"
            return self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": message})
        try:
            self.answer(HTTPStatus.OK, self.server.predict(self.rfile.read(int(length))))
        except ImageError as error:
            self.answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def answer(self, status: HTTPStatus, content: dict) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", nargs="?", type=int, default=8000, help="default: %(default)s")
    with Server(("127.0.0.1", parser.parse_args().port), Predictor()) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
