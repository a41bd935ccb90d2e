"""Error responses of the protocol itself, to requests that never reach the application."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


_DO_NOT_RETRY = ((b"x-should-retry", b"false"),)
# Of these statuses, waiting cures the second and the third.
_RETRY = {500: (), 408: ((b"retry-after", b"1"),), 503: ((b"retry-after", b"1"),)}


class HttpRejection(Exception):
    """An error response in OpenAI's format, after which the connection closes."""

    def __init__(
        self, status: int, code: str, message: str, *, error_type: str = "invalid_request_error"
    ) -> None:
        """`status` is the HTTP status, `code` is stable, `message` is shown to the client."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.error_type = error_type

    def headers_and_body(self, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return the headers and the JSON body."""
        error = {"message": self.message, "type": self.error_type, "param": None, "code": self.code}
        body = json.dumps({"error": error}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *_RETRY.get(self.status, _DO_NOT_RETRY),
            (b"x-request-id", request_id.encode()),
        ]
        return headers, body

    def as_bytes(self, request_id: str) -> bytes:
        """Return the whole response as sent on the wire."""
        headers, body = self.headers_and_body(request_id)
        status = HTTPStatus(self.status)
        lines = [b"HTTP/1.1 %d %s" % (status.value, status.phrase.encode())]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", body])

    def as_application(self, request_id: str) -> Callable[..., Awaitable[None]]:
        """Return an ASGI application that sends this response, for use behind pipelined requests."""
        headers, body = self.headers_and_body(request_id)

        async def reject(_scope: object, _receive: object, send: Send) -> None:
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        return reject
