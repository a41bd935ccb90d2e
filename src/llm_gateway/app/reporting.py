"""Reads the state of a running gateway: for scrapes, for /health/detailed and for the access log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from loguru import logger

from llm_gateway.app.budgets import used_ratios
from llm_gateway.app.process_health import (
    oldest_seconds,
    problems,
    process_details,
    stale_workers,
    update_process_metrics,
)
from llm_gateway.app.wiring import Wiring
from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.http.dispatcher import UnmeteredRequest
from llm_gateway.infra.logs.standard_streams import standard_streams
from llm_gateway.infra.metrics.processes import LoopWatch, OpenFilesWatch


def read_metrics(wiring: Wiring) -> Callable[[], bytes]:
    """Read the gauges for a scrape; return what renders its text, in any thread."""
    wiring.worker_registry.note_metrics_read()
    # Whoever has a reply of this worker finds it counted; those of the others follow at the end of their turn.
    wiring.gateway.served.tell()
    update_breaker_gauge(wiring)
    ratios = used_ratios(wiring.budgets, wiring.gateway.snapshots.current, wiring.clock.unix_us())
    return partial(wiring.metrics.render, _readings(wiring), {catalogue.BUDGET_USED: ratios})


def read_summary(wiring: Wiring) -> Callable[[], bytes]:
    """Read the requests in flight; return what renders the performance of all workers as JSON, in any thread."""
    wiring.gateway.served.tell()
    return partial(wiring.metrics.summary, wiring.worker_registry.active())


def _readings(wiring: Wiring) -> dict[Metric, float]:
    status = wiring.reloader.status
    faults = status.refused.faults if status.refused is not None else ()
    shipping = wiring.shipper.status
    return {
        catalogue.ACTIVE_REQUESTS: wiring.worker_registry.active(),
        catalogue.HELD_REQUESTS: wiring.use_store.open_holds(),
        catalogue.BUDGETS_AWAY: float(wiring.budgets.shares.is_away),
        catalogue.CONFIG_VERSION: status.version or 0,
        catalogue.STALE_WORKERS: len(stale_workers(wiring)),
        catalogue.CONFIG_REFUSED: float(status.refused is not None),
        catalogue.CONFIG_FAULTY_ROWS: len({(one.resource, one.id) for one in faults}),
        catalogue.JOURNAL_BACKLOG: wiring.shipper.backlog_bytes,
        catalogue.JOURNAL_LIMIT: wiring.journal_max_bytes,
        catalogue.JOURNAL_OLDEST: oldest_seconds(wiring) or 0.0,
        catalogue.USAGE_STORE_DOWN: float(shipping.store == "none"),
        catalogue.USAGE_BACKUP_IN_USE: float(shipping.store == "backup" or shipping.backup_holds),
        catalogue.JOURNAL_OTHERS: sum(wiring.other_journals.waiting().values()),
        catalogue.DATABASE_REPLACED: float(database_problem(wiring) is not None),
    }


def health_details(wiring: Wiring) -> dict[str, Any]:
    """Return what /health/detailed shows about the configuration, the usage records and the workers."""
    status = wiring.reloader.status
    shipping = wiring.shipper.status
    return {
        "config": {
            "version": status.version,
            "source": status.source,
            "refused_version": status.refused.version if status.refused else None,
            "faults": [str(fault) for fault in status.refused.faults] if status.refused else [],
            "error": status.error,
        },
        "usage": {
            # "primary", "backup", or "none": the records wait in the journal.
            "store": shipping.store,
            "backup_holds_records": shipping.backup_holds,
            "csv_copy": shipping.csv_copy,
            "backlog_bytes": wiring.shipper.backlog_bytes,
            "oldest_record_seconds": oldest_seconds(wiring),
            "other_databases": wiring.other_journals.waiting(),
            "lost": wiring.journal.lost,
            "rejected": wiring.shipper.rejected,
            "sync_failures": wiring.journal.sync_failures,
        },
        "process": process_details(wiring),
        "problems": problems(wiring),
    }


def database_problem(wiring: Wiring) -> str | None:
    """Return why the database is not used any more: its file was replaced, or an older state restored."""
    return wiring.storage.identity.problem or wiring.reloader.went_back


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
    version: int | None = None
    loop, files = LoopWatch(), OpenFilesWatch()
    while True:
        pause = loop.begin()
        try:
            update_breaker_gauge(wiring)
            wiring.deployment_states.update()
            update_process_metrics(wiring, loop, files)
            wiring.metrics.set_record_losses(wiring.journal.lost, wiring.shipper.rejected)
            wiring.metrics.set_sync_failures(wiring.journal.sync_failures)
            wiring.metrics.set_dropped_log_lines(wiring.access_log.dropped + standard_streams.dropped)
            if version != (version := wiring.reloader.status.version):
                wiring.metrics.configuration_changed()
        except Exception:  # noqa: BLE001 - the next second may be better
            logger.exception("The metrics of this second could not be set")
        await asyncio.sleep(pause)
        loop.end()
