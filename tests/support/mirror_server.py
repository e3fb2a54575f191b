"""A local mirror that serves one file correctly or with a fault chosen by the URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

PAGE = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>"


class Mirror(ThreadingHTTPServer):
    """Serves `content` at `url(fault)` and notes each request as (fault, Range header)."""

    daemon_threads = True
    block_on_close = False  # a stalled answer need not end before the test does

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.requests: list[tuple[str, str | None]] = []
        self.pause = 0.0  # seconds inside each answer
        self.closing = Event()

    def url(self, fault: str = "good", path: str = "file.bin") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{fault}/{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        fault, wanted = self.path.split("/")[1], self.headers.get("Range")
        self.server.requests.append((fault, wanted))
        body = self.server.content
        if "wrong" in fault:
            body = bytes(255 - byte for byte in body)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if "norange" in fault:
            start = 0
        if fault == "absent":
            self.send_error(404)
        elif fault == "page":
            self._answer(200, PAGE, len(PAGE), "text/html; charset=utf-8")
        elif start >= len(body):
            self.send_error(416)
        else:
            rest = body[start:]
            sent = rest[: max(1, len(rest) // 2)] if "cut" in fault else rest
            sent = b"" if fault == "stall" else sent
            self._answer(206 if start else 200, sent, len(rest), "application/octet-stream")
            if fault == "stall":
                self.server.closing.wait(30)

    def _answer(self, status: int, body: bytes, length: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.server.closing.wait(self.server.pause)
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve(content: bytes) -> Iterator[Mirror]:
    """Run a mirror for the time of a test."""
    with Mirror(content) as mirror:
        Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield mirror
        mirror.closing.set()
        mirror.shutdown()
