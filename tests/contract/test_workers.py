"""What every registry of workers keeps to, in shared memory and in the fake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.infra.worker_registry import FileWorkerRegistry
from tests.fakes.worker_registry import FakeWorkerRegistry


@pytest.fixture(params=["file", "fake"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkerRegistry]:
    if request.param == "fake":
        yield FakeWorkerRegistry()
        return
    registry = FileWorkerRegistry(tmp_path)
    yield registry
    registry.close()


def test_the_highest_announced_version_stays(registry: WorkerRegistry) -> None:
    assert registry.announced_version() == 0
    for version, highest in [(3, 3), (7, 7), (5, 7)]:
        registry.announce_version(version)
        assert registry.announced_version() == highest


def test_a_worker_that_published_nothing_is_not_stale(registry: WorkerRegistry) -> None:
    registry.announce_version(9)
    assert registry.stale_workers(9) == ()


def test_a_worker_is_stale_until_it_serves_the_version(registry: WorkerRegistry) -> None:
    registry.publish_version(4)
    assert registry.stale_workers(4) == ()
    assert len(registry.stale_workers(5)) == 1
    registry.publish_version(5)
    assert registry.stale_workers(5) == ()


def test_a_worker_is_listed_with_what_it_serves(registry: WorkerRegistry) -> None:
    (worker,) = registry.workers()
    assert (worker.pid, worker.version, worker.active) == (os.getpid(), None, 0)
    assert worker.started_at is not None
    registry.publish_version(0)
    registry.try_enter(1)
    (served,) = registry.workers()
    assert served == msgspec.structs.replace(worker, version=0, active=1)


def test_requests_enter_up_to_the_limit(registry: WorkerRegistry) -> None:
    assert [registry.try_enter(2) for _ in range(3)] == [True, True, False]
    assert registry.active() == 2
    registry.leave()
    assert registry.active() == 1
    assert registry.try_enter(2)


def test_a_rejected_request_is_not_counted(registry: WorkerRegistry) -> None:
    assert not registry.try_enter(0)
    assert registry.active() == 0


def test_leaving_without_entering_makes_no_room(registry: WorkerRegistry) -> None:
    registry.leave()
    assert registry.active() == 0
    assert [registry.try_enter(1), registry.try_enter(1)] == [True, False]
