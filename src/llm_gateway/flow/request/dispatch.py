"""Tries the deployments of a plan, in order, until one has given its first content: the commit."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from llm_gateway.core.config.snapshot import Deployment
from llm_gateway.core.errors import (
    BadRequest,
    GatewayError,
    UpstreamFailed,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.routing.retry import Failure, is_provider_failure
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.accounting.token_estimates import count_whole
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.upstream import TransportError, UpstreamReply
from llm_gateway.flow.request.recovery import AttemptEnded, Recovery, UnsupportedField
from llm_gateway.flow.request.redaction import refused
from llm_gateway.flow.request.reply import Headers, Reply, StreamReply, WholeReply
from llm_gateway.flow.routing.plan import Plan
from llm_gateway.flow.routing.selector import Candidate
from llm_gateway.providers.base import Adapter, BadReply, ReplyStream, UpstreamErrorBody, UpstreamRequest

_ERROR_BODY_LIMIT = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
_UNAUTHORIZED, _TOO_MANY, _UNAVAILABLE, _GATEWAY_TIMEOUT = 401, 429, 503, 504
# Anthropic's own status for the same.
_OVERLOADED = 529
# A provider's wait is believed up to a day.
_LONGEST_RETRY_AFTER = 86_400.0
# Characters of a header that names what was left out; proxies bound a response's head.
_LONGEST_LIST = 1024


async def dispatch(gateway: Gateway, call: Call, request: ModelRequest, plan: Plan, meter: Meter) -> Reply:
    """Return the first reply that a deployment of the plan gives; raise what the last one left."""
    now = gateway.clock.monotonic()
    candidate = plan.first(now)
    try:
        return await _Attempt(gateway, call, request, candidate, meter, now).run()
    except (AttemptEnded, UnsupportedField) as failed:
        recovery = Recovery(gateway, call, plan, meter, candidate, failed)
    while True:
        # Raises what the client gets to hear when there is nothing more to try.
        candidate = await recovery.next_candidate()
        now = gateway.clock.monotonic()
        try:
            return await _Attempt(gateway, call, request, candidate, meter, now).run()
        except (AttemptEnded, UnsupportedField) as failed:
            recovery.failed(candidate, failed)
        finally:
            recovery.attempt_over()


class _Attempt:
    """One try of one deployment."""

    __slots__ = (
        "_adapter", "_begun", "_call", "_candidate", "_deadline", "_deployment", "_gateway", "_left_out",
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
        self._left_out: tuple[str, ...] = ()
        self._begun = now
        timeouts = candidate.route.rules.timeouts
        timeout = timeouts.first_content if request.stream else timeouts.total
        self._deadline = now + (timeout or gateway.options.llm_timeout)
        # Before anything is waited for, so that a half-open breaker lets one through and no more.
        self._permit = candidate.state.admit(now)

    async def run(self) -> Reply:
        """Return the reply; raise AttemptEnded or UnsupportedField. The place at the deployment is given back."""
        permit = self._permit
        try:
            reply: Reply = await (self._stream() if self._request.stream else self._whole())
        except AttemptEnded as ended:
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
        """Read the whole reply, so that a cut one is a failure and not half an answer."""
        gateway = self._gateway
        reply = await self._send()
        try:
            body = await reply.read_all(gateway.options.max_reply_bytes, self._time_left())
            completion = self._adapter.decode(body, self._request)
        except TransportError as fault:
            raise _from_fault(fault) from None
        except BadReply as bad:
            raise _nonsense(bad) from None
        finally:
            reply.close()
        if completion.refusal is not None:
            raise self._refused_in_band(completion.refusal)
        self._permit.succeeded(self._meter.upstream_ended())
        usage = completion.usage or await count_whole(
            gateway.counter, self._request, self._deployment.upstream_model, completion.body
        )
        self._meter.response_bytes = len(completion.body)
        self._meter.report("ok", reply.status, usage=usage)
        return WholeReply(reply.status, completion.body)

    async def _stream(self) -> StreamReply:
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
        except TransportError as fault:
            raise _from_fault(fault) from None
        except BadReply as bad:
            raise _nonsense(bad) from None
        finally:
            if not committed:
                reply.close()
        if reader.content_seen:
            self._meter.first_content()
        return StreamReply(
            self._gateway, self._request, self._candidate, self._permit, self._meter, reply, reader, held,
            self._deadline,
        )  # fmt: skip

    async def _until_commit(self, reply: UpstreamReply, reader: ReplyStream) -> bytes:
        clock = self._gateway.clock
        held: list[bytes] = []
        let_go: float | None = None
        while not reader.content_seen and not reader.done:
            until = self._deadline if let_go is None else min(self._deadline, let_go)
            left = until - clock.monotonic()
            try:
                if left <= 0:
                    # A flood of comments: a read would always find something.
                    raise TransportError("timeout", "no content in time")
                data = await reply.read(left)
            except TransportError as fault:
                if fault.kind == "timeout" and let_go is not None and until == let_go:
                    break
                raise
            out = reader.feed(data) if data else reader.end()
            if reader.refusal is not None:
                raise self._refused_in_band(reader.refusal)
            if not data and _nothing_came(reader):
                raise TransportError("cut", "the provider's stream ended before it began")
            if out:
                held.append(out)
                if let_go is None:
                    let_go = clock.monotonic() + self._gateway.options.commit_hold
            if not data:
                break
        return b"".join(held)

    async def _one_chunk(self, reply: UpstreamReply, reader: ReplyStream) -> bytes:
        """Send JSON that answers a streamed request on as one chunk."""
        out = reader.whole(await reply.read_all(self._gateway.options.max_reply_bytes, self._time_left()))
        if reader.refusal is not None:
            raise self._refused_in_band(reader.refusal)
        return out

    def _refused_in_band(self, refusal: UpstreamErrorBody) -> AttemptEnded:
        message = "The provider failed before it answered."
        if refusal.message is not None:
            message = refused(refusal, _UNAVAILABLE, self._deployment).message
        failure = Failure(reason="protocol", about=_what_a_model_makes_good(refusal))
        return AttemptEnded(failure, UpstreamFailed(message), "an error under a 2xx, before any content")

    async def _send(self) -> UpstreamReply:
        if self._deployment.oauth2 is not None:
            self._deployment = await self._with_token(self._deployment)
        request = self._encoded()
        timeouts = self._candidate.route.rules.timeouts
        request.connect_timeout = timeouts.connect
        self._left_out = request.ignored_fields
        self._meter.attempt(self._deployment, self._begun)
        patience = self._time_left()
        if timeouts.first_content is not None:
            patience = min(patience, timeouts.first_content)
        try:
            reply = await self._gateway.upstream.send(request, patience)
        except TransportError as fault:
            raise _from_fault(fault) from None
        if 200 <= reply.status < 300:
            return reply
        try:
            raise await self._from_status(reply)
        finally:
            reply.close()

    def _encoded(self) -> UpstreamRequest:
        """Return what is sent; raise UnsupportedField when this kind has no words for it."""
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
            # Nothing was sent to the provider itself, and still it was tried.
            self._meter.attempt(deployment, self._begun)
            raise _from_fault(fault) from None
        return msgspec.structs.replace(deployment, secret=token)

    def _headers(self) -> Headers:
        """Say which public model answered, after how many attempts, and what it was not told."""
        attempts = self._meter.attempts
        headers: Headers = (
            *public_model(self._candidate.route.model),
            (b"x-llm-gateway-attempts", b"1" if attempts == 1 else b"%d" % attempts),
        )
        if self._left_out and (named := _named(self._left_out)):
            headers += ((b"x-llm-gateway-ignored", named.encode()),)
        return headers

    async def _from_status(self, reply: UpstreamReply) -> AttemptEnded:
        status = reply.status
        retry_after = _retry_after(reply.header("retry-after"), self._gateway.clock.unix_us() / 1e6)
        error: GatewayError
        refusal = UpstreamErrorBody()
        if status != _UNAUTHORIZED and 400 <= status < 500:
            refusal = self._adapter.decode_error(await self._error_body(reply))
            retry_after = refusal.retry_after if retry_after is None else retry_after
        if status == _UNAUTHORIZED or refusal.about == "own_secret":
            status = _UNAUTHORIZED
            self._forget_token()
            message = "The provider refused the gateway's own key; its admin has to mend that."
            error = UpstreamFailed(message, code="upstream_key_refused")
        elif 400 <= status < 500:
            error = refused(refusal, status, self._deployment, retry_after)
            if status == _TOO_MANY:
                error.type, error.code = "rate_limit_error", error.code or "rate_limit_exceeded"
        elif status in {_UNAVAILABLE, _OVERLOADED}:
            error = UpstreamUnavailable("The provider is overloaded; try again.", retry_after=retry_after)
        elif status == _GATEWAY_TIMEOUT:
            error = UpstreamTimedOut("The provider reports that it ran out of time.")
        else:
            error = UpstreamFailed(f"The provider failed with status {status}.")
        failure = Failure(
            reason="status",
            status=status,
            retry_after=retry_after if status in {_TOO_MANY, _UNAVAILABLE, _OVERLOADED} else None,
            about=_what_a_model_makes_good(refusal),
        )
        return AttemptEnded(failure, error, f"status {status}")

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


def public_model(model: str) -> Headers:
    """Say a public model's name, where it can be said in a header."""
    if model.isascii() and model.isprintable():
        return ((b"x-llm-gateway-model", model.encode()),)
    return ()


def _named(ignored_fields: tuple[str, ...]) -> str:
    """Return the names of fields for a header: what fits, and "..." for the rest."""
    names = [name for name in ignored_fields if name.isascii() and name.isprintable()]
    text = ", ".join(names)
    if len(text) <= _LONGEST_LIST:
        return text
    whole, _, _ = text[:_LONGEST_LIST].rpartition(", ")
    return f"{whole}, ..." if whole else "..."


def _what_a_model_makes_good(
    refusal: UpstreamErrorBody,
) -> Literal["context_length", "content_policy"] | None:
    return None if refusal.about == "own_secret" else refusal.about


def _nothing_came(reader: ReplyStream) -> bool:
    return not (reader.content_seen or reader.done)


def _from_fault(fault: TransportError) -> AttemptEnded:
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
    return AttemptEnded(Failure(reason=fault.kind), error, str(fault))


def _nonsense(bad: BadReply) -> AttemptEnded:
    error = UpstreamFailed("The provider's answer could not be read.", code="upstream_bad_reply")
    return AttemptEnded(Failure(reason="protocol"), error, str(bad))


def _retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header: seconds, or a date; None when it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None
