"""Undoes gzip and deflate piece by piece, for providers that compress although nobody asked them to."""

from __future__ import annotations

import zlib

# The most that one call returns, so that a bomb grows no faster than its reader reads.
PIECE = 256 * 1024
_GZIP, _ZLIB, _BARE = 31, 15, -15


class Undecodable(Exception):
    """The bytes are not what `content-encoding` says."""


def inflater_for(content_encoding: str | None) -> Inflater | None:
    """Return what undoes a `content-encoding`, None when there is nothing to undo; raise Undecodable."""
    coding = (content_encoding or "identity").strip().lower()
    return None if coding == "identity" else Inflater(coding)


class Inflater:
    """Decodes one body; after `feed`, call `take` until it gives nothing."""

    def __init__(self, coding: str) -> None:
        """Decode `coding`; raise Undecodable when it is neither gzip nor deflate."""
        if coding not in {"gzip", "x-gzip", "deflate"}:
            raise Undecodable
        self._gzip = coding != "deflate"
        self._window = _GZIP if self._gzip else _ZLIB
        self._inflate = zlib.decompressobj(self._window)
        self._left = b""
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Add encoded bytes."""
        self._left = self._left + data if self._left else data

    def take(self) -> bytes:
        """Return at most PIECE decoded bytes, b"" when more encoded ones are needed; raise Undecodable."""
        data = self._step()
        while not data and self._next_member():
            data = self._step()
        return data

    def end(self) -> None:
        """Take the body's end; raise Undecodable when the coding's own end is missing."""
        if self._left or (self._begun and not self._inflate.eof):
            raise Undecodable

    def _step(self) -> bytes:
        # Two bytes tell zlib's own head.
        if self._inflate.eof or (not self._begun and len(self._left) < 2):
            return b""
        try:
            data = self._inflate.decompress(self._left, PIECE)
        except zlib.error:
            if self._begun or self._gzip:
                raise Undecodable from None
            # Some say deflate and mean it without zlib's two bytes around it.
            self._begun, self._inflate = True, zlib.decompressobj(_BARE)
            return self._step()
        self._begun = True
        self._left = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        return data

    def _next_member(self) -> bool:
        """Go on after the end of a gzip member: another one, or padding."""
        if not self._inflate.eof:
            return False
        if self._gzip:
            self._left = self._left.lstrip(b"\0")
        if not self._left:
            return False
        if not self._gzip:
            raise Undecodable
        self._inflate = zlib.decompressobj(self._window)
        return True
