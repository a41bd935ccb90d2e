"""Reads the state of a running gateway: for scrapes, for /health/detailed and for the access log."""

from __future__ import annotations

import asyncio
from typing import Any

from llm_gateway.app.wiring import Wiring
from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.http.dispatcher import UnmeteredRequest


def render_metrics(wiring: Wiring) -> bytes:
    """Return the text of a scrape."""
    update_breaker_gauge(wiring)
    return wiring.metrics.render(_readings(wiring))


def _readings(wiring: Wiring) -> dict[Metric, float]:
    status = wiring.reloader.status
    return {
        catalogue.ACTIVE_REQUESTS: wiring.worker_registry.active(),
        catalogue.CONFIG_VERSION: status.version or 0,
        catalogue.CONFIG_REFUSED: float(status.refused is not None),
        catalogue.JOURNAL_BACKLOG: wiring.shipper.backlog_bytes,
    }


def health_details(wiring: Wiring) -> dict[str, Any]:
    """Return what /health/detailed shows about the configuration and the usage records."""
    status = wiring.reloader.status
    return {
        "config": {
            "version": status.version,
            "source": status.source,
            "refused_version": status.refused.version if status.refused else None,
            "error": status.error,
        },
        "usage": {
            "backlog_bytes": wiring.shipper.backlog_bytes,
            "lost": wiring.journal.lost,
            "rejected": wiring.shipper.rejected,
        },
    }


def as_record(unmetered: UnmeteredRequest, clock: Clock) -> UsageRecord:
    """Return a record for the access log of a request that used no model."""
    ms = round(unmetered.seconds * 1000, 3)
    return UsageRecord(
        request_id=unmetered.request_id,
        created_at=clock.unix_us() - round(ms * 1000),
        endpoint=unmetered.path,
        method=unmetered.method,
        stream=False,
        status_code=unmetered.status,
        outcome="ok" if 0 < unmetered.status < 400 else "rejected",
        latency_ms=ms,
        client_ip=unmetered.client_ip,
    )


def update_breaker_gauge(wiring: Wiring) -> None:
    """Set the gauge of the breakers in this process that are open or half-open."""
    open_breakers = wiring.gateway.selector.open_breakers()
    wiring.metrics.set_open_breakers({provider: len(states) for provider, states in open_breakers.items()})


async def update_metrics_regularly(wiring: Wiring) -> None:
    """Once a second, set the metrics that nothing on the request path updates, until cancelled."""
    while True:
        update_breaker_gauge(wiring)
        wiring.metrics.set_record_losses(wiring.journal.lost, wiring.shipper.rejected)
        await asyncio.sleep(1.0)
