"""Carries one HTTP/1.1 exchange after the other over one socket, with deadlines and back-pressure both ways."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.http11.messages import NotHttp, ReplyParser, was_one_chunk, whole_chunk

# Unread bytes of a reply beyond which the socket is not read, until the reader has taken them.
READ_AHEAD = 256 * 1024
# Larger bodies go out in slices of this size, as fast as the peer takes them.
SLICE = 256 * 1024
# Up to here, one copy and one write cost less than two writes.
_JOINED = 16 * 1024
# Event loops round to a millisecond.
_TICK = 0.001


class Home(Protocol):
    """Where connections come from and go back to."""

    def opened(self, connection: Connection) -> None:
        """Count a connection in."""

    def keep(self, connection: Connection) -> bool:
        """Take a connection back for the next request; False when there is no room."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""


class Connection(asyncio.Protocol):
    """One socket to a provider. One caller at a time waits on it: for the reply's head, then for its body."""

    __slots__ = (
        "_alarm", "_alarm_at", "_between_chunks", "_choked", "_deadline", "_discarding", "_home", "_loop",
        "_patience", "_paused", "_taker", "_transport", "_unread", "_waiter", "busy", "ended", "fault",
        "idle_until", "parser", "sent", "touched",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, home: Home) -> None:
        """Be ready for `connection_made`."""
        self._loop = loop
        self._home = home
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.parser = ReplyParser()
        self._waiter: asyncio.Future[bool] | None = None
        # Who has the body's bytes handed over as they come, and how long it waits for them.
        self._taker: Callable[[bytes], bool] | None = None
        self._patience = 0.0
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._unread = 0
        self._paused = False
        self._choked = False
        self._discarding = False
        # An exchange goes on.
        self.busy = False
        # Nothing more can come or go.
        self.ended = False
        # The whole request went to the transport.
        self.sent = True
        # A byte of this exchange's reply came.
        self.touched = False
        # The parser stands between two chunks of the body, while pieces are handed over.
        self._between_chunks = False
        # Why no more of the reply can come.
        self.fault: TransportError | None = None
        self.idle_until = 0.0

    # --- one exchange ---

    def begin(self, head: bytes, body: bytes) -> None:
        """Send a request; `sent` is False when `upload` has to send its body."""
        self.parser.begin()
        self.busy = True
        self.touched = False
        self.sent = len(body) <= SLICE
        if self.ended:
            # Only just: uvloop refuses to write now.
            return
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        elif self.sent:
            self._transport.writelines((head, body))
        else:
            self._transport.write(head)

    async def upload(self, body: bytes, deadline: float) -> bool:
        """Send a large body as fast as the peer takes it; False when `deadline` (loop time) passed.

        Stops, with `sent` still False, when the peer has refused the request or is gone.
        """
        view = memoryview(body)
        for start in range(0, len(view), SLICE):
            while self._choked:
                if self.ended or self.parser.status >= 300:
                    return True
                if not await self.wait(deadline):
                    return False
            if self.ended:
                return True
            self._transport.write(view[start : start + SLICE])
        self.sent = True
        return True

    def wait(self, deadline: float) -> asyncio.Future[bool]:
        """Return a future: True when something happened, False when `deadline` (loop time) passed."""
        waiter = self._waiter = self._loop.create_future()
        self._set_deadline(deadline)
        return waiter

    async def hand_over(self, take: Callable[[bytes], bool], patience: float) -> bool:
        """Call `take` with every piece that comes, until it returns False or no more can come.

        Returns False when none came for `patience` seconds.
        """
        self._taker, self._patience = take, patience
        self._between_chunks = False
        try:
            return await self.wait(self._loop.time() + patience)
        finally:
            self._taker = None

    def take(self) -> bytes:
        """Return the body's bytes that are here, and let more come."""
        self._unread = 0
        if self._paused:
            self._resume()
        return self.parser.take()

    def finish(self, moment: float) -> None:
        """Keep the connection if the reply ends within `moment` seconds, else drop it."""
        if self.parser.complete or self.ended or not self.sent:
            self.done()
            return
        self._discarding = True
        self.take()
        self._set_deadline(self._loop.time() + moment)

    def done(self) -> None:
        """Give the connection back when the reply is complete and another may follow, else drop it."""
        parser = self.parser
        if parser.keep_alive and self.sent and not parser.surplus and not self.ended:
            self.busy = self._discarding = False
            self._unread = 0
            if self._paused:
                self._resume()
            if self._home.keep(self):
                return
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.busy = self._discarding = False
        self.ended = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._transport.abort()

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._home.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the reply."""
        if not self.busy:
            # Nobody asked.
            self.abort()
            return
        taker = self._taker
        if taker is not None and self._between_chunks:
            content = whole_chunk(data)
            if content:
                self._pass_on(taker, content)
                return
        self.touched = True
        parser = self.parser
        try:
            parser.feed(data)
        except NotHttp as fault:
            self._fail(TransportError("protocol", str(fault)))
            return
        self._unread += len(data)
        if self._discarding:
            parser.pieces.clear()
            if parser.complete or self._unread > READ_AHEAD:
                self.done()
            return
        if taker is not None:
            self._between_chunks = was_one_chunk(data, parser.pieces)
            self._hand(taker)
            return
        if self._waiter is not None and (parser.pieces or parser.status):
            self._wake()
        if self._unread > READ_AHEAD and not self._paused and not parser.complete:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Take the end of the peer's bytes; the event loop closes the transport after it."""
        self.ended = True
        if not self.busy:
            return
        if self.parser.complete or (self._closed_with_notice() and self.parser.end()):
            self._wake()
        else:
            self._fail(_cut())

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        del exc
        self.ended = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self.fault is None and not self.parser.complete:
            self.fault = _cut()
        self._wake()
        self.parser.release()
        self._home.lost(self)

    def pause_writing(self) -> None:
        """Wait with the rest of the body."""
        self._choked = True

    def resume_writing(self) -> None:
        """Go on with the body."""
        self._choked = False
        self._wake()

    # --- inside ---

    def _closed_with_notice(self) -> bool:
        """Tell whether the peer itself said that this is the end: over TLS anybody can cut the socket."""
        tls: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLError:
            return False

    def _fail(self, fault: TransportError) -> None:
        self.ended = True
        self.fault = fault
        self._wake()
        self._transport.abort()

    def _hand(self, taker: Callable[[bytes], bool]) -> None:
        """Hand over what the parser made of what came; who waits for the end of it is woken when there is one."""
        parser = self.parser
        self._unread = 0
        if parser.pieces:
            self._pass_on(taker, parser.take())
        if parser.complete:
            self._taker = None
            self._wake()

    def _pass_on(self, taker: Callable[[bytes], bool], content: bytes) -> None:
        wanted = False
        try:
            wanted = taker(content)
        finally:
            if wanted:
                self._deadline = self._loop.time() + self._patience
            else:
                self._taker = None
                self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    def _resume(self) -> None:
        self._paused = False
        if not self.ended:
            self._transport.resume_reading()

    def _set_deadline(self, deadline: float) -> None:
        # An alarm that comes too early is set again when it rings: most requests set none at all.
        self._deadline = deadline
        if self._alarm is not None:
            if self._alarm_at <= deadline:
                return
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._waiter is None and not self._discarding:
            return
        if self._deadline - self._loop.time() > _TICK:
            self._set_deadline(self._deadline)
        elif self._discarding:
            self.abort()
        else:
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_result(False)


def _cut() -> TransportError:
    return TransportError("cut", "the provider closed the connection before the reply's end")
