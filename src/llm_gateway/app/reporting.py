"""What the parts tell of themselves: in gauges, in /health/detailed and in the access log."""

from __future__ import annotations

import asyncio
from typing import Any

from llm_gateway.app.wiring import Wiring
from llm_gateway.core.records import UsageRecord
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.http.dispatcher import UnmeteredRequest
from llm_gateway.infra.metrics.prometheus import gauge


def gauges(parts: Wiring) -> list[Any]:
    """Return the gauges that are read at the moment of a scrape."""
    status = parts.reloader.status
    report_breakers(parts)
    return [
        gauge("llm_proxy_active_requests", "Requests in flight on this machine.", parts.board.active()),
        gauge("llm_gateway_config_version", "Configuration version in force.", status.version or 0),
        gauge(
            "llm_gateway_config_refused",
            "1 while the stored configuration is refused and an older one is in force.",
            float(status.refused is not None),
        ),
        gauge(
            "llm_gateway_journal_backlog_bytes", "Usage facts not yet stored.", parts.shipper.backlog_bytes
        ),
    ]


def details(parts: Wiring) -> dict[str, Any]:
    """Return what /health/detailed says beside the providers."""
    status = parts.reloader.status
    return {
        "config": {
            "version": status.version,
            "is_kept_copy": status.is_kept_copy,
            "refused_version": status.refused.version if status.refused else None,
            "error": status.error,
        },
        "usage": {
            "backlog_bytes": parts.shipper.backlog_bytes,
            "lost": parts.journal.lost,
            "rejected": parts.shipper.rejected,
        },
    }


def as_record(other: UnmeteredRequest, clock: Clock) -> UsageRecord:
    """Return a line for the access log of a request that used no model."""
    ms = round(other.seconds * 1000, 3)
    return UsageRecord(
        request_id=other.request_id,
        created_at=clock.unix_us() - round(ms * 1000),
        endpoint=other.path,
        method=other.method,
        stream=False,
        status_code=other.status,
        outcome="ok" if 0 < other.status < 400 else "rejected",
        latency_ms=ms,
        client_ip=other.client_ip,
    )


def report_breakers(parts: Wiring) -> None:
    """Bring the number of this process' breakers that are not closed into the metrics."""
    open_breakers = parts.gateway.selector.open_breakers()
    parts.metrics.show_open_breakers({provider: len(states) for provider, states in open_breakers.items()})


async def report_regularly(parts: Wiring) -> None:
    """Bring losses and breakers, which are noted where they happen, into the metrics; until cancelled."""
    while True:
        report_breakers(parts)
        parts.metrics.count_losses(parts.journal.lost, parts.shipper.rejected)
        await asyncio.sleep(1.0)
