"""One attempt: sends a request to one deployment and returns its reply, or raises why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import lru_cache

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.json_bounds import LARGE
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.routing.retry import is_provider_failure
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.accounting.reply_facts import MeteredReply
from llm_gateway.flow.accounting.token_estimates import count_whole, stated_alone
from llm_gateway.flow.call import Call
from llm_gateway.flow.failures.causes import NOT_SERVED
from llm_gateway.flow.failures.recovery import AttemptFailed, UnsupportedField
from llm_gateway.flow.failures.redaction import with_secrets
from llm_gateway.flow.failures.upstream_errors import (
    UNAUTHORIZED,
    bad_reply,
    from_reply,
    from_status,
    from_transport,
    retry_after,
)
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.dialect import Dialect, Headers, StreamEncoder
from llm_gateway.flow.ports.ledger import Tracer
from llm_gateway.flow.ports.upstream import ListenedReply, TransportError, UpstreamReply
from llm_gateway.flow.request.body_bounds import nested_too_deeply
from llm_gateway.flow.request.commit import UncommittedStream
from llm_gateway.flow.request.handling import Handling
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.flow.request.reply_values import check_values
from llm_gateway.flow.request.streaming.direct_stream import DirectStream
from llm_gateway.flow.request.usage_cost import UsageCostEncoder
from llm_gateway.flow.routing.deployment_state import Permit
from llm_gateway.flow.routing.selector import Candidate
from llm_gateway.providers.base import Adapter, Completion, UpstreamErrorBody, UpstreamRequest
from llm_gateway.wire.errors import BadReply

_ERROR_BODY_LIMIT = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
# Characters of a header that lists field names; proxies limit the size of response headers.
_LONGEST_LIST = 1024


class Attempt(msgspec.Struct):
    """One request to one deployment; `make_attempt` makes it.

    `run` is the whole attempt. What need not wait is in functions of its own, for a request that needs no task:
    `begin` before the request is sent, and `answered` once the whole reply is decoded.
    """

    # What a client and a provider sent must not appear in logs and tracebacks by accident.
    __repr__ = object.__repr__

    _gateway: Gateway
    _request: ModelRequest
    _call: Call
    _meter: Meter
    candidate: Candidate
    _deployment: Deployment
    adapter: Adapter
    _begun: float
    # Of the whole reply, or of a stream's first content.
    deadline: float
    permit: Permit
    _ignored_fields: tuple[str, ...] = ()
    # The beginning of a streamed reply that was read without a task.
    uncommitted: UncommittedStream | None = None

    async def run(self, sending: Awaitable[UpstreamReply] | None = None) -> WholeReply | StreamReply:
        """Return the reply; raise AttemptFailed or UnsupportedField after settling the deployment's permit.

        `sending` gives the reply of a request that was sent already, unless it is `uncommitted`.
        """
        permit = self.permit
        try:
            # It refers to this attempt, so that both would be garbage only together.
            begun, self.uncommitted = self.uncommitted, None
            if begun is not None:
                reply: WholeReply | StreamReply = await self._stream(begun)
            else:
                upstream = await (self._send() if sending is None else self._sent(sending))
                stream = self._request.stream
                reply = await (self._stream(self.open(upstream)) if stream else self._whole(upstream))
        except AttemptFailed as ended:
            if is_provider_failure(ended.failure) and ended.failure.reason != "proxy":
                permit.failed(self._meter.upstream_ended(), ended.failure.retry_after)
            else:
                self._meter.upstream_ended()
                permit.release()
            raise
        except BaseException:
            permit.release()
            raise
        reply.headers = self._headers()
        return reply

    async def _whole(self, reply: UpstreamReply) -> WholeReply:
        """Read the whole reply before sending anything: a truncated one is a failed attempt, not half an answer."""
        gateway = self._gateway
        try:
            body = await reply.read_all(gateway.options.max_reply_bytes, self._time_left())
            if len(body) < LARGE:
                completion = self.adapter.decode(body, self._request)
            else:
                completion = await self._decode_large(body)
        except TransportError as fault:
            raise from_transport(fault) from None
        except BadReply as bad:
            raise bad_reply(bad) from None
        finally:
            reply.close()
        if completion.refusal is not None:
            failed = self._from_reply(completion.refusal)
            failed.state_usage(completion.usage)
            raise failed
        self.permit.succeeded(self._meter.upstream_ended())
        usage = completion.usage
        if not isinstance(usage, Usage):
            usage = await count_whole(
                gateway.counter, self._request, self._deployment.upstream_model, completion.body, usage
            )
        body = canonical = completion.body
        if (encode := self._call.dialect.encode_reply) is not None:
            now, model = gateway.clock.monotonic(), self.candidate.route.model
            facts = MeteredReply(self._meter, usage, self._deployment, model, now)
            if len(canonical) < LARGE:
                body = encode(self._request, canonical, facts)
            else:
                body = await gateway.heavy_work.run(encode, self._request, canonical, facts)
        self._meter.response_bytes = len(body)
        self._meter.report("ok", reply.status, usage=usage)
        return WholeReply(reply.status, body, canonical)

    def answered(self, status: int, body: bytes, usage: Usage) -> WholeReply:
        """Return a whole reply that reaches the client as the provider sent it, after settling the permit."""
        meter = self._meter
        self.permit.succeeded(meter.upstream_ended())
        meter.response_bytes = len(body)
        meter.report("ok", status, usage=usage)
        headers = _answered_by(self.candidate.route.model, meter.attempts)
        return WholeReply(status, body, body, self._headers() if self._ignored_fields else headers)

    def open(self, reply: UpstreamReply) -> UncommittedStream:
        """Return what reads the beginning of a streamed reply."""
        gateway, request, adapter = self._gateway, self._request, self.adapter
        reader = adapter.stream(request, event_limit=gateway.options.max_event_bytes)
        return UncommittedStream(gateway, request, adapter, reply, reader, self.deadline, self._from_reply)

    async def _stream(self, begun: UncommittedStream) -> StreamReply:
        """Hold back the first events until one has content, or for COMMIT_HOLD seconds."""
        committed = False
        reader = begun.reader
        try:
            held = await begun.read()
            committed = True
        except TransportError as fault:
            failed = from_transport(fault)
            failed.state_usage(reader.usage)
            raise failed from None
        except BadReply as bad:
            failed = bad_reply(bad)
            failed.state_usage(reader.usage)
            raise failed from None
        except AttemptFailed as failed:
            if failed.usage is None:
                failed.state_usage(reader.usage)
            raise
        except asyncio.CancelledError:
            self._meter.uncommitted_usage = stated_alone(reader.usage)
            raise
        finally:
            if not committed:
                begun.reply.close()
        if reader.content_seen:
            self._meter.first_content()
        dialect = self._call.dialect
        return StreamReply(
            self._gateway, self._request, self.candidate, self.permit, self._meter, begun.reply, reader, held,
            self.deadline, dialect, self._encoder(dialect), reader.content_seen,
        )  # fmt: skip

    def streamed(self, begun: UncommittedStream, reply: ListenedReply) -> DirectStream:
        """Return a stream whose first content has come."""
        meter, candidate, dialect = self._meter, self.candidate, self._call.dialect
        meter.first_content()
        # As `_headers` does, without its frame.
        headers = (
            self._headers() if self._ignored_fields else _answered_by(candidate.route.model, meter.attempts)
        )
        # As `_encoder` does, without its frame.
        encoder = dialect.open_stream(self._request, candidate.deployment)
        if meter.shows_cost:
            encoder = UsageCostEncoder(dialect, encoder)
        return DirectStream(
            self._gateway, self._request, candidate, self.permit, meter, reply, begun.reader, begun.held(),
            self.deadline, dialect, encoder, True, headers,
        )  # fmt: skip

    def _encoder(self, dialect: Dialect) -> StreamEncoder | None:
        """Return what encodes the events of a stream; None = the client receives the canonical events unchanged."""
        encoder = dialect.open_stream(self._request, self.candidate.deployment)
        return UsageCostEncoder(dialect, encoder) if self._meter.shows_cost else encoder

    async def _decode_large(self, body: bytes) -> Completion:
        await check_values(self._request, body)
        return await self._gateway.heavy_work.run(self.adapter.decode, body, self._request)

    async def _send(self) -> UpstreamReply:
        if self._deployment.oauth2 is not None:
            self._deployment = await self._with_token(self._deployment)
        if self._gateway.tracer is not None:
            self._trace(self._gateway.tracer)
        if self._call.request_bytes < LARGE_BODY:
            request = self.encoded()
        else:
            request = await self._gateway.heavy_work.run(self.encoded)
        self.begin(request.ignored_fields)
        return await self._sent(
            self._gateway.upstream.send(request, max(self.head_timeout(self._gateway.clock.monotonic()), 0.0))
        )

    async def _sent(self, sending: Awaitable[UpstreamReply]) -> UpstreamReply:
        """Wait for the head of the reply; raise AttemptFailed for one that is an error."""
        try:
            reply = await sending
        except TransportError as fault:
            raise from_transport(fault) from None
        if 200 <= reply.status < 300:
            return reply
        try:
            raise await self._from_status(reply)
        finally:
            reply.close()

    def begin(self, ignored_fields: tuple[str, ...], *, with_writes: bool = False) -> None:
        """Record that the request is about to be sent, without these fields of the client.

        `with_writes` as `Journal.begin_with_writes` says.
        """
        self._ignored_fields = ignored_fields
        self._meter.attempt(self._deployment, self._begun, with_writes=with_writes)
        if ignored_fields and "service_tier" in ignored_fields:
            self._meter.sent_tier = None

    def head_timeout(self, now: float) -> float:
        """Return how many seconds are left for the head of the reply."""
        timeout = self.deadline - now
        first_content = self.candidate.timeouts.first_content
        return timeout if first_content is None or timeout < first_content else first_content

    def _trace(self, tracer: Tracer) -> None:
        """Send the provider the trace headers of this attempt in place of the client's."""
        call = self._call
        call.forwarded = tracer.attempt(
            call.request_id,
            self._meter.attempts + 1,
            call.created_at + int((self._begun - call.started) * 1e6),
            self._request,
            self._deployment,
            call.forwarded,
        )

    def encoded(self) -> UpstreamRequest:
        """Return the upstream request; raise UnsupportedField when this provider kind cannot express it."""
        try:
            request = self.adapter.encode(self._request, self._deployment, self._call.forwarded)
        except BadRequest as error:
            raise UnsupportedField(error) from None
        except RecursionError:
            raise UnsupportedField(nested_too_deeply()) from None
        request.connect_timeout = self.candidate.timeouts.connect
        return request

    async def _with_token(self, deployment: Deployment) -> Deployment:
        gateway, grant, secret = self._gateway, deployment.oauth2, deployment.secret
        if grant is None or secret is None:
            return deployment
        try:
            token = await gateway.tokens.token(deployment.provider_id, grant, secret, self._time_left())
        except TransportError as fault:
            # Counts as an attempt, although nothing was sent to the provider itself.
            self._meter.attempt(deployment, self._begun)
            raise from_transport(fault) from None
        return msgspec.structs.replace(deployment, secret=token)

    def _headers(self) -> Headers:
        """Return headers with the public model, the number of attempts, and the ignored fields."""
        headers = _answered_by(self.candidate.route.model, self._meter.attempts)
        if self._ignored_fields and (named := _named(self._ignored_fields)):
            headers += ((b"x-llm-gateway-ignored", named.encode()),)
        return headers

    async def _from_status(self, reply: UpstreamReply) -> AttemptFailed:
        status = reply.status
        body = None
        if status != UNAUTHORIZED and (400 <= status < 500 or status in NOT_SERVED):
            body = self.adapter.decode_error(await self._error_body(reply))
        if status == UNAUTHORIZED or (body is not None and body.about == "own_secret"):
            self._forget_token()
        wait = retry_after(reply.header("retry-after"), self._gateway.clock.unix_us() / 1e6)
        return from_status(status, body, wait, self._shown(), self._request)

    def _shown(self) -> Deployment:
        """Return the deployment with all secrets that its messages may contain."""
        return with_secrets(self._deployment, self._gateway.tokens)

    def _from_reply(self, body: UpstreamErrorBody) -> AttemptFailed:
        failed = from_reply(body, self._shown(), self._request)
        if failed.failure.status == UNAUTHORIZED:
            self._forget_token()
        return failed

    def _forget_token(self) -> None:
        token = self._deployment.secret
        if self._deployment.oauth2 is not None and token is not None:
            self._gateway.tokens.forget(self._deployment.provider_id, token)

    async def _error_body(self, reply: UpstreamReply) -> bytes:
        try:
            return await reply.read_all(_ERROR_BODY_LIMIT, min(self._time_left(), _ERROR_BODY_TIMEOUT))
        except TransportError:
            return b""

    def _time_left(self) -> float:
        return max(self.deadline - self._gateway.clock.monotonic(), 0.0)


