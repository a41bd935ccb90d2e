"""Answers that the protocol gives by itself, because no request came far enough to reach the application."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


class HttpRejection(Exception):
    """A request that is answered with an error in OpenAI's shape, after which the connection closes."""

    def __init__(
        self, status: int, code: str, message: str, *, error_type: str = "invalid_request_error"
    ) -> None:
        """Hold an HTTP `status`, a stable `code`, and a public `message`."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.error_type = error_type

    def headers_and_body(self, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return the answer's headers and its JSON."""
        error = {"message": self.message, "type": self.error_type, "param": None, "code": self.code}
        body = json.dumps({"error": error}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
        ]
        return headers, body

    def as_bytes(self, request_id: str) -> bytes:
        """Return the whole answer for the wire."""
        headers, body = self.headers_and_body(request_id)
        status = HTTPStatus(self.status)
        lines = [b"HTTP/1.1 %d %s" % (status.value, status.phrase.encode())]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", body])

    def as_application(self, request_id: str) -> Callable[..., Awaitable[None]]:
        """Return an ASGI application that gives this answer, for a refusal that waits for its turn."""
        headers, body = self.headers_and_body(request_id)

        async def refuse(_scope: object, _receive: object, send: Send) -> None:
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        return refuse
