"""Connections of clients without sockets, and their requests."""

from __future__ import annotations

import asyncio
from typing import cast

from llm_gateway.server.http1.protocol import GatewayProtocol
from tests.fakes.socketless import SocketlessTransport

CHAT_PATH = "/v1/chat/completions"
RESPONSE_PATH = "/v1/responses"


class Client(SocketlessTransport):
    """One connection of a client. Input that arrives while the server does not read it waits."""

    def __init__(self, protocol: GatewayProtocol) -> None:
        self._waiting: list[bytes] = []
        self.paused = False
        super().__init__(protocol)

    @property
    def protocol(self) -> GatewayProtocol:
        return cast("GatewayProtocol", self.protocols[0])

    def feed(self, data: bytes) -> None:
        if self.reading and not self._waiting:
            super().feed(data)
        else:
            self._waiting.append(data)

    def resume_reading(self) -> None:
        super().resume_reading()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._feed_waiting)

    def _feed_waiting(self) -> None:
        while self._waiting and self.reading:
            super().feed(self._waiting.pop(0))

    def pause(self, *, paused: bool) -> None:
        """Stop taking what the server writes, or take it again."""
        if paused is self.paused or self.closed:
            return
        self.paused = paused
        (self.protocol.pause_writing if paused else self.protocol.resume_writing)()


def ask(key: str, body: bytes, *headers: str, path: str = CHAT_PATH) -> bytes:
    """Return a request."""
    lines = [
        f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}", "content-type: application/json",
        *headers, f"content-length: {len(body)}", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + body
