"""Measures the workers, and names what is wrong with a running gateway now."""

from __future__ import annotations

from typing import Any

from sqlalchemy.pool import QueuePool

from llm_gateway.app.wiring import Wiring
from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger import served_lines
from llm_gateway.infra import shared_lock
from llm_gateway.infra.budgets import slot_holder
from llm_gateway.infra.metrics.processes import LoopWatch, OpenFilesWatch, resident_bytes
from llm_gateway.infra.upstream.http11 import quiet_relay, whole_chunks, whole_reply
from llm_gateway.providers.openai import quiet_run, usual_event
from llm_gateway.sockets import head_join, head_match, write_batch
from llm_gateway.wire import field_cutter, field_sizes

# From these numbers on something is wrong; the alerts in prometheus/rules/alerts.yml begin at the same ones.
LONGEST_LAG = 0.5
MOST_FILES = 0.8
MOST_OF_POOL = 0.9
MOST_OF_JOURNAL = 0.5
LONGEST_WAIT = 300.0


def update_process_metrics(wiring: Wiring, loop: LoopWatch, files: OpenFilesWatch) -> None:
    """Set the metrics of this process."""
    files.look()
    gauges = wiring.metrics.processes
    gauges.set(catalogue.WORKERS, 1)
    gauges.set_lag(loop.lag, loop.due)
    gauges.set(catalogue.MEMORY, resident_bytes())
    gauges.set(catalogue.OPEN_FILES, files.number)
    gauges.set(catalogue.OPEN_FILES_USED, files.used_ratio)
    for state, number in wiring.pool.connections().items():
        gauges.set(catalogue.UPSTREAM_CONNECTIONS, number, state)
    gauges.set(catalogue.DATABASE_POOL_USED, _pool_used(wiring))
    wiring.metrics.set_process_totals()


def _pool_used(wiring: Wiring) -> float:
    pool = wiring.storage.engine.sync_engine.pool
    if not isinstance(pool, QueuePool):
        return 0.0
    return pool.checkedout() / max(pool.size() + pool._max_overflow, 1)  # noqa: SLF001 - has no other name


def process_details(wiring: Wiring) -> dict[str, Any]:
    """Return what /health/detailed shows about the workers: of each number that of the worst one."""
    highest = wiring.metrics.processes.highest()
    return {
        "event_loop_lag_seconds": round(highest[catalogue.LOOP_LAG], 3),
        "open_files_used_ratio": round(highest[catalogue.OPEN_FILES_USED], 3),
        "database_pool_used_ratio": round(highest[catalogue.DATABASE_POOL_USED], 3),
        "stale_workers": list(stale_workers(wiring)),
        # What is there in C and in Python (docs/dependencies.md).
        "compiled": {
            "chunk_relay": quiet_relay.IS_COMPILED,
            "field_cutter": field_cutter.IS_COMPILED,
            "field_sizes": field_sizes.IS_COMPILED,
            "head_join": head_join.IS_COMPILED,
            "head_match": head_match.IS_COMPILED,
            "quiet_run": quiet_run.IS_COMPILED,
            "served_lines": served_lines.IS_COMPILED,
            "shared_lock": shared_lock.IS_COMPILED,
            "slot_holder": slot_holder.IS_COMPILED,
            "usual_event": usual_event.IS_COMPILED,
            "whole_chunks": whole_chunks.IS_COMPILED,
            "whole_reply": whole_reply.IS_COMPILED,
            "write_batch": write_batch.IS_COMPILED,
        },
    }


def stale_workers(wiring: Wiring) -> tuple[int, ...]:
    """Return the process ids of the workers that serve an older version than the newest one announced here."""
    registry = wiring.worker_registry
    return registry.stale_workers(registry.announced_version() - 1)


def oldest_seconds(wiring: Wiring) -> float | None:
    """Return for how long a usage record has waited for a database; None if none waits."""
    oldest = wiring.shipper.oldest_waiting()
    return None if oldest is None else round(max(wiring.clock.unix_us() - oldest, 0) / 1e6, 3)


def problems(wiring: Wiring) -> list[str]:
    """Return what is wrong now, apart from providers and from the catalog's faulty rows, as sentences."""
    return [*_usage_problems(wiring), *_config_problems(wiring), *_process_problems(wiring)]


def _usage_problems(wiring: Wiring) -> list[str]:
    found = []
    shipping = wiring.shipper.status
    if shipping.store == "none":
        found.append("No database takes usage records: they wait in the journal.")
    elif shipping.store == "backup" or shipping.backup_holds:
        found.append("Usage records are in the backup database, and wait there to be moved.")
    waits = oldest_seconds(wiring) or 0.0
    if waits > LONGEST_WAIT:
        found.append(f"A usage record has waited {waits:.0f} seconds for a database.")
    used = wiring.shipper.backlog_bytes / wiring.journal_max_bytes
    if used > MOST_OF_JOURNAL:
        found.append(f"The journal is {used:.0%} full.")
    if wiring.budgets.shares.is_away:
        found.append("Budgets cannot be borrowed from: the database does not answer.")
    return found


def _config_problems(wiring: Wiring) -> list[str]:
    found = []
    if wiring.reloader.status.error is not None:
        found.append(f"The configuration could not be read: {wiring.reloader.status.error}")
    if stale := stale_workers(wiring):
        found.append(f"Workers serve an old configuration: {', '.join(map(str, stale))}.")
    return found


def _process_problems(wiring: Wiring) -> list[str]:
    found = []
    highest = wiring.metrics.processes.highest()
    if (lag := highest[catalogue.LOOP_LAG]) > LONGEST_LAG:
        found.append(f"The event loop of a worker was {lag:.1f} seconds late.")
    if (files := highest[catalogue.OPEN_FILES_USED]) > MOST_FILES:
        found.append(f"A worker uses {files:.0%} of its limit of open files.")
    if (pool := highest[catalogue.DATABASE_POOL_USED]) >= MOST_OF_POOL:
        found.append(f"A worker uses {pool:.0%} of its pool of database connections.")
    return found
