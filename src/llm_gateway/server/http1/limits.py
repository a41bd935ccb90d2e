"""The limits of one HTTP connection."""

from __future__ import annotations

import msgspec


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a connection; times are seconds, sizes are bytes."""

    # From the first byte of a request to the end of its head; also from the start of a connection to its first byte.
    head_timeout: float = 15.0
    # An idle connection between two requests.
    keep_alive: float = 75.0
    # Request line and headers together.
    head_bytes: int = 32 * 1024
    headers: int = 100
    # How long a rejected client may go on sending, so that it can read the response before the connection closes.
    linger: float = 2.0
    # How long a client may take none of what is sent to it, while more waits than the system buffers.
    send_timeout: float = 30.0
    # Pipelined requests: above the first number reading pauses, above the second the connection is rejected.
    pipeline_pause: int = 16
    pipeline: int = 256
    # Bytes of a chunked body that carry no content (sizes of chunks, extensions, trailers): each chunk costs time.
    chunk_overhead: int = 1024 * 1024
    # Heads that a connection remembers, each replacing the last, before it concludes that they never repeat.
    remembered_heads: int = 4
