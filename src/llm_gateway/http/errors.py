"""Sends errors to clients, before and after the response has begun."""

from __future__ import annotations

import math

from loguru import logger

from llm_gateway.core.errors import BodyTimedOut, BodyTooLarge, GatewayError, internal_error
from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.flow.ports.dialect import ErrorFormat, Headers
from llm_gateway.flow.request.reply import ByteStream
from llm_gateway.http.types import Message, Send

_DO_NOT_RETRY: Headers = ((b"x-should-retry", b"false"),)
# Seconds: OpenAI's SDKs ignore a longer Retry-After, and retry at once.
_LONGEST_WAIT = 60


class TrackedSend:
    """ASGI's `send` that adds the request id to the response and tracks the response's progress."""

    __slots__ = ("_request_id", "_send", "complete", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode()
        # 0 = the response has not begun.
        self.status = 0
        self.complete = False

    async def __call__(self, message: Message) -> None:
        self.complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [pair for pair in message.get("headers", ()) if pair[0] != b"x-request-id"]
            message["headers"] = [*headers, (b"x-request-id", self._request_id)]
        await self._send(message)


def render(errors: ErrorFormat, error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
    """Return the status, all headers and the body of an error response."""
    status, headers, body = errors.error_response(error, request_id)
    headers += (
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        *error.headers,
    )
    headers += _retry_headers(error)
    if isinstance(error, (BodyTooLarge, BodyTimedOut)):
        # The unread rest of the body would be parsed as the next request.
        headers += ((b"connection", b"close"),)
    return status, headers, body


def _retry_headers(error: GatewayError) -> Headers:
    """Return when to send the request again. Without `x-should-retry`, SDKs repeat every 429 and 5xx.

    A longer Retry-After than SDKs wait for means no retry (C44).
    """
    if error.waiting_helps is False:
        return _DO_NOT_RETRY
    if error.retry_after is None and error.waiting_helps is None:
        return ()
    seconds = max(math.ceil(error.retry_after or 0), 1)
    told = ((b"retry-after", b"%d" % seconds),)
    return (*told, *_DO_NOT_RETRY) if seconds > _LONGEST_WAIT else told


async def send_error(send: Send, errors: ErrorFormat, error: Exception, request_id: str) -> None:
    """Answer a request with `error`; its response must not have begun."""
    if isinstance(error, ClientDisconnected):
        return
    status, headers, body = render(errors, as_gateway_error(error, request_id), request_id)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error_unless_begun(
    send: TrackedSend, errors: ErrorFormat, error: Exception, request_id: str
) -> None:
    """Answer a request with `error`. If its response has begun, log the error and truncate the response."""
    if not send.status:
        await send_error(send, errors, error, request_id)
    elif not isinstance(error, ClientDisconnected):
        log_fault(error, request_id)
        if not send.complete:
            # The server closes the connection, so that the client sees a truncated response.
            raise error


async def end_stream(send: Send, stream: ByteStream, fault: Exception, request_id: str) -> None:
    """End a stream that has begun with the error for `fault`."""
    last = await stream.fail(as_gateway_error(fault, request_id), begun=True)
    await send({"type": "http.response.body", "body": last})


def as_gateway_error(error: Exception, request_id: str) -> GatewayError:
    """Return the error for the client; log an exception that is not a GatewayError."""
    if isinstance(error, GatewayError):
        return error
    log_fault(error, request_id)
    return internal_error()


def log_fault(error: Exception, request_id: str) -> None:
    """Log an internal error with its traceback."""
    logger.bind(request_id=request_id).opt(exception=error).error(
        "Request {} failed with an internal error.", request_id
    )
