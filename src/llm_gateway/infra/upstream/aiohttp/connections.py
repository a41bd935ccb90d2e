"""Corrects what aiohttp's connections say of broken replies; the contract suite shows each of it."""

from __future__ import annotations

import asyncio
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

_MAX_INTERIM = 100


class HeadCut(aiohttp.ClientConnectionError):
    """The connection ended after the reply's first byte and before its head was whole."""


class StrictHandler(ResponseHandler):
    """One connection.

    - A reply that nobody asked for ends the connection; aiohttp would give it to the next request.
    - A body that turns into nonsense, or whose connection is reset or dropped, ends its reader's wait at once;
      aiohttp would leave the reader to its deadline, or take a reset for the end.
    - Interim replies without end are no reply.
    - A connection that ends after the first byte of a reply is told from one that ends before it.
    """

    _begun = False
    _answered = False
    _interim = 0

    def set_response_params(self, **params: object) -> None:
        """Expect a reply."""
        self._begun = self._answered = False
        self._interim = 0
        super().set_response_params(**params)  # type: ignore[arg-type]

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a head."""
        self._answered = data[0].code >= 200
        self._interim += 1
        if self._interim > _MAX_INTERIM:
            self.abort()
            self.set_exception(HttpProcessingError(message="interim replies without end"))
            return
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        # aiohttp itself calls this with nothing, to go on after a pause.
        if data and self._answered and not self.should_close:
            self.abort()
            return
        self._begun = self._begun or bool(data)
        super().data_received(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        """Take the reason why no head will come, or why the bytes made no sense."""
        if isinstance(exc, HttpProcessingError):
            self._end_body(exc)
        elif self._begun and isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
            exc = HeadCut()
        super().set_exception(exc, exc_cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take the end."""
        if exc is not None:
            self._end_body(aiohttp.ClientPayloadError())
        super().connection_lost(exc)

    def close(self) -> None:
        """Drop the connection."""
        self._end_body(aiohttp.ClientPayloadError())
        super().close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._end_body(aiohttp.ClientPayloadError())
        super().abort()

    def _end_body(self, why: Exception) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(why)


class StrictConnector(aiohttp.TCPConnector):
    """aiohttp's pool over such connections."""

    def __init__(self, **options: object) -> None:
        """Take aiohttp's own options."""
        super().__init__(**options)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        # The types say partial[ResponseHandler] and nothing that is derived from it.
        self._factory = partial(StrictHandler, loop=loop)  # type: ignore[assignment]
