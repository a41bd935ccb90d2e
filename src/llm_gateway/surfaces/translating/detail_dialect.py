"""What the dialects with FastAPI's errors have in common: JSON replies, and streams that end with [DONE]."""

from __future__ import annotations

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.sse import DONE
from llm_gateway.flow.ports.dialect import Dialect, Headers
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.translating.chat import sse_event
from llm_gateway.surfaces.translating.detail_errors import DetailErrors, detail_fields


class DetailDialect(DetailErrors, Dialect):
    """Every stream of such a dialect has an encoder, which knows the id of its request."""

    reply_headers: Headers = ((b"content-type", b"application/json"),)
    stream_headers: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)
    stream_end = DONE

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return an error event without a request id. It is never sent: the encoder's is."""
        del tail
        return sse_event(detail_fields(error, ""))
