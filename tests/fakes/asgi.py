"""One ASGI request without a server: its scope, the client's two ends, and the server's extension."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from llm_gateway.flow.ports.upstream import ChunkSink
from llm_gateway.http.types import AsgiApp, Exchange, Message, Scope


def http_scope(method: str, path: str, *headers: tuple[bytes, bytes], **more: Any) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "client": ("10.0.0.1", 5),
        **more,
    }


class Wire:
    """Sends `parts` as the request's body, and collects the messages of the response."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts or (b"",))
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        part = self.parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def complete(self) -> bool:
        return not self.messages[-1].get("more_body", False)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = msgspec.json.decode(self.body)["error"]
        return error


class Pieces(ChunkSink):
    """Collects the pieces of a body, without frames."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.open, self.gone = True, False
        self._pieces = pieces

    def write(self, chunk: bytes) -> None:
        self._pieces.append(chunk)

    def __call__(self, events: bytes) -> bool:
        self._pieces.append(events)
        return True


class FakeExchange(Exchange):
    """The server's extension: holds a body that has arrived, and what was sent around ASGI's messages."""

    def __init__(self, body: bytes | None = None, *, sends_at_once: bool = False) -> None:
        self.on_disconnect: Callable[[], object] | None = None
        self.gone = False
        self.head_state: dict[str, Any] | None = None
        self.messages: list[Message] = []
        self.responses: list[tuple[int, tuple[tuple[bytes, bytes], ...], bytes]] = []
        self.pieces: list[bytes] = []
        self._body = body
        self._sends_at_once = sends_at_once

    def extend(self, scope: Scope) -> Scope:
        return {**scope, "extensions": {"llm_gateway.exchange": self}}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def register(self, callback: Callable[[], object]) -> None:
        self.on_disconnect = callback
        if self.gone:
            callback()

    def unregister(self) -> None:
        self.on_disconnect = None

    def run_in_task(self, app: AsgiApp, ended: Callable[[object], object]) -> None:
        self.task = asyncio.ensure_future(app({}, Wire().receive, self.send))
        self.task.add_done_callback(ended)

    def leave(self) -> None:
        """Disconnect the client."""
        self.gone = True
        if self.on_disconnect is not None:
            self.on_disconnect()

    def receive_nowait(self) -> bytes | None:
        return self._body

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        if self._sends_at_once:
            self.responses.append((status, tuple(headers), body))
        return self._sends_at_once

    def stream_head(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        return repr((*headers,)).encode() if self._sends_at_once else None

    def write_stream(self, head: bytes, body: bytes, last: bytes | None) -> None:
        self.pieces.append(head + body + (b"..." if last is None else last))

    def sink(self) -> ChunkSink | None:
        return Pieces(self.pieces) if self._sends_at_once else None
