"""Corrects what aiohttp's connections say of broken replies; the contract suite shows each of it."""

from __future__ import annotations

import asyncio
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

from llm_gateway.infra.upstream.http11.messages import MalformedReply, ReplyParser
from llm_gateway.infra.upstream.socket_state import Poll, has_unsent, input_poll

_MAX_INTERIM = 100
_BLANK_LINE = b"\r\n\r\n"


class HeadCut(aiohttp.ClientConnectionError):
    """The connection ended after the reply's first byte and before its head was whole."""


class StrictHandler(ResponseHandler):
    """One connection.

    - Bytes that no request asked for end the connection, wherever they arrive: behind a reply, on an idle
      connection, or unread on its socket. aiohttp would give them to the next request. The pool's own parser tells
      where a reply ends.
    - A body that turns into nonsense, or whose connection is reset or dropped, ends its reader's wait at once;
      aiohttp would leave the reader to its deadline, or take a reset for the end.
    - Interim replies without end are no reply.
    - A connection that ends after the first byte of a reply is told from one that ends before it.
    """

    _begun = False
    _answered = False
    _interim = 0
    _poll: Poll | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._reply = ReplyParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._poll = input_poll(transport)

    def is_connected(self) -> bool:
        """Tell whether the connection can be used; an idle one with unread input cannot (RFC 9112, 9.2)."""
        if not super().is_connected():
            return False
        is_idle = self._answered and not self.should_close
        return not (is_idle and self._poll is not None and self._poll(0))

    def set_response_params(self, **params: object) -> None:
        """Expect a reply."""
        self._begun = self._answered = False
        self._interim = 0
        self._reply.begin()
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
        if data:
            data = self._without_surplus(data)
            if not data:
                return
            if not self._begun:
                self._begun = True
                self._note_early_reply()
        super().data_received(data)

    def _note_early_reply(self) -> None:
        """Do not reuse a connection whose reply begins before the request was sent.

        The server may not read the rest of the request, and take it for the next one.
        """
        if self.transport is not None and has_unsent(self.transport):
            self.force_close()

    def _without_surplus(self, data: bytes) -> bytes:
        """Return the part of `data` that belongs to the reply; do not reuse the connection if more follows."""
        if self._answered and not self.should_close:
            self.abort()
            return b""
        reply = self._reply
        if reply.complete:
            self.force_close()
            return b""
        has_head = not reply.status
        try:
            reply.feed(data)
        except MalformedReply:
            self.force_close()
        if reply.ambiguous:
            self.force_close()
            data = data[: _end_of_reply(data, reply, has_head=has_head)]
        reply.pieces.clear()
        return data

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
        self._reply.release()

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


def _end_of_reply(data: bytes, reply: ReplyParser, *, has_head: bool) -> int:
    """Return where a reply ends in `data`, the last bytes that its parser was fed.

    Content that looks like framing may give a lower number. Then the reply is reported as cut.
    """
    end = data.find(_BLANK_LINE) + len(_BLANK_LINE) if has_head else 0
    for piece in reply.pieces:
        end = data.find(piece, end) + len(piece)
    if b"transfer-encoding" in reply.headers:
        end = data.find(_BLANK_LINE, end) + len(_BLANK_LINE)
    return end


class StrictConnector(aiohttp.TCPConnector):
    """aiohttp's pool over such connections."""

    def __init__(self, **options: object) -> None:
        """Take aiohttp's own options."""
        super().__init__(**options)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        # The types say partial[ResponseHandler] and nothing that is derived from it.
        self._factory = partial(StrictHandler, loop=loop)  # type: ignore[assignment]