def make_attempt(handling: Handling, candidate: Candidate, now: float) -> Attempt:
    """Return an attempt at a deployment, which begins now; its permit is held from here on."""
    gateway, request, deployment = handling.gateway, handling.request, candidate.deployment
    adapter = gateway.adapters[deployment.kind]
    timeout = candidate.timeouts.first_content if request.stream else candidate.timeouts.total
    deadline = now + (timeout or gateway.options.llm_timeout)
    # Before the first await, so that a half-open breaker admits only one request.
    permit = candidate.state.admit(now)
    return Attempt(
        gateway, request, handling.call, handling.meter, candidate, deployment, adapter, now, deadline, permit
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _answered_by(model: str, attempts: int) -> Headers:
    """Return the headers that most replies have; the model only if a header can hold its name."""
    count = (b"x-llm-gateway-attempts", b"%d" % attempts)
    if model.isascii() and model.isprintable():
        return ((b"x-llm-gateway-model", model.encode()), count)
    return (count,)


def _named(ignored_fields: tuple[str, ...]) -> str:
    """Return field names for a header: as many as fit, then "..." if some were left out."""
    names = [name for name in ignored_fields if name.isascii() and name.isprintable()]
    text = ", ".join(names)
    if len(text) <= _LONGEST_LIST:
        return text
    whole, _, _ = text[:_LONGEST_LIST].rpartition(", ")
    return f"{whole}, ..." if whole else "..."
