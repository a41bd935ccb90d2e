"""The reply to a request: a whole one, or a stream that owns the upstream reply until it is closed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import GatewayError, UpstreamFailed
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.routing.retry import is_provider_failure
from llm_gateway.flow.accounting.meter import CLIENT_LEFT, Meter
from llm_gateway.flow.accounting.plain_content import PlainContent
from llm_gateway.flow.accounting.reply_facts import MeteredReply
from llm_gateway.flow.accounting.token_estimates import count_stream, stated_alone
from llm_gateway.flow.failures.redaction import redact_json, with_secrets
from llm_gateway.flow.failures.upstream_errors import after_commit, cut_error, too_large
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import Dialect, Headers, StreamEncoder
from llm_gateway.flow.ports.upstream import ChunkSink, QuietContent, TransportError, UpstreamReply
from llm_gateway.flow.routing.deployment_state import Permit
from llm_gateway.flow.routing.selector import Candidate
from llm_gateway.providers.base import ReplyStream, UpstreamErrorBody
from llm_gateway.wire.errors import BadReply, OversizedEvent

_OK = 200


class WholeReply(msgspec.Struct, gc=False):
    """A unary reply. `body` is in the client's dialect. Its usage record has been reported already."""

    status: int
    body: bytes
    canonical: bytes
    headers: Headers = ()


