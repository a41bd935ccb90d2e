"""Meters one request, from its first byte to its single UsageRecord, however it ends."""

from __future__ import annotations

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.records import (
    AttemptBegun,
    AttemptEnded,
    NextStep,
    Outcome,
    UsageRecord,
    last_attempt,
)
from llm_gateway.core.ledger.served import KnownFacts, ServedRequest
from llm_gateway.core.ledger.usage import NOTHING_USED, Usage
from llm_gateway.core.routing.retry import Failure
from llm_gateway.flow.accounting.attribution import on_behalf_of
from llm_gateway.flow.accounting.pricing import (
    FREE,
    NO_COST,
    added,
    price_usage,
    with_cost,
    with_usage,
)
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION
from llm_gateway.flow.ports.limits import NOTHING_HELD, Reservation
from llm_gateway.flow.ports.listeners import listener_failed, notify

# nginx's status for a client that left before there was a reply.
CLIENT_LEFT = 499


# Seconds. An attempt that begins sooner is taken to begin with its request.
AT_ONCE = 0.001


class Meter:
    """Collects what happens to one request, and reports it once."""

    __slots__ = (
        "_cached_from", "_deployment", "_first_content", "_gateway", "_known", "_recorded_attempts",
        "_reported", "_served", "_spent", "_started_at", "_upstream_ended", "_upstream_started", "attempts",
        "call", "config_version", "cost_nano_usd", "credential", "model", "project", "reported",
        "requested_tier", "reservation", "response_bytes", "sent_tier", "shows_cost", "stream", "temperature",
        "tenant", "uncommitted_usage",
    )  # fmt: skip

    def __init__(self, gateway: Gateway, call: Call) -> None:
        self._gateway = gateway
        self.call = call
        # How many have begun.
        self.attempts = 0
        self._deployment: Deployment | None = None
        self._started_at: int | None = None
        self._upstream_started: float | None = None
        self._upstream_ended: float | None = None
        self._first_content: float | None = None
        self._cached_from: tuple[str, str] | None = None
        # How many attempts have an AttemptEnded of their own, and what they cost together.
        self._recorded_attempts = 0
        self._spent = NO_COST
        # Whether the record was reported; and itself, unless it is made when somebody asks for it.
        self.reported = False
        self._reported: UsageRecord | None = None
        # What is known of requests like this one, and what is told of it then.
        self._known: KnownFacts | None = None
        self._served: ServedRequest | None = None
        # What the request costs, once it is reported; None = unknown, or nothing was used.
        self.cost_nano_usd: int | None = None
        # What the request holds under its limits; settled or released with the report.
        self.reservation: Reservation = NOTHING_HELD
        self.credential: str | None = None
        self.tenant: str | None = None
        self.project: str | None = None
        self.model: str | None = None
        self.stream = False
        self.config_version: int | None = None
        self.response_bytes = 0
        # The service tier that the client asked for, and the one that the last attempt's provider was asked for.
        self.requested_tier: str | None = None
        self.sent_tier: str | None = None
        # As the client stated it.
        self.temperature: float | None = None
        # Whether the client wants the cost in the usage that a stream reports.
        self.shows_cost = False
        # What the provider of the last attempt stated, although the client got no reply.
        self.uncommitted_usage: Usage | None = None

    @property
    def record(self) -> UsageRecord | None:
        """The record that was reported."""
        served = self._served
        if served is not None and self._reported is None:
            self._reported = served.record()
        return self._reported

    def attempt(self, deployment: Deployment, now: float, *, with_writes: bool = False) -> None:
        """Note that `deployment` is about to be called; `with_writes` as `Journal.begin_with_writes` says."""
        call = self.call
        self.attempts = attempts = self.attempts + 1
        self._deployment = deployment
        self._upstream_started = now
        self._upstream_ended = None
        self.sent_tier = self.requested_tier
        waited = now - call.started
        # None stands for the request's own start, and spares nearly every request the sum and two long numbers.
        self._started_at = started_at = None if waited < AT_ONCE else call.created_at + int(waited * 1e6)
        journal = self._gateway.journal
        begin = journal.begin_with_writes if with_writes else journal.begin
        # By position, in the order of its fields: by name it would take longer.
        begin(
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
        self,
        failure: Failure,
        detail: str,
        next_step: NextStep,
        *,
        usage: Usage | None = None,
        is_provider_failure: bool = True,
    ) -> None:
        """Record an attempt that led to no reply, what its provider stated nevertheless, and what follows.

        Observers hear only of failures of the provider, not of a request that it rightly refused.
        """
        ended = self._attempt_ended(failure, detail, next_step)
        if ended is None:
            return
        if usage is not None:
            cost = self._cost_of_attempt(usage)
            self._spent = added(self._spent, cost)
            ended = with_usage(ended, usage, cost)
        self._recorded_attempts = self.attempts
        self._gateway.journal.attempt_ended(ended)
        if is_provider_failure:
            self._tell(ended)

    def alert(self, failure: Failure, detail: str) -> None:
        """Tell observers of a failure after the commit that an administrator must act on; the record has the rest."""
        ended = self._attempt_ended(failure, detail, "give_up")
        if ended is not None:
            self._tell(ended)

    def _tell(self, ended: AttemptEnded) -> None:
        for observer in self._gateway.observers:
            notify(observer.attempt_failed, ended)

    def _attempt_ended(self, failure: Failure, detail: str, next_step: NextStep) -> AttemptEnded | None:
        deployment, started, started_at = self._deployment, self._upstream_started, self._started_at
        if deployment is None or started is None:
            return None
        ended_at = self._upstream_ended or self._gateway.clock.monotonic()
        return AttemptEnded(
            request_id=self.call.request_id,
            attempt=self.attempts,
            started_at=self.call.created_at if started_at is None else started_at,
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
        response = self.call.dialect.error_response(error, self.call.request_id)
        self.response_bytes = len(response.body)
        outcome: Outcome = "error" if error.outcome == "error" else "rejected"
        error_type = (error.code or error.type)[:100]
        self.report(outcome, response.status, error_type=error_type, usage=self.uncommitted_usage)

    def abort(self, status: int, usage: Usage | None = None) -> None:
        """Report a request that was cut short: its client left, or this process is shutting down."""
        usage = usage or self.uncommitted_usage
        if self._gateway.lifecycle.cutting:
            self.report("interrupted", status, error_type="shutdown", usage=usage)
        else:
            self.report("aborted", status, error_type="client_left", usage=usage)

    def report(
        self, outcome: Outcome, status: int, *, error_type: str | None = None, usage: Usage | None = None
    ) -> None:
        """Report to the journal and the observers. Only the first report counts."""
        if self.reported:
            return
        record = self._record(outcome, status, error_type, usage)
        if outcome == "rejected" and not self.attempts:
            self._gateway.refusals.add(record)
        elif self.credential is not None:
            if self._spent is not NO_COST:
                self._journal_last_attempt(record, usage)
            # What it has cost is settled once that is on file: nobody is to find one without the other.
            held, journal = self.reservation, self._gateway.journal
            if outcome != "ok":
                journal.end(record)
            elif held is NOTHING_HELD:
                journal.end_with_writes(record)
            else:
                self.reservation = NOTHING_HELD
                journal.end_with_writes(record, held.settle if self.attempts else lambda _: held.release())
        if self.reservation is not NOTHING_HELD:
            self._end_reservation(record)
        for finished in self._gateway.finished:
            # As `notify` does, without its frame.
            try:
                finished(record)
            except Exception as error:  # noqa: BLE001
                listener_failed(finished, error, record)

    def _end_reservation(self, record: UsageRecord) -> None:
        held, self.reservation = self.reservation, NOTHING_HELD
        if record.attempts:
            held.settle(record)
        else:
            held.release()

    def report_dry_run(self) -> None:
        """Report a request that was answered with an estimate: to observers alone, because it used nothing."""
        record = self._record("ok", 200, "dry_run", None)
        for observer in self._gateway.observers:
            notify(observer.finished, record)

    def cost_of(self, usage: Usage | None) -> PricedUsage:
        """Return what the request costs if `usage` is that of its last attempt."""
        if self._cached_from is not None:
            return FREE
        if self._spent is not NO_COST:
            return added(self._spent, self._cost_of_attempt(usage))
        deployment = self._deployment
        if usage is None or deployment is None:
            return NO_COST
        return price_usage(usage, deployment, self.call.created_at, self.sent_tier)

    def _cost_of_attempt(self, usage: Usage | None) -> PricedUsage:
        """Return the cost of the last attempt; nothing if it was added to what was spent already."""
        deployment = self._deployment
        if usage is None or deployment is None or self._recorded_attempts == self.attempts:
            return NO_COST
        return price_usage(usage, deployment, self.call.created_at, self.sent_tier)

    def _journal_last_attempt(self, record: UsageRecord, usage: Usage | None) -> None:
        """Record the attempt that ended with its request, because its cost is not the request's."""
        ended = last_attempt(record)
        if ended is not None and self._recorded_attempts < record.attempts:
            cost = self._cost_of_attempt(usage)
            self._gateway.journal.attempt_ended(with_cost(ended, cost))

    def answered_by(self) -> tuple[str | None, str | None]:
        """Return the provider's key and its model of the last attempt, or of the cached reply."""
        deployment = self._deployment
        if deployment is not None:
            return deployment.provider_key, deployment.upstream_model
        return self._cached_from or (None, None)

    def upstream_ms(self, now: float) -> float | None:
        """Return the time spent waiting for the last attempt's provider; None without an attempt."""
        started = self._upstream_started
        return None if started is None else _ms((self._upstream_ended or now) - started)

    def _record(
        self, outcome: Outcome, status: int, error_type: str | None, usage: Usage | None
    ) -> UsageRecord:
        call, deployment, cached_from = self.call, self._deployment, self._cached_from
        provider: str | None
        upstream_model: str | None
        # As `answered_by` and `upstream_ms` do, without their frames.
        if deployment is not None:
            provider, upstream_model = deployment.provider_key, deployment.upstream_model
        else:
            provider, upstream_model = cached_from or (None, None)
        used = usage or NOTHING_USED
        if deployment is None or usage is None or self._spent is not NO_COST or cached_from is not None:
            cost = self.cost_of(usage)
        else:
            cost = price_usage(usage, deployment, call.created_at, self.sent_tier)
        now = self._gateway.clock.monotonic()
        upstream_ms = ttft_ms = None
        if self._upstream_started is not None:
            # As `_ms` does, without its frame; below, too.
            upstream_ms = int(((self._upstream_ended or now) - self._upstream_started) * 1e6 + 0.5) / 1000
        if self._first_content is not None:
            ttft_ms = int((self._first_content - call.started) * 1e6 + 0.5) / 1000
        # By position, in the order of its fields: by name it would take a microsecond more.
        record = UsageRecord(
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
            int((now - call.started) * 1e6 + 0.5) / 1000,
            upstream_ms,
            ttft_ms,
            self.attempts,
            call.client_ip,
            self.config_version,
            cached_from is not None,
            self._started_at,
            used.cache_write_tokens,
            # Every provider's prompt tokens include them.
            True,
            cost.cost_nano_usd,
            cost.source,
            cost.unpriced,
            cost.breakdown,
            cost.price_version,
            self.requested_tier,
            None if used.details is None else used.details.served_tier,
            self.temperature,
            self.tenant,
            self.project,
        )
        if used.details is not None and used.details.quantities:
            record = msgspec.structs.replace(record, quantities=used.details.quantities)
        stated = call.attribution
        if stated is not NO_ATTRIBUTION:
            record = on_behalf_of(record, stated)
        self.reported, self._reported, self.cost_nano_usd = True, record, cost.cost_nano_usd
        return record


def _ms(seconds: float) -> float:
    """Return milliseconds to three places; `round` would take four times as long."""
    return int(seconds * 1e6 + 0.5) / 1000
