"""One attempt: sends a request to one deployment and returns its reply, or raises why there is none."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from llm_gateway.core.config.snapshot import Deployment
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.routing.retry import is_provider_failure
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.accounting.token_estimates import count_whole
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import Headers
from llm_gateway.flow.ports.upstream import TransportError, UpstreamReply
from llm_gateway.flow.request.recovery import AttemptFailed, UnsupportedField
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.flow.request.upstream_errors import (
    UNAUTHORIZED,
    bad_reply,
    from_reply,
    from_status,
    from_transport,
    retry_after,
)
from llm_gateway.flow.routing.selector import Candidate
from llm_gateway.providers.base import Adapter, ReplyStream, UpstreamRequest
from llm_gateway.wire.errors import BadReply

_ERROR_BODY_LIMIT = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
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
            if is_provider_failure(ended.failure):
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
            completion = self._adapter.decode(body, self._request)
        except TransportError as fault:
            raise from_transport(fault) from None
        except BadReply as bad:
            raise bad_reply(bad) from None
        finally:
            reply.close()
        if completion.refusal is not None:
            raise from_reply(completion.refusal, self._deployment)
        self._permit.succeeded(self._meter.upstream_ended())
        usage = completion.usage or await count_whole(
            gateway.counter, self._request, self._deployment.upstream_model, completion.body
        )
        body = canonical = completion.body
        if (encode := self._call.dialect.encode_reply) is not None:
            body = encode(self._request, canonical)
        self._meter.response_bytes = len(body)
        self._meter.report("ok", reply.status, usage=usage)
        return WholeReply(reply.status, body, canonical)

    async def _stream(self) -> StreamReply:
        """Hold back the first events until one has content, or for COMMIT_HOLD seconds."""
        reply = await self._send()
        committed = False
        reader = self._adapter.stream(self._request, event_limit=self._gateway.options.max_reply_bytes)
        try:
            if (reply.header("content-type") or "").startswith("application/json"):
                held = await self._one_chunk(reply, reader)
            else:
                held = await self._until_commit(reply, reader)
            committed = True
        except TransportError as fault:
            raise from_transport(fault) from None
        except BadReply as bad:
            raise bad_reply(bad) from None
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
        clock = self._gateway.clock
        held: list[bytes] = []
        hold_until: float | None = None
        while not reader.content_seen and not reader.done:
            until = self._deadline if hold_until is None else min(self._deadline, hold_until)
            left = until - clock.monotonic()
            try:
                if left <= 0:
                    # Frequent comments keep single reads from timing out.
                    raise TransportError("timeout", "no content in time")
                data = await reply.read(left)
            except TransportError as fault:
                if fault.kind == "timeout" and hold_until is not None and until == hold_until:
                    break
                raise
            out = reader.feed(data) if data else reader.end()
            if reader.refusal is not None:
                raise from_reply(reader.refusal, self._deployment)
            if not data and _is_empty(reader):
                raise TransportError("cut", "the provider's stream ended before it began")
            if out:
                held.append(out)
                if hold_until is None:
                    hold_until = clock.monotonic() + self._gateway.options.commit_hold
            if not data:
                break
        return b"".join(held)

    async def _one_chunk(self, reply: UpstreamReply, reader: ReplyStream) -> bytes:
        """Convert a JSON reply to a streamed request into the events of a stream."""
        out = reader.whole(await reply.read_all(self._gateway.options.max_reply_bytes, self._time_left()))
        if reader.refusal is not None:
            raise from_reply(reader.refusal, self._deployment)
        return out

    async def _send(self) -> UpstreamReply:
        if self._deployment.oauth2 is not None:
            self._deployment = await self._with_token(self._deployment)
        request = self._encoded()
        timeouts = self._candidate.route.rules.timeouts
        request.connect_timeout = timeouts.connect
        self._ignored_fields = request.ignored_fields
        self._meter.attempt(self._deployment, self._begun)
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

    def _encoded(self) -> UpstreamRequest:
        """Return the upstream request; raise UnsupportedField when this provider kind cannot express it."""
        try:
            return self._adapter.encode(self._request, self._deployment, self._call.forwarded)
        except BadRequest as error:
            raise UnsupportedField(error) from None

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
        if status != UNAUTHORIZED and 400 <= status < 500:
            body = self._adapter.decode_error(await self._error_body(reply))
        if status == UNAUTHORIZED or (body is not None and body.about == "own_secret"):
            self._forget_token()
        wait = retry_after(reply.header("retry-after"), self._gateway.clock.unix_us() / 1e6)
        return from_status(status, body, wait, self._deployment)

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


def _is_empty(reader: ReplyStream) -> bool:
    return not (reader.content_seen or reader.done)
