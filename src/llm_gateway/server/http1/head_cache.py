"""Knows a request's head again: a client sends the same one over and over, but for the length of its body."""

from __future__ import annotations

from typing import Any

Headers = list[tuple[bytes, bytes]]

_LENGTH = b"content-length"
_LENGTH_LINE = b"\r\ncontent-length:"
# Digits of a length that are looked at; a body that is longer than they can say does not come in one piece.
_DIGITS = 10


class KnownHead:
    """A head that the parser has read and found good, for the requests that follow on the same connection.

    A request is known by every byte of its head except the digits of its content-length, and only when it came
    in one piece with its whole body and nothing behind it. Such a request needs no parsing.
    """

    __slots__ = ("_after", "_before", "_headers", "_length_at", "_scope", "_size", "kept", "verb")

    def __init__(
        self, before: bytes, after: bytes, headers: Headers, length_at: int, scope: dict[str, Any]
    ) -> None:
        """Take what stands before and after the length's digits, and what the parser made of it."""
        self._before = before
        self._after = after
        self._size = len(before)
        self._headers = headers
        self._length_at = length_at
        self._scope = scope
        self.verb: str = scope["method"]
        # Where the application keeps what it read in the head.
        self.kept: dict[str, Any] = {}

    def body_of(self, data: bytes) -> bytes | None:
        """Return the body when `data` is one request with this head, whole; else None."""
        if not data.startswith(self._before):
            return None
        size = self._size
        end = data.find(b"\r", size, size + _DIGITS + 1)
        if end < 0 or not data.startswith(self._after, end):
            return None
        body = data[end + len(self._after) :]
        return body if data[size:end] == b"%d" % len(body) else None

    def scope(self, size: int) -> dict[str, Any]:
        """Return a scope like the parsed request's, with its headers, for a body of `size` bytes."""
        headers = self._headers.copy()
        headers[self._length_at] = (_LENGTH, b"%d" % size)
        scope = self._scope.copy()
        scope["headers"] = headers
        return scope


def learn(data: bytes, headers: Headers, scope: dict[str, Any]) -> KnownHead | None:
    """Return how to know the head of `data` again, one whole request that the parser took; None if it cannot be.

    `scope` is what the head alone says; `headers` are as the parser gave them, names in lower case.
    """
    end = data.find(b"\r\n\r\n") + 4
    head = data[:end]
    # As many lines as the parser saw, so that both mean the same by the head's end.
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
    return KnownHead(data[:start], head[start + len(digits) :], headers.copy(), length_at, scope)
