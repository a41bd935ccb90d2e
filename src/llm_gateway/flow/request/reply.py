"""What the client gets: a whole reply, or a stream that owns the open upstream until it is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from llm_gateway.core.errors import GatewayError, UpstreamFailed, UpstreamTimedOut
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.records import Usage
from llm_gateway.flow.accounting.meter import CLIENT_LEFT, Meter
from llm_gateway.flow.accounting.token_estimates import count_stream
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.upstream import TransportError, UpstreamReply
from llm_gateway.flow.request.redaction import refused
from llm_gateway.flow.routing.deployment_state import Permit
from llm_gateway.flow.routing.selector import Candidate
from llm_gateway.providers.base import BadReply, ReplyStream, StreamSample, UpstreamErrorBody

_OK = 200
Headers = tuple[tuple[bytes, bytes], ...]


class WholeReply:
    """A unary reply: read, metered and reported before the first byte goes out."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes) -> None:
        """Hold the provider's status and bytes."""
        self.status = status
        self.body = body
        self.headers: Headers = ()


class StreamReply:
    """A committed stream. `next` gives bytes until its flag says that they are the last; then `close`.

    The record is reported before the last bytes are handed out. A stream that is closed before that is
    reported as aborted: only the code that saw the end may say that all went well.
    """

    __slots__ = (
        "_candidate", "_deadline", "_gateway", "_held", "_meter", "_moved", "_permit", "_reader", "_released",
        "_request", "_sent", "_trouble", "_upstream", "headers",
    )  # fmt: skip

    def __init__(
        self,
        gateway: Gateway,
        request: ModelRequest,
        candidate: Candidate,
        permit: Permit,
        meter: Meter,
        upstream: UpstreamReply,
        reader: ReplyStream,
        held: bytes,
        deadline: float,
    ) -> None:
        """Take over an upstream whose first events are `held`, and the place at its deployment.

        First content must come by `deadline`.
        """
        self._gateway = gateway
        self._request = request
        self._candidate = candidate
        self._permit = permit
        self._meter = meter
        self._upstream = upstream
        self._reader = reader
        self._held = held
        self._deadline = deadline
        # Content came since the deadline was set.
        self._moved = reader.content_seen
        self._sent = False
        self._released = False
        # What was found while relaying, and is still to be told.
        self._trouble: GatewayError | None = None
        self.headers: Headers = ()

    async def next(self) -> tuple[bytes, bool]:
        """Return the next bytes for the client, and whether they are the last."""
        self._sent = True
        held, self._held = self._held, b""
        if self._reader.done:
            return await self._complete(held)
        if self._reader.refusal is not None:
            return await self._refused(held)
        if self._trouble is not None:
            return await self._broken(self._trouble, held)
        return await self._advance(held)

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        """Let bytes go on to the client as they come, with no task in between, for as long as `sink` takes them.

        `sink` returns False when the client is slow or gone. Where the transport cannot do this, before the first
        content, and at whatever is more than text on its way, it returns: then `next` knows what to do.
        """
        reader, meter = self._reader, self._meter
        # After a comment it is `next` that minds how long content may stay away.
        if self._held or not self._moved or reader.done:
            return
        meter.first_content()

        def take(data: bytes) -> bool:
            try:
                out = reader.feed(data)
            except BadReply:
                self._trouble = _nonsense()
                return False
            if reader.done or reader.refusal is not None or b"data:" not in out:
                self._held = out
                if out:
                    self._await_content()
                return False
            meter.response_bytes += len(out)
            return sink(out)

        try:
            await self._upstream.relay(take, self._idle())
        except TransportError as fault:
            self._trouble = _broken_error(fault)

    async def _advance(self, held: bytes) -> tuple[bytes, bool]:
        if held:
            return self._out(held)
        if self._moved:
            # Only now: the time that a slow client takes is not the provider's.
            self._await_content()
        while True:
            try:
                data = await self._upstream.read(self._time_left())
                out = self._reader.feed(data) if data else self._reader.end()
            except TransportError as fault:
                return await self._broken(_broken_error(fault))
            except BadReply:
                return await self._broken(_nonsense())
            if self._reader.content_seen:
                self._meter.first_content()
                # Comments keep a connection warm, whether or not anybody is at work behind it.
                self._moved = b"data:" in out
            if self._reader.refusal is not None:
                return await self._refused(out)
            if self._reader.done or (not data and self._reader.finished):
                return await self._complete(out)
            if not data:
                message = "The provider's stream ended before the answer did."
                return await self._broken(UpstreamFailed(message, code="upstream_cut"), out)
            if out:
                return self._out(out)

    def close(self) -> None:
        """Let go of the upstream, at once; report the stream as aborted if its end was not seen."""
        if not self._released:
            self._upstream.close()
        # Unless the end was seen, which has told what there is to tell.
        self._permit.release()
        if not self._meter.reported:
            self._abandon()

    def _out(self, data: bytes) -> tuple[bytes, bool]:
        self._meter.response_bytes += len(data)
        return data, False

    def _idle(self) -> float:
        return self._candidate.route.rules.timeouts.idle or self._gateway.options.llm_timeout

    def _await_content(self) -> None:
        """Give the next content its time from now on, however many comments come meanwhile."""
        self._deadline = self._gateway.clock.monotonic() + self._idle()
        self._moved = False

    def _time_left(self) -> float:
        """Return the seconds until the next content has to be here; raise TransportError when they are over."""
        left = self._deadline - self._gateway.clock.monotonic()
        if left <= 0:
            # Something comes all the time, but no content.
            raise TransportError("timeout", "no content in time")
        return left

    async def _complete(self, out: bytes) -> tuple[bytes, bool]:
        self._released = True
        self._upstream.finish()
        self._permit.succeeded(self._meter.upstream_ended())
        usage = self._reader.usage or await self._count(self._reader.kept())
        last = out + self._reader.ending
        self._meter.response_bytes += len(last)
        self._meter.report("ok", _OK, usage=usage)
        return last, True

    async def _broken(self, error: GatewayError, out: bytes = b"") -> tuple[bytes, bool]:
        """End the stream with an error event, never as one that ended well."""
        self._upstream.close()
        self._permit.failed(self._meter.upstream_ended())
        usage = self._reader.usage or await self._count(self._reader.kept())
        last = out + self._reader.failure(error)
        self._meter.response_bytes += len(last)
        self._meter.report("error", _OK, error_type=(error.code or error.type)[:100], usage=usage)
        return last, True

    async def _refused(self, out: bytes) -> tuple[bytes, bool]:
        """End with the provider's own error."""
        refusal = self._reader.refusal or UpstreamErrorBody()
        if refusal.about is not None:
            # It says something of the request, and nothing of the deployment.
            self._permit.release()
        return await self._broken(refused(refusal, _OK, self._candidate.deployment), out)

    def _abandon(self) -> None:
        """Report after the client left: what came is counted in the background."""
        meter, usage, kept = self._meter, self._reader.usage, self._reader.kept()
        meter.upstream_ended()
        status = _OK if self._sent else CLIENT_LEFT
        if usage is not None:
            meter.abort(status, usage)
            return

        async def count_and_report() -> None:
            usage = None
            try:
                usage = await self._count(kept)
            finally:
                meter.abort(status, usage)

        self._gateway.background.spawn(count_and_report())

    async def _count(self, kept: StreamSample) -> Usage:
        upstream_model = self._candidate.deployment.upstream_model
        return await count_stream(self._gateway.counter, self._request, upstream_model, kept)


def _broken_error(fault: TransportError) -> GatewayError:
    if fault.kind == "timeout":
        return UpstreamTimedOut("The provider went silent in the middle of its answer.")
    return UpstreamFailed(
        "The connection to the provider broke in the middle of its answer.", code="upstream_cut"
    )


def _nonsense() -> GatewayError:
    message = "The provider's stream made no sense any more."
    return UpstreamFailed(message, code="upstream_bad_reply")


class ByteStream(Protocol):
    """A stream as the client's side sees it; StreamReply says what the calls do."""

    headers: Headers

    async def next(self) -> tuple[bytes, bool]:
        """Return the next bytes for the client, and whether they are the last."""

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        """Let bytes go on to the client as they come, for as long as `sink` takes them; then `next` goes on."""

    def close(self) -> None:
        """Let go of everything, at once."""


Reply = WholeReply | ByteStream
