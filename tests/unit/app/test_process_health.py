"""What /health/detailed names as wrong, one thing at a time; nothing while all is well."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from llm_gateway.app.process_health import problems, process_details, stale_workers
from llm_gateway.app.wiring import Wiring
from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger import served_lines
from llm_gateway.infra import shared_lock
from llm_gateway.infra.budgets import slot_holder
from llm_gateway.infra.metrics.processes import ProcessGauges
from llm_gateway.infra.upstream.http11 import quiet_relay, whole_chunks, whole_reply
from llm_gateway.providers.openai import quiet_run, usual_event
from llm_gateway.sockets import head_join, head_match, write_batch
from llm_gateway.wire import field_cutter, field_sizes


class Registry:
    """Two workers, of which one may serve version 6 where the other announced 7."""

    def __init__(self) -> None:
        self.versions = {11: 7, 12: 7}

    def announced_version(self) -> int:
        return 7

    def stale_workers(self, version: int) -> tuple[int, ...]:
        return tuple(pid for pid, served in self.versions.items() if served < version + 1)


@pytest.fixture
def wiring() -> Any:
    return SimpleNamespace(
        clock=SimpleNamespace(unix_us=lambda: 1_000_000_000),
        shipper=SimpleNamespace(
            status=SimpleNamespace(store="primary", backup_holds=False),
            backlog_bytes=0,
            oldest_waiting=lambda: None,
        ),
        journal_max_bytes=1000,
        budgets=SimpleNamespace(shares=SimpleNamespace(is_away=False)),
        reloader=SimpleNamespace(status=SimpleNamespace(error=None)),
        worker_registry=Registry(),
        metrics=SimpleNamespace(processes=ProcessGauges(None)),
    )


def named(wiring: Any) -> list[str]:
    return problems(cast("Wiring", wiring))


def test_nothing_is_wrong_with_a_gateway_that_is_well(wiring: Any) -> None:
    gauges = wiring.metrics.processes
    gauges.set(catalogue.LOOP_LAG, 0.5)
    gauges.set(catalogue.OPEN_FILES_USED, 0.8)
    gauges.set(catalogue.DATABASE_POOL_USED, 0.89)
    wiring.shipper.backlog_bytes = 500
    wiring.shipper.oldest_waiting = lambda: 1_000_000_000 - 300_000_000
    assert named(wiring) == []


def test_each_thing_that_is_wrong_is_named(wiring: Any) -> None:
    gauges = wiring.metrics.processes
    gauges.set(catalogue.LOOP_LAG, 0.6)
    gauges.set(catalogue.OPEN_FILES_USED, 0.81)
    gauges.set(catalogue.DATABASE_POOL_USED, 0.9)
    wiring.shipper.status.store = "none"
    wiring.shipper.backlog_bytes = 510
    wiring.shipper.oldest_waiting = lambda: 1_000_000_000 - 301_000_000
    wiring.budgets.shares.is_away = True
    wiring.reloader.status.error = "no connection"
    wiring.worker_registry.versions[12] = 6
    assert named(wiring) == [
        "No database takes usage records: they wait in the journal.",
        "A usage record has waited 301 seconds for a database.",
        "The journal is 51% full.",
        "Budgets cannot be borrowed from: the database does not answer.",
        "The configuration could not be read: no connection",
        "Workers serve an old configuration: 12.",
        "The event loop of a worker was 0.6 seconds late.",
        "A worker uses 81% of its limit of open files.",
        "A worker uses 90% of its pool of database connections.",
    ]


@pytest.mark.parametrize(("store", "holds"), [("backup", False), ("primary", True)])
def test_a_backup_that_is_used_is_named(wiring: Any, store: str, holds: bool) -> None:
    wiring.shipper.status = SimpleNamespace(store=store, backup_holds=holds)
    assert named(wiring) == ["Usage records are in the backup database, and wait there to be moved."]


def test_the_details_are_those_of_the_worst_worker(wiring: Any) -> None:
    wiring.metrics.processes.set(catalogue.LOOP_LAG, 0.12345)
    wiring.worker_registry.versions[11] = 5
    assert process_details(cast("Wiring", wiring)) == {
        "event_loop_lag_seconds": 0.123,
        "open_files_used_ratio": 0,
        "database_pool_used_ratio": 0,
        "stale_workers": [11],
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
    assert stale_workers(cast("Wiring", wiring)) == (11,)
