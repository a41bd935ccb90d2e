"""What one HTTP connection may take of us, in one value that tests can shorten."""

from __future__ import annotations

import msgspec


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a connection; times are seconds, sizes are bytes."""

    # From a request's first byte to the end of its head; also for a new connection that says nothing.
    head_timeout: float = 15.0
    # A connection between two requests.
    keep_alive: float = 75.0
    # Request line and headers together.
    head_bytes: int = 32 * 1024
    headers: int = 100
    # What a client may go on sending after it was refused, so that it can read why.
    linger: float = 2.0
    # Requests that wait behind the one being answered: reading stops, and the connection is refused.
    pipeline_pause: int = 16
    pipeline: int = 256
    # Bytes of a chunked body that carry no content (extensions, trailers) in a row.
    chunk_overhead: int = 64 * 1024
