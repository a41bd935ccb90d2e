"""Decodes gzip and deflate incrementally, for providers that compress replies without being asked."""

from __future__ import annotations

import zlib

# The most bytes that one call returns, so that a decompression bomb grows no faster than it is read.
PIECE = 256 * 1024
_GZIP, _ZLIB, _BARE = 31, 15, -15


class Undecodable(Exception):
    """The bytes do not match `content-encoding`, or the coding is not supported."""


def inflater_for(content_encoding: str | None) -> Inflater | None:
    """Return the decoder of a `content-encoding`, None for `identity`; raise Undecodable."""
    coding = (content_encoding or "identity").strip().lower()
    return None if coding == "identity" else Inflater(coding)


class Inflater:
    """Decodes one body; after each `feed`, call `take` until it returns nothing."""

    def __init__(self, coding: str) -> None:
        """Raise Undecodable when `coding` is neither gzip nor deflate."""
        if coding not in {"gzip", "x-gzip", "deflate"}:
            raise Undecodable
        self._gzip = coding != "deflate"
        self._window = _GZIP if self._gzip else _ZLIB
        self._inflate = zlib.decompressobj(self._window)
        self._pending = b""
        self._begun = False

    def feed(self, data: bytes) -> None:
        self._pending = self._pending + data if self._pending else data

    def take(self) -> bytes:
        """Return at most PIECE decoded bytes, b"" when more input is needed; raise Undecodable."""
        data = self._step()
        while not data and self._next_member():
            data = self._step()
        return data

    def end(self) -> None:
        """Signal the end of the body; raise Undecodable when the compressed data is incomplete."""
        if self._pending or (self._begun and not self._inflate.eof):
            raise Undecodable

    def _step(self) -> bytes:
        # The zlib header has two bytes.
        if self._inflate.eof or (not self._begun and len(self._pending) < 2):
            return b""
        try:
            data = self._inflate.decompress(self._pending, PIECE)
        except zlib.error:
            if self._begun or self._gzip:
                raise Undecodable from None
            # Some servers send raw deflate, without the zlib header.
            self._begun, self._inflate = True, zlib.decompressobj(_BARE)
            return self._step()
        self._begun = True
        self._pending = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        return data

    def _next_member(self) -> bool:
        """Start the next gzip member after the end of one; skip padding."""
        if not self._inflate.eof:
            return False
        if self._gzip:
            self._pending = self._pending.lstrip(b"\0")
        if not self._pending:
            return False
        if not self._gzip:
            raise Undecodable
        self._inflate = zlib.decompressobj(self._window)
        return True
