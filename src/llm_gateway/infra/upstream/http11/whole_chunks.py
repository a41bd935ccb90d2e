"""Cuts whole chunks out of their frames, so that the parser of replies sees only what is unusual."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

try:
    from llm_gateway.infra.upstream.http11 import _whole_chunks as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

# The size of a chunk with content as it is usually written, without extensions.
_SIZE_LINE = re.compile(rb"([1-9a-f][0-9a-f]{0,6})\r\n")


def python_cut_chunks(data: bytes, start: int, /) -> tuple[bytes, int]:
    """Return the content of the whole chunks that stand one behind the other from `start` on, and where they end.

    A chunk that is not whole, the last chunk, and one whose size is written otherwise than usual end them.
    """
    pieces = []
    while (line := _SIZE_LINE.match(data, start)) is not None:
        end = line.end() + int(line[1], 16)
        if data[end : end + 2] != b"\r\n":
            break
        pieces.append(data[line.end() : end])
        start = end + 2
    return b"".join(pieces), start


cut_chunks: Callable[[bytes, int], tuple[bytes, int]] = (
    _compiled.cut_chunks if IS_COMPILED else python_cut_chunks
)
