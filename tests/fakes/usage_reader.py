"""A UsageReader over a list, and the services of a surface with it."""

from __future__ import annotations

from collections.abc import Sequence

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.ports.ledger import EventJournal
from llm_gateway.flow.ports.query_log import LoggedQuery, QueryLog
from llm_gateway.flow.ports.usage import (
    SummaryQuery,
    UsageFilter,
    UsageOrder,
    UsagePlace,
    UsageReader,
    UsageSummary,
    UseTotals,
)
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.surfaces.base import SurfaceServices


class ListedUsage(UsageReader):
    """Rows in memory; filters by credential, model, request, agent, tenant, channel and time."""

    def __init__(self, *records: UsageRecord) -> None:
        self.records = [*records]
        # Of requests with several attempts.
        self.ended: dict[str, Sequence[AttemptEnded]] = {}
        self.is_complete = True

    async def list(
        self, wanted: UsageFilter, after: UsagePlace | None, limit: int, order: UsageOrder = "created_at"
    ) -> list[UsageRecord]:
        assert order == "created_at"
        found = [
            record
            for record in self._meant(wanted)
            if after is None or (record.created_at, record.request_id) < (after.at, after.request_id)
        ]
        return found[:limit]

    def _meant(self, wanted: UsageFilter) -> Sequence[UsageRecord]:
        return [
            record
            for record in sorted(self.records, key=lambda one: (one.created_at, one.request_id), reverse=True)
            if all(
                getattr(wanted, name) in {None, getattr(record, name)}
                for name in ("credential", "model", "request_id", "agent", "tenant", "channel")
            )
            and (wanted.since is None or record.created_at >= wanted.since)
            and (wanted.until is None or record.created_at < wanted.until)
        ]

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        return self.ended.get(request_id, ())

    async def summarize(self, query: SummaryQuery) -> UsageSummary:
        raise NotImplementedError

    async def totals(self, wanted: UsageFilter) -> UseTotals:
        found = self._meant(wanted)
        timed = [record for record in found if record.outcome not in {"rejected", "interrupted"}]
        count = sum(record.requests for record in timed)
        return UseTotals(
            requests=sum(record.requests for record in found),
            ok=sum(record.requests for record in found if record.outcome == "ok"),
            prompt_tokens=sum(record.prompt_tokens or 0 for record in found),
            completion_tokens=sum(record.completion_tokens or 0 for record in found),
            total_tokens=sum(record.total_tokens or 0 for record in found),
            cost_nano_usd=sum(record.cost_nano_usd or 0 for record in found),
            unpriced=sum(
                record.requests
                for record in found
                if record.cost_nano_usd is None
                and (record.prompt_tokens or record.completion_tokens or record.unpriced)
            ),
            mean_latency_ms=sum(one.latency_ms * one.requests for one in timed) / count if count else None,
        )

    async def flush(self) -> bool:
        return self.is_complete


class ListedEvents(EventJournal):
    """Lists the events that were recorded."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []

    def event(self, event: TelemetryEvent) -> None:
        self.events.append(event)


class ListedQueries(QueryLog):
    """Lists the queries that were logged."""

    def __init__(self) -> None:
        self.queries: list[LoggedQuery] = []

    def query(self, query: LoggedQuery) -> None:
        self.queries.append(query)


def surface_services(plane: DataPlane, prober: Prober, usage: ListedUsage | None = None) -> SurfaceServices:
    """Return the services of a surface whose requests have used what `usage` lists."""
    usage = usage or ListedUsage()
    return SurfaceServices(
        plane=plane,
        prober=prober,
        health=prober,
        usage=usage,
        flush=usage.flush,
        limit_callers=lambda accounts_of: all_of(),
        events=ListedEvents(),
        query_log=ListedQueries(),
    )
