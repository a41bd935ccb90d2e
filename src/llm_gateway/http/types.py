"""ASGI's types, and the extension that the gateway's own server offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

from llm_gateway.flow.ports.upstream import ChunkSink

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

# Where `Exchange.head_state` has what serves later requests with this head directly, without the application.
DIRECT = "direct"
_EXTENSION = "llm_gateway.exchange"
_REQUEST_ID = "llm_gateway.request_id"


class Exchange(Protocol):
    """One request on the gateway's own server, with cheaper operations than ASGI's messages."""

    # The client disconnected before its response was complete.
    gone: bool
    # What `register` sets. Whoever knows that the client has not left yet may set it without that call.
    on_disconnect: Callable[[], object] | None
    # State shared by requests from one address with the same head, apart from Content-Length; None if there is none.
    head_state: dict[str, Any] | None

    async def send(self, message: Message) -> None:
        """ASGI's `send`. A middleware may pass a different one to the application."""

    def register(self, callback: Callable[[], object]) -> None:
        """Call `callback` once if the client disconnects before its response is complete, or has already."""

    def unregister(self) -> None:
        """Remove the callback."""

    def receive_nowait(self) -> bytes | None:
        """Return the whole body if it has arrived, None otherwise."""

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole response and return True; False if it must go through `send`. Adds Content-Length."""

    def stream_head(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Return the head of a streamed response for `write_stream`; None if it must go through `send`."""

    def write_stream(self, head: bytes, body: bytes, last: bytes | None) -> ChunkSink | None:
        """Write a piece of a streamed response, the head before the first.

        Behind `last`, which follows the body, the response ends; None = there is more to come, for what this returns,
        as `sink` does.
        """

    def run_in_task(self, app: AsgiApp, ended: Callable[[object], object]) -> None:
        """Answer a request that was served directly by an application, in a task; `ended` is called after it."""

    def sink(self) -> ChunkSink | None:
        """Return a function that sends a piece of a streamed body and returns whether to send another.

        It returns False when the client is slow or gone. None if pieces must go through `send`.
        """


def exchange_of(scope: Scope) -> Exchange | None:
    """Return the extension of the gateway's own server; None on other servers."""
    extensions = scope.get("extensions")
    return extensions.get(_EXTENSION) if extensions else None


def set_request_id(scope: Scope, request_id: str) -> None:
    """Store the request id for applications behind the dispatcher."""
    scope[_REQUEST_ID] = request_id


def request_id_of(scope: Scope) -> str:
    """Return the id that the dispatcher set, "" without a dispatcher."""
    request_id: str = scope.get(_REQUEST_ID, "")
    return request_id