class StreamReply(msgspec.Struct):
    """A committed stream. Call `next` until its flag says that the bytes are the last, then `close`.

    The usage record is reported before the last bytes are returned and contains the size of everything sent. A
    stream that is closed earlier is reported as aborted. It is made by position, and takes over an upstream reply
    and the permit of its deployment.
    """

    # What a client and a provider sent must not appear in logs and tracebacks by accident.
    __repr__ = object.__repr__

    _gateway: Gateway
    _request: ModelRequest
    _candidate: Candidate
    _permit: Permit
    _meter: Meter
    _upstream: UpstreamReply
    _reader: ReplyStream
    # Its first events, which were read.
    _held: bytes
    # Until when the next content must arrive.
    _deadline: float
    _dialect: Dialect
    # None = the client receives the canonical events unchanged.
    _encoder: StreamEncoder | None
    # Content arrived since the deadline was set.
    _content_arrived: bool
    headers: Headers = ()
    # Receives the canonical events, without the end of the stream.
    recorder: Callable[[bytes], None] | None = None
    _sent: bool = False
    _released: bool = False
    # Set while relaying; `next` acts on them. `_fault` is a bug in the gateway.
    _error: GatewayError | None = None
    _fault: Exception | None = None

    async def next(self) -> tuple[bytes, bool]:
        """Return the next bytes for the client, and whether they are the last."""
        self._sent = True
        held, self._held = self._held, b""
        if self._reader.done:
            return await self._complete(held)
        if self._reader.refusal is not None:
            return await self._refused(held)
        if self._error is not None:
            return await self._fail(self._error, held)
        if self._fault is not None:
            raise self._fault
        return await self._advance(held)

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        """Send bytes to the client as they arrive, without a task switch, until `sink` returns False.

        `sink` does so when the client is slow or gone. Returns and leaves the rest to `next` before the first
        content, at anything but content, and when the transport cannot relay.
        """
        begun = self._relaying(sink)
        if begun is None:
            return
        try:
            await self._upstream.relay(begun[0], self._idle(), begun[1])
        except TransportError as fault:
            self._error = cut_error(fault)

    def _relaying(
        self, sink: Callable[[bytes], bool]
    ) -> tuple[Callable[[bytes], bool], QuietContent | None] | None:
        """Return what takes pieces of the body, and which need not be taken; None if `next` has to come first."""
        # After a comment, `next` enforces the time limit for content.
        if self._held or not self._content_arrived or self._reader.done:
            return None
        if self._encoder is not None or self.recorder is not None:
            return self._taking(self._encoding(sink)), None
        # What it can do is seen in what it has: a cast would be a call.
        client: Any = sink
        return self._taking(sink), self._plain_content(client) if hasattr(client, "write") else None

    def _plain_content(self, sink: ChunkSink) -> QuietContent | None:
        """Return what may pass to the sink unread, if the reader can do without it."""
        reader: Any = self._reader
        event_end = getattr(reader, "plain_event_end", None)
        return None if event_end is None else PlainContent(sink, reader, self._meter, event_end)

    def _taking(self, sink: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """Return what reads pieces of the body, and passes events to the sink until it or the reader has enough."""
        reader, meter = self._reader, self._meter

        def take(data: bytes) -> bool:
            try:
                out = reader.feed(data)
            except BadReply as bad:
                self._error = self._bad_reply(bad)
                return False
            if reader.done or reader.refusal is not None:
                self._held = out
                return False
            # Not with `in`, which raises and discards an error before it looks for bytes.
            if out.find(b"data:") < 0:
                self._held = out
                if out:
                    self._await_content()
                return False
            meter.response_bytes += len(out)
            return sink(out)

        return take

    def _encoding(self, sink: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """Return a sink that encodes events and corrects the number of bytes that `relay` counted."""
        meter = self._meter

        def encode_and_send(events: bytes) -> bool:
            try:
                data = self._encoded(events)
            except Exception as fault:  # noqa: BLE001 - raised where a task can handle it, not in the transport
                meter.response_bytes -= len(events)
                self._fault = fault
                return False
            meter.response_bytes += len(data) - len(events)
            return sink(data) if data else True

        return encode_and_send

    async def fail(self, error: GatewayError, *, begun: bool) -> bytes:
        """End the stream after a bug in the gateway; return its last bytes, b"" if no response has begun."""
        meter = self._meter
        if meter.reported:
            return b""
        self._upstream.close()
        self._released = True
        self._permit.release()
        meter.upstream_ended()
        if not begun:
            meter.refuse(error)
            return b""
        usage, last = stated_alone(self._reader.usage), b""
        with suppress(Exception):
            # The encoder or the counter may have caused the fault; then the client sees a truncated stream.
            usage = await self._usage()
            last = self._last(b"", error, usage)
        meter.response_bytes += len(last)
        meter.report("error", _OK, error_type=error.code, usage=usage)
        return last

    async def _advance(self, held: bytes) -> tuple[bytes, bool]:
        if held and (data := self._encoded(held)):
            return self._out(data)
        if self._content_arrived:
            # Only now: time spent on a slow client must not count against the provider.
            self._await_content()
        while True:
            try:
                data = await self._upstream.read(self._time_left())
                out = self._reader.feed(data) if data else self._reader.end()
            except TransportError as fault:
                return await self._fail(cut_error(fault))
            except BadReply as bad:
                return await self._fail(self._bad_reply(bad))
            if self._reader.content_seen:
                self._meter.first_content()
                # Comments keep a connection open even when the provider makes no progress.
                self._content_arrived = out.find(b"data:") >= 0
            if self._reader.refusal is not None:
                return await self._refused(out)
            if self._reader.done or (not data and self._reader.finished):
                return await self._complete(out)
            if not data:
                message = "The provider's stream ended before the answer did."
                return await self._fail(UpstreamFailed(message, code="upstream_cut"), out)
            if out and (encoded := self._encoded(out)):
                return self._out(encoded)

    def close(self) -> None:
        """Close the upstream reply immediately; report the stream as aborted if it did not end."""
        if not self._released:
            self._upstream.close()
        # No effect if the permit is settled already.
        self._permit.release()
        if not self._meter.reported:
            self._abandon()

    def _out(self, data: bytes) -> tuple[bytes, bool]:
        self._meter.response_bytes += len(data)
        return data, False

    def _encoded(self, events: bytes) -> bytes:
        """Return canonical events in the client's dialect; record them for the cache."""
        if self.recorder is not None:
            self.recorder(events)
        return events if self._encoder is None else self._encoder.feed(events)

    def _last(self, events: bytes, error: GatewayError | None, usage: Usage) -> bytes:
        """Return the last events and the bytes that end the stream."""
        data = self._encoded(events) if events else events
        encoder, dialect = self._encoder, self._dialect
        if error is None:
            return data + (dialect.stream_end if encoder is None else encoder.end(self._facts(usage)))
        tail = self._reader.tail
        if tail.failed_event is not None:
            tail = msgspec.structs.replace(tail, failed_event=redact_json(tail.failed_event, self._shown()))
        if encoder is None:
            return data + dialect.stream_error(error, tail)
        return data + encoder.fail(error, tail, self._facts(usage))

    def _facts(self, usage: Usage) -> MeteredReply:
        candidate, now = self._candidate, self._gateway.clock.monotonic()
        return MeteredReply(self._meter, usage, candidate.deployment, candidate.route.model, now)

    def _idle(self) -> float:
        return self._candidate.route.rules.timeouts.idle or self._gateway.options.llm_timeout

    def _await_content(self) -> None:
        """Restart the time limit for the next content; comments do not extend it."""
        self._deadline = self._gateway.clock.monotonic() + self._idle()
        self._content_arrived = False

    def _time_left(self) -> float:
        """Return the seconds left for the next content; raise TransportError when there are none."""
        left = self._deadline - self._gateway.clock.monotonic()
        if left <= 0:
            # Only comments arrive, so no single read times out.
            raise TransportError("timeout", "no content in time")
        return left

    async def _complete(self, out: bytes) -> tuple[bytes, bool]:
        self._ended()
        usage = self._reader.usage
        return self._completed(out, usage if isinstance(usage, Usage) else await self._usage()), True

    def _ended(self) -> None:
        self._released = True
        self._upstream.finish()
        self._permit.succeeded(self._meter.upstream_ended())

    def _completed(self, out: bytes, usage: Usage) -> bytes:
        last = self._last(out, None, usage)
        self._meter.response_bytes += len(last)
        self._meter.report("ok", _OK, usage=usage)
        return last

    async def _fail(self, error: GatewayError, out: bytes = b"") -> tuple[bytes, bool]:
        """End the stream with an error event, so that no client takes it for complete."""
        self._upstream.close()
        self._permit.failed(self._meter.upstream_ended())
        usage = await self._usage()
        last = self._last(out, error, usage)
        self._meter.response_bytes += len(last)
        self._meter.report("error", _OK, error_type=(error.code or error.type)[:100], usage=usage)
        return last, True

    def _bad_reply(self, bad: BadReply) -> GatewayError:
        if isinstance(bad, OversizedEvent):
            # Over a limit of the gateway, which says nothing about the deployment.
            self._permit.release()
            return too_large(str(bad)).error
        message = "The provider's stream became unreadable."
        return UpstreamFailed(message, code="upstream_bad_reply")

    async def _refused(self, out: bytes) -> tuple[bytes, bool]:
        """End with the provider's own error."""
        refusal = self._reader.refusal or UpstreamErrorBody()
        failed = after_commit(refusal, self._shown(), self._request)
        if not is_provider_failure(failed.failure):
            # The error concerns the request, not the deployment.
            self._permit.release()
        ended = await self._fail(failed.error, out)
        if failed.failure.reason != "protocol":
            self._meter.alert(failed.failure, failed.detail)
        return ended

    def _shown(self) -> Deployment:
        """Return the deployment with all secrets that its messages may contain."""
        return with_secrets(self._candidate.deployment, self._gateway.tokens)

    def _abandon(self) -> None:
        """Report a stream whose client left. Tokens are counted in the background."""
        meter, stated = self._meter, self._reader.usage
        meter.upstream_ended()
        status = _OK if self._sent else CLIENT_LEFT
        if isinstance(stated, Usage):
            meter.abort(status, stated)
            return

        async def count_and_report() -> None:
            usage = stated_alone(stated)
            try:
                usage = await self._usage()
            finally:
                meter.abort(status, usage)

        self._gateway.background.spawn(count_and_report())

    async def _usage(self) -> Usage:
        """Return the usage that the provider stated; count what it did not."""
        stated = self._reader.usage
        if isinstance(stated, Usage):
            return stated
        upstream_model = self._candidate.deployment.upstream_model
        return await count_stream(
            self._gateway.counter, self._request, upstream_model, self._reader.sample(), stated
        )


class ByteStream(Protocol):
    """The interface of a stream for the HTTP layer; see StreamReply."""

    headers: Headers

    async def next(self) -> tuple[bytes, bool]:
        """Return the next bytes for the client, and whether they are the last."""

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        """Send bytes to the client as they arrive, until `sink` returns False; then call `next`."""

    async def fail(self, error: GatewayError, *, begun: bool) -> bytes:
        """End the stream after a bug in the gateway; return its last bytes, b"" if no response has begun."""

    def close(self) -> None:
        """Release all resources immediately."""


Reply = WholeReply | ByteStream
