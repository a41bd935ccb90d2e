"""Recognises the usual reply: 200, in one piece or chunked, without a header that changes anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

try:
    from llm_gateway.infra.upstream.http11 import _whole_reply as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

# Returns the body of a whole reply; None for anything unusual, which the parser has to read. It is None where it was
# not compiled: Python would take longer for it than the parser.
body_of: Callable[[bytes], bytes | None] | None = _compiled.body_of if IS_COMPILED else None


def python_chunks_start(data: bytes, /) -> int:
    """Return where the head of a usual chunked reply ends; 0 for anything else, which the parser has to read.

    In Python, the parser reads all heads.
    """
    del data
    return 0


chunks_start: Callable[[bytes], int] = _compiled.chunks_start if IS_COMPILED else python_chunks_start
