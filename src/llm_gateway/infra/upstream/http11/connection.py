"""One HTTP/1.1 connection: one exchange after the other, with deadlines and back-pressure in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from llm_gateway.flow.ports.upstream import QuietContent, ReplyListener, TransportError
from llm_gateway.infra.upstream.http11.messages import MalformedReply, ReplyParser, is_between_chunks
from llm_gateway.infra.upstream.http11.owner import ConnectionOwner
from llm_gateway.infra.upstream.http11.quiet_relay import QuietRelay
from llm_gateway.infra.upstream.socket_state import Poll, closed_cleanly, has_unsent, input_poll, is_tls
from llm_gateway.sockets.batched_transport import batched

# Unread bytes of a reply above which reading from the socket pauses.
READ_AHEAD = 256 * 1024
# Larger request bodies are sent in slices of this size, as fast as the peer reads them.
SLICE = 256 * 1024
# Up to this size, one copy and one write cost less than two writes.
_MAX_JOINED = 16 * 1024
# The clock resolution of event loops, in seconds.
_TICK = 0.001


class Connection(asyncio.Protocol):
    """One socket to a provider. At most one task waits on it: for the reply's head, then for its body."""

    __slots__ = (
        "_batch", "_discarding", "_listener", "_loop", "_owner", "_quiet", "_quiet_relay", "_sink", "_timer",
        "_timer_at", "_transport", "_turn", "_uploads", "_waiter", "_writing_paused", "busy", "deadline", "ended",
        "error", "idle_until", "is_tls", "max_silence", "parser", "poll", "reading_paused", "reply_begun", "sent",
        "unread",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: ConnectionOwner[Connection]) -> None:
        self._loop = loop
        self._owner = owner
        # The turn in which the request was written: it is sent once the turn is another.
        self._batch, self._turn = owner.batch, -1
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.parser = ReplyParser()
        self._waiter: asyncio.Future[bool] | None = None
        # Waits in its place, for a request without a task.
        self._listener: ReplyListener | None = None
        # Receives the body's bytes as they arrive (`begin_relay`), and the longest gap between them in seconds.
        self._sink: Callable[[bytes], bool] | None = None
        self.max_silence = 0.0
        # Describes what may pass to the client unread, and what lets it pass once a chunk was plain.
        self._quiet: QuietContent | None = None
        self._quiet_relay: QuietRelay | None = None
        # Loop time at which the current wait ends; may be extended at any time.
        self.deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.unread = 0
        self.reading_paused = self._writing_paused = self._discarding = False
        # An exchange is in progress.
        self.busy = False
        # The socket can neither send nor receive any more.
        self.ended = False
        # The whole request was passed to the transport.
        self.sent = True
        # The reply to a large request has not begun yet.
        self._uploads = False
        # The first byte of this exchange's reply has arrived.
        self.reply_begun = False
        # Why the rest of the reply cannot arrive.
        self.error: TransportError | None = None
        # Loop time; 0 once the connection cannot be reused.
        self.idle_until = 0.0
        # Tells what has arrived on the socket and was not read yet; None without a socket. Only while not `ended`.
        self.poll: Poll | None = None
        self.is_tls = False

    # --- one exchange ---

    def begin(self, head: bytes, body: bytes) -> None:
        """Send a request. If `sent` is False afterwards, `upload` has to send the body."""
        self.parser.begin()
        self.busy = True
        self.reply_begun = False
        self.sent = len(body) <= SLICE
        if self._batch is not None:
            self._turn = self._batch.turn
        if self.ended:
            # The connection ended after it was taken from the pool; uvloop raises on a write now.
            return
        if len(body) <= _MAX_JOINED:
            self._transport.write(head + body)
            return
        self._uploads = True
        if self.sent:
            self._transport.writelines((head, body))
        else:
            self._transport.write(head)

    async def upload(self, body: bytes, deadline: float) -> bool:
        """Send a large body as fast as the peer reads it; return False when `deadline` (loop time) passed.

        Stops early, with `sent` still False, when the peer has answered with an error or closed the connection.
        """
        view = memoryview(body)
        for start in range(0, len(view), SLICE):
            while self._writing_paused:
                if self.ended or self.parser.status >= 300:
                    return True
                if not await self.wait(deadline):
                    return False
            if self.ended:
                return True
            self._transport.write(view[start : start + SLICE])
        if self._batch is not None:
            # A reply may come in this turn; then `has_unsent` must know of the last slice.
            self._batch.make()
        self.sent = True
        return True

    def wait(self, deadline: float) -> asyncio.Future[bool]:
        """Return a future: True at the next event on the connection, False when `deadline` (loop time) passed."""
        waiter = self._waiter = self._loop.create_future()
        self._set_deadline(deadline)
        return waiter

    def begin_listened(self, head: bytes, body: bytes, listener: ReplyListener, deadline: float) -> None:
        """Send a request of at most SLICE bytes; tell `listener` of the next event, or that `deadline` has passed."""
        self.begin(head, body)
        self._listener = listener
        if self._timer is not None and self._timer_at <= deadline:
            self.deadline = deadline
        else:
            self._set_deadline(deadline)
        if self.ended:
            # The event loop tells, so that the listener is not called before it knows what it listens to.
            self._loop.call_soon(self._wake)

    def listen(self, listener: ReplyListener, deadline: float) -> None:
        """Tell `listener` of the next event, or that `deadline` (loop time) has passed."""
        self._listener = listener
        if self._timer is not None and self._timer_at <= deadline:
            # As `_set_deadline` does, without its frame.
            self.deadline = deadline
        else:
            self._set_deadline(deadline)

    def abandon(self) -> None:
        """Close the socket at once, without telling the listener."""
        self._listener = None
        self.abort()

    def begin_relay(
        self,
        take: Callable[[bytes], bool],
        max_silence: float,
        quiet: QuietContent | None,
        listener: ReplyListener | None,
    ) -> None:
        """Call `take` with every piece of the body as it arrives, until it returns False or the body ends.

        Plain content, as `quiet` describes it, bypasses `take`. Tells `listener` of the next event, which is the end
        of relaying, or that nothing has arrived for `max_silence` seconds; without one, a task has to wait for it.
        """
        self._sink, self.max_silence, self._quiet = take, max_silence, quiet
        if quiet is not None and self.parser.at_chunk:
            self._begin_quiet_relay(quiet)
        if listener is not None:
            self._listener, deadline = listener, self._loop.time() + max_silence
            if self._timer is not None and self._timer_at <= deadline:
                # As in `listen`.
                self.deadline = deadline
            else:
                self._set_deadline(deadline)

    def end_relay(self) -> None:
        """Relay no more, and tell no listener of it. Has to follow `begin_relay`, however relaying ended."""
        self._sink = self._quiet = self._listener = None
        relay, self._quiet_relay = self._quiet_relay, None
        if relay is not None:
            try:
                relay.settle()
            finally:
                if not self.ended:
                    self._transport.set_protocol(self)

    def stop_relaying(self) -> None:
        """Take note that relaying has ended."""
        self._sink = None
        self._wake()

    def is_at_chunk(self) -> bool:
        """Tell whether the body is being relayed, and the next bytes begin a chunk."""
        return self._sink is not None and self.parser.at_chunk

    def take(self) -> bytes:
        """Return the bytes of the body that have arrived, and resume reading."""
        self.unread = 0
        if self.reading_paused:
            self._resume_reading()
        # As the parser's `take` does, without its frame.
        pieces = self.parser.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def finish(self, timeout: float) -> None:
        """Discard the rest of the reply; reuse the connection if it ends within `timeout` seconds, else drop it."""
        if self.parser.complete or self.ended or not self.sent:
            self.release()
            return
        self._discarding = True
        self.take()
        self._set_deadline(self._loop.time() + timeout)

    def release(self) -> None:
        """Return the connection to the pool if it can be reused, else drop it."""
        parser = self.parser
        if parser.keep_alive and self.sent and not parser.ambiguous and not self.ended:
            self.busy = self._discarding = False
            self.unread = 0
            # An idle connection keeps nothing of a reply.
            parser.recognised = None
            if self.reading_paused:
                self._resume_reading()
            if self._owner.put_idle(self):
                return
        self.abort()

    def abort(self) -> None:
        """Close the socket at once."""
        self.busy = self._discarding = False
        self.ended = True
        self.idle_until = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = batched(transport, self._batch)
        self.poll = input_poll(transport)
        self.is_tls = is_tls(transport)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        if not self.busy or (self._batch is not None and self._batch.turn == self._turn):
            # Bytes without a request, or before it was sent: then it is sent on another connection.
            self.abort()
            return
        parser, sink = self.parser, self._sink
        if not (parser.at_chunk and parser.feed_chunks(data)):
            self.reply_begun = True
            if self._uploads:
                self._uploads = False
                if not self.sent or has_unsent(self._transport):
                    # The server may not read the rest, and take it for the next request.
                    parser.ambiguous = True
            try:
                parser.feed(data)
            except MalformedReply as error:
                self._fail(TransportError("protocol", str(error)))
                return
            if sink is not None:
                parser.at_chunk = is_between_chunks(data, parser.pieces)
        self.unread += len(data)
        if self._discarding:
            self._discard()
            return
        if sink is not None:
            self._relay_pieces(sink)
            return
        if parser.status:
            listener = self._listener
            if listener is not None:
                # As `_wake` does, without its frame.
                self._listener = None
                listener.on_event(True)
            else:
                self._wake()
        if self.unread > READ_AHEAD and not self.reading_paused and not parser.complete:
            self.reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self.ended = True
        if not self.busy:
            self.idle_until = 0.0
            return
        if self.parser.complete or (closed_cleanly(self._transport) and self.parser.end()):
            self._wake()
        else:
            self._fail(_cut_error())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.error is None and not self.parser.complete:
            self.error = _cut_error()
        self._wake()
        self.parser.release()
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    # --- inside ---

    def _fail(self, error: TransportError) -> None:
        self.ended = True
        self.error = error
        self._wake()
        self._transport.abort()

    def _begin_quiet_relay(self, quiet: QuietContent) -> None:
        if quiet.event_end():
            # It has all methods that a transport calls from here on: a cast would be a call.
            relay: Any = QuietRelay(self, quiet, self._loop.time)
            self._quiet_relay = relay
            self._transport.set_protocol(relay)

    def _discard(self) -> None:
        """Drop what has arrived of a reply that nobody reads; free the connection when it ends, or is too long."""
        self.parser.pieces.clear()
        if self.parser.complete or self.unread > READ_AHEAD:
            self.release()

    def _relay_pieces(self, sink: Callable[[bytes], bool]) -> None:
        """Pass on what the parser has decoded; tell of it when relaying has ended."""
        parser = self.parser
        self.unread = 0
        if pieces := parser.pieces:
            content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            wants_more = False
            try:
                wants_more = sink(content)
            finally:
                if wants_more:
                    self.deadline = self._loop.time() + self.max_silence
                    if self._quiet is not None and self._quiet_relay is None and parser.at_chunk:
                        self._begin_quiet_relay(self._quiet)
                else:
                    self._sink = None
                    self._wake()
        if parser.complete and self._sink is not None:
            self.stop_relaying()

    def _wake(self, on_time: bool = True) -> None:
        listener = self._listener
        if listener is not None:
            self._listener = None
            listener.on_event(on_time)
            return
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(on_time)

    def _resume_reading(self) -> None:
        self.reading_paused = False
        if not self.ended:
            self._transport.resume_reading()

    def _set_deadline(self, deadline: float) -> None:
        # A timer that fires too early is set again then, so that most requests need not set one.
        self.deadline = deadline
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None and self._listener is None and not self._discarding:
            return
        now = self._loop.time()
        if self._quiet_relay is not None:
            # What passes unread is noted there.
            self.deadline = max(self.deadline, now + self.max_silence - self._quiet_relay.silence())
        if self.deadline - now > _TICK:
            self._set_deadline(self.deadline)
        elif self._discarding:
            self.abort()
        else:
            self._wake(on_time=False)


def _cut_error() -> TransportError:
    return TransportError("cut", "the provider closed the connection before the end of its reply")
