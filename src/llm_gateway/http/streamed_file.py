"""A file that is streamed from the database: one that breaks off is never taken for the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

from loguru import logger
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.http.types import request_id_of


class StreamedFile(StreamingResponse):
    """If the database fails when a part was sent, the connection breaks, and the log has one line."""

    _request_id = ""

    @classmethod
    async def begin(cls, pieces: AsyncIterator[bytes], name: str, media_type: str) -> StreamedFile:
        """Return the response for a file of this name. Raises StoreUnavailable if there is not even a first piece."""
        # Before the response begins, so that a database that is down is an error response and not a broken file.
        first = await anext(pieces, b"")
        return cls(
            _from(first, pieces),
            media_type=media_type,
            headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        self._request_id = request_id_of(scope)
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except StoreUnavailable as error:
            # Without a last chunk, no client takes the part for the whole.
            logger.warning("Request {}: a file broke off: {}", self._request_id, error)


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
