"""A server in a thread: it sends what a test wants while the event loop of the test is busy."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator


class BlockingOrigin:
    """Answers the first request of every connection with `reply`; keeps its connections open.

    Every request of a connection is answered, unless `answers_once`. `send` writes to the newest connection.
    """

    def __init__(self, reply: bytes, tls: ssl.SSLContext | None, *, answers_once: bool = False) -> None:
        self._reply = reply
        self._tls = tls
        self._answers_once = answers_once
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/v1/chat/completions"
        self.connections: list[socket.socket] = []
        # Number of requests of each connection.
        self.requests: list[int] = []
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def send(self, data: bytes) -> None:
        """Send bytes that nobody asked for; they have arrived when this returns."""
        self.connections[-1].sendall(data)
        self.settle()

    def end(self) -> None:
        """Close the newest connection."""
        connection = self.connections[-1]
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        self.settle()

    @staticmethod
    def settle() -> None:
        """Let loopback deliver what was sent, without the event loop."""
        threading.Event().wait(0.02)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(2.0)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            number = len(self.connections)
            self.connections.append(connection)
            self.requests.append(0)
            pending = b""
            while data := connection.recv(65536):
                pending += data
                head, end, rest = pending.partition(b"\r\n\r\n")
                if not end:
                    continue
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                if len(rest) < int(length or 0):
                    continue
                pending = rest[int(length or 0) :]
                self.requests[number] += 1
                if self.requests[number] == 1 or not self._answers_once:
                    connection.sendall(self._reply)


@contextlib.contextmanager
def blocking_origin(
    reply: bytes, *, tls: ssl.SSLContext | None = None, answers_once: bool = False
) -> Iterator[BlockingOrigin]:
    """Listen on loopback until the block ends."""
    origin = BlockingOrigin(reply, tls, answers_once=answers_once)
    try:
        yield origin
    finally:
        origin.close()
