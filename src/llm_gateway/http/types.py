"""ASGI's shapes, and what our own server offers beside them, for the type checker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_EXTENSION = "llm_gateway.exchange"
_REQUEST_ID = "llm_gateway.request_id"


class Exchange(Protocol):
    """One request on our own server, which knows cheaper ways than ASGI's messages."""

    # The client left before its response was complete.
    gone: bool
    # What an earlier request with the same head left for this one, its content-length aside; None when there
    # was none.
    head_state: dict[str, Any] | None

    async def send(self, message: Message) -> None:
        """Be ASGI's `send`, unless something between the server and the application has put its own in its place."""

    def register(self, callback: Callable[[], object]) -> None:
        """Have `callback` called once if the client leaves before its response is complete, or has left already."""

    def unregister(self) -> None:
        """Call nothing any more."""

    def receive_nowait(self) -> Message | None:
        """Return the whole body's message if it has come, else None."""

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole response, its content-length left out of `headers`; False when it must go by `send`."""

    def sink(self) -> Callable[[bytes], bool] | None:
        """Return what sends a piece of a streamed body at once, and tells whether another may follow.

        It may not when the client is slow or gone. None when pieces must go by `send`, now or at all.
        """


def exchange_of(scope: Scope) -> Exchange | None:
    """Return what our own server offers for this request, None on any other server."""
    extensions = scope.get("extensions")
    return extensions.get(_EXTENSION) if extensions else None


def set_request_id(scope: Scope, request_id: str) -> None:
    """Leave the request's id for the applications behind the dispatcher."""
    scope[_REQUEST_ID] = request_id


def request_id_of(scope: Scope) -> str:
    """Return the id that the dispatcher gave the request, "" without a dispatcher."""
    request_id: str = scope.get(_REQUEST_ID, "")
    return request_id
