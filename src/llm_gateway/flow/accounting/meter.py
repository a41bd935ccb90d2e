"""Meters one request, from its first byte to its single UsageRecord, however it ends."""

from __future__ import annotations

import msgspec

from llm_gateway.core.config.snapshot import Deployment
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, NextStep, Outcome, UsageRecord
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.routing.retry import Failure
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.limits import NOTHING_HELD, Reservation

# nginx's status for a client that left before there was a reply.
CLIENT_LEFT = 499


# Seconds. An attempt that begins sooner is taken to begin with its request.
_AT_ONCE = 0.001


class _NothingUsed(msgspec.Struct, frozen=True, gc=False):
    """The usage of a request that no provider is known to have answered."""

    prompt_tokens: None = None
    completion_tokens: None = None
    total_tokens: None = None
    cached_tokens: None = None
    reasoning_tokens: None = None
    source: None = None


_NOTHING_USED = _NothingUsed()


class Meter:
    """Collects what happens to one request, and reports it once."""

    __slots__ = (
        "_attempts",
        "_cached_from",
        "_call",
        "_deployment",
        "_first_content",
        "_gateway",
        "_started_at",
        "_upstream_ended",
        "_upstream_started",
        "config_version",
        "credential",
        "model",
        "record",
        "reservation",
        "response_bytes",
        "stream",
    )  # fmt: skip

    def __init__(self, gateway: Gateway, call: Call) -> None:
        self._gateway = gateway
        self._call = call
        self._attempts = 0
        self._deployment: Deployment | None = None
        self._started_at: int | None = None
        self._upstream_started: float | None = None
        self._upstream_ended: float | None = None
        self._first_content: float | None = None
        self._cached_from: tuple[str, str] | None = None
        # The record that was reported.
        self.record: UsageRecord | None = None
        # What the request holds under its limits; settled or released with the report.
        self.reservation: Reservation = NOTHING_HELD
        self.credential: str | None = None
        self.model: str | None = None
        self.stream = False
        self.config_version: int | None = None
        self.response_bytes = 0

    @property
    def reported(self) -> bool:
        """Whether the record was reported."""
        return self.record is not None

    @property
    def attempts(self) -> int:
        """How many attempts have begun."""
        return self._attempts

    def attempt(self, deployment: Deployment, now: float) -> None:
        """Note that `deployment` is about to be called."""
        call = self._call
        self._attempts = attempts = self._attempts + 1
        self._deployment = deployment
        self._upstream_started = now
        self._upstream_ended = None
        waited = now - call.started
        # None stands for the request's own start, and spares nearly every request the sum and two long numbers.
        self._started_at = started_at = None if waited < _AT_ONCE else call.created_at + int(waited * 1e6)
        # By position, in the order of its fields: by name it would take longer.
        self._gateway.journal.begin(
            AttemptBegun(
                call.request_id,
                call.created_at,
                call.client_request_id,
                self.credential,
                deployment.provider_key,
                self.model or "",
                deployment.upstream_model,
                call.path,
                call.method,
                self.stream,
                call.request_bytes,
                attempts,
                call.client_ip,
                self.config_version or 0,
                started_at,
            )
        )

    def attempt_failed(
        self, failure: Failure, detail: str, next_step: NextStep, *, is_provider_failure: bool = True
    ) -> None:
        """Record an attempt that led to no reply, and what follows.

        Observers hear only of failures of the provider, not of a request that it rightly refused.
        """
        deployment, started, started_at = self._deployment, self._upstream_started, self._started_at
        if deployment is None or started is None:
            return
        ended_at = self._upstream_ended or self._gateway.clock.monotonic()
        ended = AttemptEnded(
            request_id=self._call.request_id,
            attempt=self._attempts,
            started_at=self._call.created_at if started_at is None else started_at,
            provider=deployment.provider_key,
            model=self.model or "",
            upstream_model=deployment.upstream_model,
            outcome="error",
            status=failure.status,
            reason=failure.reason,
            detail=detail,
            next_step=next_step,
            latency_ms=_ms(ended_at - started),
        )
        self._gateway.journal.attempt_ended(ended)
        if is_provider_failure:
            for observer in self._gateway.observers:
                observer.attempt_failed(ended)

    def answered_from_cache(self, provider: str, upstream_model: str) -> None:
        """Note that a cached reply answers, and which provider gave it."""
        self._cached_from = (provider, upstream_model)

    def first_content(self) -> None:
        """Note the time of a stream's first content."""
        if self._first_content is None:
            self._first_content = self._gateway.clock.monotonic()

    def upstream_ended(self) -> float:
        """Note the time at which the provider was done, and return it."""
        self._upstream_ended = now = self._gateway.clock.monotonic()
        return now

    def refuse(self, error: GatewayError) -> None:
        """Report a request that ended with an error response instead of a reply."""
        response = self._call.dialect.error_response(error, self._call.request_id)
        self.response_bytes = len(response.body)
        outcome: Outcome = "error" if error.outcome == "error" else "rejected"
        self.report(outcome, response.status, error_type=(error.code or error.type)[:100])

    def abort(self, status: int, usage: Usage | None = None) -> None:
        """Report a request that was cut short: its client left, or this process is shutting down."""
        if self._gateway.lifecycle.cutting:
            self.report("interrupted", status, error_type="shutdown", usage=usage)
        else:
            self.report("aborted", status, error_type="client_left", usage=usage)

    def report(
        self, outcome: Outcome, status: int, *, error_type: str | None = None, usage: Usage | None = None
    ) -> None:
        """Report to the journal and the observers. Only the first report counts."""
        if self.record is not None:
            return
        record = self.record = self._record(outcome, status, error_type, usage)
        # Requests without a valid key must not fill the database; metrics and the access log have them.
        if self.credential is not None:
            self._gateway.journal.end(record)
        if self.reservation is not NOTHING_HELD:
            self._end_reservation(record)
        for observer in self._gateway.observers:
            observer.finished(record)

    def _end_reservation(self, record: UsageRecord) -> None:
        reservation, self.reservation = self.reservation, NOTHING_HELD
        if record.attempts:
            reservation.settle(record)
        else:
            reservation.release()

    def _record(
        self, outcome: Outcome, status: int, error_type: str | None, usage: Usage | None
    ) -> UsageRecord:
        call, deployment, cached_from = self._call, self._deployment, self._cached_from
        provider: str | None
        upstream_model: str | None
        if deployment is not None:
            provider, upstream_model = deployment.provider_key, deployment.upstream_model
        else:
            provider, upstream_model = cached_from or (None, None)
        used = usage or _NOTHING_USED
        now = self._gateway.clock.monotonic()
        upstream_ms = ttft_ms = None
        if self._upstream_started is not None:
            upstream_ms = _ms((self._upstream_ended or now) - self._upstream_started)
        if self._first_content is not None:
            ttft_ms = _ms(self._first_content - call.started)
        # By position, in the order of its fields: by name it would take a microsecond more.
        return UsageRecord(
            call.request_id,
            call.created_at,
            call.path,
            call.method,
            self.stream,
            status,
            outcome,
            call.client_request_id,
            self.credential,
            provider,
            self.model,
            upstream_model,
            error_type,
            used.prompt_tokens,
            used.completion_tokens,
            used.total_tokens,
            used.cached_tokens,
            used.reasoning_tokens,
            used.source,
            call.request_bytes,
            self.response_bytes,
            _ms(now - call.started),
            upstream_ms,
            ttft_ms,
            self._attempts,
            call.client_ip,
            self.config_version,
            cached_from is not None,
            self._started_at,
        )


def _ms(seconds: float) -> float:
    """Return milliseconds to three places; `round` would take four times as long."""
    return int(seconds * 1e6 + 0.5) / 1000
