"""Recognises the head of a request: clients repeat it, except for the content-length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from llm_gateway.sockets.head_match import match_head

Headers = list[tuple[bytes, bytes]]

_LENGTH = b"content-length"
_LENGTH_LINE = b"\r\ncontent-length:"


class KnownHead:
    """A head that the parser has accepted, for later requests.

    A request matches if every byte of its head, except the digits of the content-length, is the same, and if
    it arrived in one piece with its whole body and nothing after it. Such a request needs no parsing.
    """

    __slots__ = ("__weakref__", "_headers", "_length_at", "_scope", "body_of", "head_state", "method")

    def __init__(
        self, before: bytes, after: bytes, headers: Headers, length_at: int, scope: dict[str, Any]
    ) -> None:
        """`before` and `after` surround the digits of the length; the rest is what the parser made of the head."""
        # Returns the body of `data` if it is exactly one whole request with this head; else None.
        self.body_of: Callable[[bytes], bytes | None] = partial(match_head, before, after)
        self._headers = headers
        self._length_at = length_at
        self._scope = scope
        self.method: str = scope["method"]
        # State of the application that depends on the head and the client's address alone, for the next requests.
        self.head_state: dict[str, Any] = {}

    def scope(self, size: int, client: tuple[str, int] | None) -> dict[str, Any]:
        """Return the ASGI scope of a request with this head and a body of `size` bytes from `client`."""
        headers = self._headers.copy()
        headers[self._length_at] = (_LENGTH, b"%d" % size)
        scope = self._scope.copy()
        scope["client"] = client
        scope["headers"] = headers
        return scope


class KnownHeads:
    """The heads that the open connections of one server remember.

    Connections that are alike share one: a client's pool of them sends the same head on each, and a head with what
    the application made of it takes kilobytes.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # By all that a request with the head means to the application, except the client's port.
        self._known: WeakValueDictionary[tuple[object, ...], KnownHead] = WeakValueDictionary()

    def remember(self, data: bytes, headers: Headers, scope: dict[str, Any]) -> KnownHead | None:
        """Return the head of `data`, one whole request that the parser accepted; None if it cannot be recognised.

        `scope` holds what depends on the head and the connection; `headers` are the parser's, with names in lower
        case.
        """
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end]
        # The parser must have seen as many lines, or it found the end of the head elsewhere.
        if head.count(b"\r\n") != len(headers) + 2:
            return None
        lower = head.lower()
        names = [name for name, _ in headers]
        if names.count(_LENGTH) != 1 or lower.count(_LENGTH_LINE) != 1 or b"transfer-encoding" in names:
            return None
        length_at = names.index(_LENGTH)
        digits = headers[length_at][1]
        if digits != b"%d" % (len(data) - end):
            return None
        start = lower.find(digits, lower.find(_LENGTH_LINE) + len(_LENGTH_LINE))
        before, after = data[:start], head[start + len(digits) :]
        client = scope["client"]
        key = (before, after, client and client[0], scope["server"], scope["scheme"])
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = KnownHead(before, after, headers.copy(), length_at, scope)
        return known
