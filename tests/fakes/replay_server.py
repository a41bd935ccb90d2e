"""A server that plays a provider from recordings: what it is asked decides what it answers, nothing is made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One request as it arrived; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body decoded."""
        return json.loads(self.body)


class Answered(NamedTuple):
    """What goes back; a stream is sent piece by piece, as they come, in chunks."""

    status: int
    pieces: Iterable[bytes]
    content_type: str = "application/json"


Play = Callable[[Asked], Answered]


class ReplayServer(ThreadingHTTPServer):
    """Answers on a free loopback port with what `play` says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, play: Play) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.play = play
        self.asked: list[Asked] = []
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ReplayServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing on standard error."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        self.server.asked.append(asked)
        answered = self.server.play(asked)
        self.send_response(answered.status)
        self.send_header("content-type", answered.content_type)
        if not answered.content_type.startswith(("text/event-stream", "application/x-ndjson")):
            whole = b"".join(answered.pieces)
            self.send_header("content-length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in answered.pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


@contextmanager
def replaying(play: Play) -> Iterator[ReplayServer]:
    """Serve `play` in a thread of its own."""
    server = ReplayServer(play)
    thread = threading.Thread(target=server.serve_forever, name="replay", kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
