"""A committed stream that needs no task: its usual steps are plain functions, and its transport calls back."""

from __future__ import annotations

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.failures.upstream_errors import cut_error
from llm_gateway.flow.ports.upstream import ChunkSink, ListenedReply, ReplyListener, SilentProvider
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.wire.errors import BadReply

_OK = 200


class DirectStream(StreamReply):
    """A stream whose first bytes, relaying and end wait for nothing in the usual case.

    Where a function does nothing because something has to be waited for, or is unusual, a task goes on with `next`.
    """

    # As its base class has it; of a kind for which no task has to wait.
    _upstream: ListenedReply

    def first_nowait(self) -> tuple[bytes, bytes | None] | None:
        """Return what the first `next` would, or None, with nothing done.

        It is the first events, and what ends the stream behind them; None = there is more to come.
        """
        reader, held = self._reader, self._held
        if reader.done:
            return self.last_nowait()
        if not held or reader.refusal is not None or self._encoder is not None or self.recorder is not None:
            return None
        self._sent, self._held = True, b""
        self._meter.response_bytes += len(held)
        return held, None

    def last_nowait(self) -> tuple[bytes, bytes] | None:
        """Return the last events of a stream that has ended well, and what ends it; or None, with nothing done."""
        reader = self._reader
        usage = reader.usage
        if (
            not reader.done
            or type(usage) is not Usage
            or self._encoder is not None
            or self.recorder is not None
        ):
            return None
        # As `_ended`, `_completed` and `_last` do for such a stream, without their frames and a copy of the events.
        held, meter, end = self._held, self._meter, self._dialect.stream_end
        self._sent = self._released = True
        self._upstream.finish()
        self._permit.succeeded(meter.upstream_ended())
        meter.response_bytes += len(held) + len(end)
        meter.report("ok", _OK, usage=usage)
        return held, end

    def begin_relay(self, sink: ChunkSink, listener: ReplyListener) -> bool:
        """Do as `relay` does and call the listener at its end. False if it has ended already."""
        # Behind `first_nowait`: so nothing is encoded, recorded, or held.
        # As `_idle` does, without its frame.
        idle = self._candidate.route.rules.timeouts.idle or self._gateway.options.llm_timeout
        return self._upstream.begin_relay(self._taking(sink), idle, self._plain_content(sink), listener)

    def end_relay(self, *, on_time: bool) -> None:
        """Stop relaying: because the listener was called, as `on_time` says, or to close the stream."""
        self._upstream.end_relay()
        if not on_time:
            self._error = cut_error(SilentProvider())

    def listen(self, listener: ReplyListener) -> bool:
        """Listen for what follows bytes of which the client gets nothing, such as a usage that it did not ask for.

        Returns False if something else has to come first: `next` knows.
        """
        reader = self._reader
        if self._held or reader.done or reader.refusal is not None or self._error or self._fault:
            return False
        if self._content_arrived:
            self._await_content()
        left = self._deadline - self._gateway.clock.monotonic()
        return left > 0 and self._upstream.listen(listener, left)

    def arrived(self, *, on_time: bool) -> None:
        """Read what has arrived for the listener of `listen`, if anything has; `on_time` is what it was told."""
        if not on_time:
            self._error = cut_error(SilentProvider())
        elif data := self._upstream.read_nowait():
            try:
                out = self._held = self._reader.feed(data)
            except BadReply as bad:
                self._error = self._bad_reply(bad)
            else:
                self._content_arrived = out.find(b"data:") >= 0
