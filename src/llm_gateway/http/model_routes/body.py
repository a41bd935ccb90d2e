"""Reads request bodies, with limits on size, time and total memory."""

from __future__ import annotations

import asyncio

from llm_gateway.core.errors import BadRequest, BodyTimedOut, BodyTooLarge, Unavailable
from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.http.model_routes.request_context import RequestContext, declared_length
from llm_gateway.http.types import Exchange, Receive, Scope


class BodyReader:
    """Reads bodies. One instance per process, because it also limits the memory of all bodies together."""

    def __init__(self, *, max_bytes: int, max_total_bytes: int, timeout: float) -> None:
        """`max_bytes` limits one body; `max_total_bytes` all open ones; `timeout` is in seconds."""
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._timeout = timeout
        self._in_flight = 0

    def read_nowait(self, context: RequestContext, exchange: Exchange | None) -> bytes | None:
        """Return the body if it has arrived completely, None otherwise; raise BadRequest if it is compressed.

        The caller must pass its size to `release`.
        """
        if context.content_encoding not in {None, b"", b"identity"}:
            message = "A compressed request body is not supported; send it without Content-Encoding."
            raise BadRequest(message, code="unsupported_content_encoding")
        body = exchange.receive_nowait() if exchange is not None else None
        if body is None:
            return None
        if len(body) > self._max_bytes:
            raise self._too_large()
        self._in_flight += len(body)
        if self._in_flight > self._max_total_bytes:
            self._in_flight -= len(body)
            raise _over_total_limit()
        return body

    def hold(self, size: int) -> bool:
        """Count a body of `size` bytes that has arrived; False if it is over a limit. Then nothing is counted.

        The caller must pass `size` to `release`.
        """
        if size > self._max_bytes or self._in_flight + size > self._max_total_bytes:
            return False
        self._in_flight += size
        return True

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Wait for the whole body and return it. The caller must pass its size to `release`."""
        length = declared_length(scope)
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._read(receive)
        except TimeoutError:
            message = f"The request body did not arrive within {self._timeout:g} seconds."
            raise BodyTimedOut(message) from None

    def release(self, size: int) -> None:
        """Return `size` bytes to the total limit."""
        self._in_flight -= size

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                part = message.get("body", b"")
                size += len(part)
                self._in_flight += len(part)
                if size > self._max_bytes:
                    raise self._too_large()
                if self._in_flight > self._max_total_bytes:
                    raise _over_total_limit()
                parts.append(part)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
        except BaseException:
            self._in_flight -= size
            raise

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self._max_bytes} bytes (MAX_BODY_BYTES).")


def _over_total_limit() -> Unavailable:
    message = "The memory limit for request bodies (MAX_INFLIGHT_BODY_BYTES) is reached; try again shortly."
    return Unavailable(message, code="overloaded", retry_after=1)
