"""The one place where an error becomes a response."""

from __future__ import annotations

import math

from llm_gateway.core.errors import GatewayError, openai_error
from llm_gateway.http.types import Headers, Send


async def send_error(send: Send, error: GatewayError, request_id: str, *, close: bool = False) -> None:
    """Answer with OpenAI's error JSON; `close` ends the connection too."""
    body = openai_error(error)
    headers: Headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        *error.headers,
    )
    if error.retry_after is not None:
        headers += ((b"retry-after", b"%d" % max(math.ceil(error.retry_after), 1)),)
    if close:
        headers += ((b"connection", b"close"),)
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
