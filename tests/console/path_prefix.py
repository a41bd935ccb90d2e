"""A reverse proxy on loopback that serves a gateway below a path, and passes that path on or takes it away."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

_HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
_PIECE: Final = 65536


class PathPrefixProxy:
    """Serves the gateway at `origin` below `prefix`, and nothing elsewhere."""

    def __init__(self, origin: str, prefix: str, *, keeps_prefix: bool) -> None:
        handler = type(
            "Handler",
            (_Handler,),
            {"server_address": urlsplit(origin), "prefix": prefix, "keeps_prefix": keeps_prefix},
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="path-prefix-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_address: Final = urlsplit("")
    prefix: Final = ""
    keeps_prefix: Final = False

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""

    def _pass_on(self) -> None:
        path = urlsplit(self.path).path
        if path != self.prefix and not path.startswith(f"{self.prefix}/"):
            # What a link without the prefix leads to.
            self.send_error(404, "outside the prefix")
            return
        target = self.path if self.keeps_prefix else self.path[len(self.prefix) :] or "/"
        length = int(self.headers.get("content-length", 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        gateway = http.client.HTTPConnection(
            self.server_address.hostname or "", self.server_address.port, timeout=30
        )
        try:
            gateway.request(self.command, target, self.rfile.read(length) or None, headers)
            self._answer(gateway.getresponse())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            gateway.close()

    def _answer(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        # The body ends with the connection, so that streams pass as they come.
        self.send_header("connection", "close")
        self.end_headers()
        while piece := response.read1(_PIECE):
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = True
