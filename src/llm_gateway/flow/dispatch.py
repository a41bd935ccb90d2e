"""Tries the deployments of a plan, in order, until one has given its first content: the commit."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime

from llm_gateway.core.chat import ChatRequest
from llm_gateway.core.errors import GatewayError, UpstreamFailed, UpstreamTimedOut, UpstreamUnavailable
from llm_gateway.core.retrying import Failure, Step, next_step
from llm_gateway.core.snapshot import Deployment
from llm_gateway.flow.call import Call
from llm_gateway.flow.estimating import count_whole
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.metering import Meter
from llm_gateway.flow.ports import UpstreamFault, UpstreamReply
from llm_gateway.flow.redaction import refused
from llm_gateway.flow.reply import Reply, StreamReply, WholeReply
from llm_gateway.providers.base import Adapter, BadReply, Refusal, ReplyStream

_ERROR_BODY_LIMIT = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
_UNAUTHORIZED, _TOO_MANY, _UNAVAILABLE, _GATEWAY_TIMEOUT = 401, 429, 503, 504


class _AttemptEnded(Exception):
    """One attempt led to no reply: why, what the client hears if no other does, and a line for the log."""

    def __init__(self, failure: Failure, error: GatewayError, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.error = error
        self.detail = detail


async def dispatch(
    gateway: Gateway, call: Call, request: ChatRequest, plan: Sequence[Deployment], meter: Meter
) -> Reply:
    """Return the first reply that a deployment of the plan gives; raise what the last one left."""
    error: GatewayError | None = None
    for deployment in plan:
        meter.attempt(deployment)
        attempt = _Attempt(gateway, call, request, deployment, meter)
        try:
            return await (attempt.stream() if request.stream else attempt.whole())
        except _AttemptEnded as ended:
            error = ended.error
            if next_step(ended.failure) is Step.GIVE_UP:
                # The provider did its work: it was the client's request that was wrong.
                meter.upstream_ended()
                break
            meter.attempt_failed(ended.failure, ended.detail)
    raise error or UpstreamFailed("No provider answered.")


class _Attempt:
    """One try of one deployment."""

    __slots__ = ("_adapter", "_call", "_deadline", "_deployment", "_gateway", "_meter", "_request")

    def __init__(
        self, gateway: Gateway, call: Call, request: ChatRequest, deployment: Deployment, meter: Meter
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._request = request
        self._deployment = deployment
        self._meter = meter
        self._adapter: Adapter = gateway.adapters[deployment.kind]
        self._deadline = gateway.clock.monotonic() + gateway.options.llm_timeout

    async def whole(self) -> WholeReply:
        """Read the whole reply, so that a cut one is a failure and not half an answer."""
        gateway = self._gateway
        reply = await self._send()
        try:
            body = await reply.read_all(gateway.options.max_reply_bytes, self._time_left())
            completion = self._adapter.decode(body, self._request)
        except UpstreamFault as fault:
            raise _from_fault(fault) from None
        except BadReply as bad:
            raise _nonsense(bad) from None
        finally:
            reply.close()
        if completion.refusal is not None:
            raise self._refused_in_band(completion.refusal)
        self._meter.upstream_ended()
        usage = completion.usage or await count_whole(
            gateway.counter, self._request, self._deployment.upstream_model, completion.body
        )
        self._meter.response_bytes = len(completion.body)
        self._meter.report("ok", reply.status, usage=usage)
        return WholeReply(reply.status, completion.body)

    async def stream(self) -> StreamReply:
        """Hold the first events back until one has content, or for as long as COMMIT_HOLD says."""
        reply = await self._send()
        committed = False
        reader = self._adapter.stream(self._request, event_limit=self._gateway.options.max_reply_bytes)
        try:
            if (reply.header("content-type") or "").startswith("application/json"):
                held = await self._one_chunk(reply, reader)
            else:
                held = await self._until_commit(reply, reader)
            committed = True
        except UpstreamFault as fault:
            raise _from_fault(fault) from None
        except BadReply as bad:
            raise _nonsense(bad) from None
        finally:
            if not committed:
                reply.close()
        if reader.content_seen:
            self._meter.first_content()
        return StreamReply(
            self._gateway, self._request, self._deployment, self._meter, reply, reader, held, self._deadline
        )

    async def _until_commit(self, reply: UpstreamReply, reader: ReplyStream) -> bytes:
        clock = self._gateway.clock
        held: list[bytes] = []
        let_go: float | None = None
        while not reader.content_seen and not reader.done:
            until = self._deadline if let_go is None else min(self._deadline, let_go)
            try:
                data = await reply.read(max(until - clock.monotonic(), 0.0))
            except UpstreamFault as fault:
                if fault.kind == "timeout" and let_go is not None and until == let_go:
                    break
                raise
            out = reader.feed(data) if data else reader.end()
            if reader.refusal is not None:
                raise self._refused_in_band(reader.refusal)
            if not data and _nothing_came(reader):
                raise UpstreamFault("cut", "the provider's stream ended before it began")
            if out:
                held.append(out)
                if let_go is None:
                    let_go = clock.monotonic() + self._gateway.options.commit_hold
            if not data:
                break
        return b"".join(held)

    async def _one_chunk(self, reply: UpstreamReply, reader: ReplyStream) -> bytes:
        """Send JSON that answers a streamed request on as one chunk."""
        body = await reply.read_all(self._gateway.options.max_reply_bytes, self._time_left())
        events, usage = self._adapter.decode_as_stream(body, self._request)
        out = reader.feed(events)
        if reader.refusal is not None:
            raise self._refused_in_band(reader.refusal)
        reader.usage = usage or reader.usage
        reader.done = True
        return out

    def _refused_in_band(self, refusal: Refusal) -> _AttemptEnded:
        message = "The provider failed before it answered."
        if refusal.message is not None:
            message = refused(refusal, _UNAVAILABLE, self._deployment).message
        failure = Failure(reason="protocol")
        return _AttemptEnded(failure, UpstreamFailed(message), "an error under a 2xx, before any content")

    async def _send(self) -> UpstreamReply:
        request = self._adapter.encode(self._request, self._deployment, self._call.forwarded)
        try:
            reply = await self._gateway.upstream.send(request, self._time_left())
        except UpstreamFault as fault:
            raise _from_fault(fault) from None
        if 200 <= reply.status < 300:
            return reply
        try:
            raise await self._from_status(reply)
        finally:
            reply.close()

    async def _from_status(self, reply: UpstreamReply) -> _AttemptEnded:
        status = reply.status
        retry_after = _retry_after(reply.header("retry-after"), self._gateway.clock.unix_us() / 1e6)
        error: GatewayError
        if status == _UNAUTHORIZED:
            error = UpstreamFailed("The provider refused the gateway's own key; its admin has to mend that.")
        elif 400 <= status < 500:
            refusal = self._adapter.decode_error(await self._error_body(reply))
            error = refused(refusal, status, self._deployment, retry_after)
            if status == _TOO_MANY:
                error.type, error.code = "rate_limit_error", error.code or "rate_limit_exceeded"
        elif status == _UNAVAILABLE:
            error = UpstreamUnavailable("The provider is overloaded; try again.", retry_after=retry_after)
        elif status == _GATEWAY_TIMEOUT:
            error = UpstreamTimedOut("The provider reports that it ran out of time.")
        else:
            error = UpstreamFailed(f"The provider failed with status {status}.")
        return _AttemptEnded(Failure(reason="status", status=status), error, f"status {status}")

    async def _error_body(self, reply: UpstreamReply) -> bytes:
        try:
            return await reply.read_all(_ERROR_BODY_LIMIT, min(self._time_left(), _ERROR_BODY_TIMEOUT))
        except UpstreamFault:
            return b""

    def _time_left(self) -> float:
        return max(self._deadline - self._gateway.clock.monotonic(), 0.0)


def _nothing_came(reader: ReplyStream) -> bool:
    return not (reader.content_seen or reader.done)


def _from_fault(fault: UpstreamFault) -> _AttemptEnded:
    error: GatewayError
    if fault.kind == "timeout":
        error = UpstreamTimedOut("The provider did not answer in time.")
    elif fault.kind == "connect":
        error = UpstreamFailed("The provider could not be reached.", code="upstream_unreachable")
    elif fault.kind == "cut":
        error = UpstreamFailed(
            "The provider closed the connection before its answer was whole.", code="upstream_cut"
        )
    else:
        error = UpstreamFailed("The provider's answer could not be read.", code="upstream_bad_reply")
    return _AttemptEnded(Failure(reason=fault.kind), error, str(fault))


def _nonsense(bad: BadReply) -> _AttemptEnded:
    error = UpstreamFailed("The provider's answer could not be read.", code="upstream_bad_reply")
    return _AttemptEnded(Failure(reason="protocol"), error, str(bad))


def _retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header: seconds, or a date; None when it is neither."""
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
