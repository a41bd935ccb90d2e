"""One attempt: sends a request to one deployment and returns its reply, or raises why there is none."""

from __future__ import annotations

import asyncio
from functools import lru_cache

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.json_bounds import LARGE, MOST_VALUES, count_values
from llm_gateway.core.ledger.usage import StatedUsage, Usage
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
    too_large,
)
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.dialect import Headers
from llm_gateway.flow.ports.ledger import Tracer
from llm_gateway.flow.ports.upstream import OversizedReply, TransportError, UpstreamReply
from llm_gateway.flow.request.body_bounds import nested_too_deeply
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.flow.routing.selector import Candidate
from llm_gateway.providers.base import Adapter, Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest
from llm_gateway.wire.errors import BadReply

_ERROR_BODY_LIMIT = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
# How a stream begins (data, event, id, retry, or a comment), and how a reply in JSON.
_STREAM_STARTS = frozenset({b"d", b"e", b"i", b"r", b":"})
_JSON_STARTS = (b"{", b"[")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Characters of a header that lists field names; proxies limit the size of response headers.
_LONGEST_LIST = 1024


class Attempt:
    """One request to one deployment."""

    __slots__ = (
        "_adapter", "_begun", "_call", "_candidate", "_deadline", "_deployment", "_gateway", "_ignored_fields",
        "_meter", "_permit", "_request",
    )  # fmt: skip

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        request: ModelRequest,
        candidate: Candidate,
        meter: Meter,
        now: float,
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._request = request
        self._candidate = candidate
        self._deployment: Deployment = candidate.deployment
        self._meter = meter
        self._adapter: Adapter = gateway.adapters[candidate.deployment.kind]
        self._ignored_fields: tuple[str, ...] = ()
        self._begun = now
        timeouts = candidate.route.rules.timeouts
        timeout = timeouts.first_content if request.stream else timeouts.total
        self._deadline = now + (timeout or gateway.options.llm_timeout)
        # Before the first await, so that a half-open breaker admits only one request.
        self._permit = candidate.state.admit(now)

    async def run(self) -> WholeReply | StreamReply:
        """Return the reply; raise AttemptFailed or UnsupportedField after settling the deployment's permit."""
        permit = self._permit
        try:
            reply = await (self._stream() if self._request.stream else self._whole())
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

    async def _whole(self) -> WholeReply:
        """Read the whole reply before sending anything: a truncated one is a failed attempt, not half an answer."""
        gateway = self._gateway
        reply = await self._send()
        try:
            body = await reply.read_all(gateway.options.max_reply_bytes, self._time_left())
            if len(body) < LARGE:
                completion = self._adapter.decode(body, self._request)
            else:
                completion = await self._decode_large(body)
        except TransportError as fault:
            raise from_transport(fault) from None
        except BadReply as bad:
            raise bad_reply(bad) from None
        finally:
            reply.close()
        if completion.refusal is not None:
            raise _with_usage(self._from_reply(completion.refusal), completion.usage)
        self._permit.succeeded(self._meter.upstream_ended())
        usage = completion.usage
        if not isinstance(usage, Usage):
            usage = await count_whole(
                gateway.counter, self._request, self._deployment.upstream_model, completion.body, usage
            )
        body = canonical = completion.body
        if (encode := self._call.dialect.encode_reply) is not None:
            now, model = gateway.clock.monotonic(), self._candidate.route.model
            facts = MeteredReply(self._meter, usage, self._deployment, model, now)
            if len(canonical) < LARGE:
                body = encode(self._request, canonical, facts)
            else:
                body = await gateway.heavy_work.run(encode, self._request, canonical, facts)
        self._meter.response_bytes = len(body)
        self._meter.report("ok", reply.status, usage=usage)
        return WholeReply(reply.status, body, canonical)

    async def _stream(self) -> StreamReply:
        """Hold back the first events until one has content, or for COMMIT_HOLD seconds."""
        reply = await self._send()
        committed = False
        reader = self._adapter.stream(self._request, event_limit=self._gateway.options.max_event_bytes)
        try:
            held = await self._until_commit(reply, reader)
            committed = True
        except TransportError as fault:
            raise _with_usage(from_transport(fault), reader.usage) from None
        except BadReply as bad:
            raise _with_usage(bad_reply(bad), reader.usage) from None
        except AttemptFailed as failed:
            raise (_with_usage(failed, reader.usage) if failed.usage is None else failed) from None
        except asyncio.CancelledError:
            self._meter.uncommitted_usage = stated_alone(reader.usage)
            raise
        finally:
            if not committed:
                reply.close()
        if reader.content_seen:
            self._meter.first_content()
        return StreamReply(
            self._gateway, self._request, self._candidate, self._permit, self._meter, reply, reader, held,
            self._deadline, self._call.dialect,
        )  # fmt: skip

    async def _until_commit(self, reply: UpstreamReply, reader: ReplyStream) -> bytes:
        held: list[bytes] = []
        hold_until: float | None = None
        is_stream = False
        while not reader.content_seen and not reader.done:
            data = await self._next_held(reply, hold_until)
            if data is None:
                break
            if data and not is_stream:
                # The content type does not tell: some servers name any type.
                data = _without_prelude(data)
                if data.startswith(_JSON_STARTS) and not reader.json_lines:
                    return await self._one_chunk(reply, reader, data)
                if not data:
                    continue
                is_stream = True
            out = reader.feed(data) if data else reader.end()
            if reader.refusal is not None:
                raise self._from_reply(reader.refusal)
            if not data and _is_empty(reader):
                raise TransportError("cut", "the provider's stream ended before it began")
            if out:
                held.append(out)
                if hold_until is None:
                    hold_until = self._gateway.clock.monotonic() + self._gateway.options.commit_hold
            if not data:
                break
        return b"".join(held)

    async def _next_held(self, reply: UpstreamReply, hold_until: float | None) -> bytes | None:
        """Return the next bytes before the commit; None when events were held back for long enough."""
        until = self._deadline if hold_until is None else min(self._deadline, hold_until)
        left = until - self._gateway.clock.monotonic()
        try:
            if left <= 0:
                # Frequent comments keep single reads from timing out.
                raise TransportError("timeout", "no content in time")
            return await reply.read(left)
        except TransportError as fault:
            if fault.kind == "timeout" and hold_until is not None and until == hold_until:
                return None
            raise

    async def _one_chunk(self, reply: UpstreamReply, reader: ReplyStream, begun: bytes) -> bytes:
        """Convert a JSON reply to a streamed request, which starts with `begun`, into the events of a stream."""
        limit = self._gateway.options.max_reply_bytes - len(begun)
        if limit < 0:
            raise OversizedReply
        body = begun + await reply.read_all(limit, self._time_left())
        if len(body) < LARGE:
            out = reader.whole(body)
        else:
            await self._check_values(body)
            out = await self._gateway.heavy_work.run(reader.whole, body)
        if reader.refusal is not None:
            raise _with_usage(self._from_reply(reader.refusal), self._stated_in(body))
        return out

    def _stated_in(self, body: bytes) -> Usage | StatedUsage | None:
        """Return what a JSON reply to a streamed request states, although it is a failure."""
        if len(body) >= LARGE:
            return None
        try:
            return self._adapter.decode(body, self._request).usage
        except BadReply:
            return None

    async def _decode_large(self, body: bytes) -> Completion:
        await self._check_values(body)
        return await self._gateway.heavy_work.run(self._adapter.decode, body, self._request)

    async def _check_values(self, body: bytes) -> None:
        """Raise AttemptFailed for a reply with too many values to decode; other requests run meanwhile."""
        most = MOST_VALUES
        if self._request.endpoint == "embeddings":
            # Vectors are millions of numbers, of eight and more characters each.
            most = max(most, len(body) // 8)
        values = 0
        for start in range(0, len(body), LARGE):
            values += count_values(body, start, start + LARGE)
            if values > most:
                raise too_large(f"the provider's reply holds more than {most} JSON values")
            await asyncio.sleep(0)

    async def _send(self) -> UpstreamReply:
        if self._deployment.oauth2 is not None:
            self._deployment = await self._with_token(self._deployment)
        if self._gateway.tracer is not None:
            self._trace(self._gateway.tracer)
        if self._call.request_bytes < LARGE_BODY:
            request = self._encoded()
        else:
            request = await self._gateway.heavy_work.run(self._encoded)
        timeouts = self._candidate.route.rules.timeouts
        request.connect_timeout = timeouts.connect
        self._ignored_fields = request.ignored_fields
        self._meter.attempt(self._deployment, self._begun)
        if request.ignored_fields and "service_tier" in request.ignored_fields:
            self._meter.sent_tier = None
        timeout = self._time_left()
        if timeouts.first_content is not None:
            timeout = min(timeout, timeouts.first_content)
        try:
            reply = await self._gateway.upstream.send(request, timeout)
        except TransportError as fault:
            raise from_transport(fault) from None
        if 200 <= reply.status < 300:
            return reply
        try:
            raise await self._from_status(reply)
        finally:
            reply.close()

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

    def _encoded(self) -> UpstreamRequest:
        """Return the upstream request; raise UnsupportedField when this provider kind cannot express it."""
        try:
            return self._adapter.encode(self._request, self._deployment, self._call.forwarded)
        except BadRequest as error:
            raise UnsupportedField(error) from None
        except RecursionError:
            raise UnsupportedField(nested_too_deeply()) from None

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
        headers = _answered_by(self._candidate.route.model, self._meter.attempts)
        if self._ignored_fields and (named := _named(self._ignored_fields)):
            headers += ((b"x-llm-gateway-ignored", named.encode()),)
        return headers

    async def _from_status(self, reply: UpstreamReply) -> AttemptFailed:
        status = reply.status
        body = None
        if status != UNAUTHORIZED and (400 <= status < 500 or status in NOT_SERVED):
            body = self._adapter.decode_error(await self._error_body(reply))
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
        return max(self._deadline - self._gateway.clock.monotonic(), 0.0)


def _with_usage(failed: AttemptFailed, stated: Usage | StatedUsage | None) -> AttemptFailed:
    """Return the failure with what the provider stated: a prompt that was read may be billed."""
    failed.usage = stated_alone(stated)
    return failed


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


def _without_prelude(data: bytes) -> bytes:
    """Return the first bytes of a body without blank lines, which some servers send while they wait for the model."""
    if data[:1] in _STREAM_STARTS:
        return data
    return data.lstrip().removeprefix(_BYTE_ORDER_MARK).lstrip()


def _is_empty(reader: ReplyStream) -> bool:
    return not (reader.content_seen or reader.done)
