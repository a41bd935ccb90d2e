"""Gauges of processes: summed or the worst of the live workers; a blocked worker's lag grows by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.infra.metrics.processes import (
    LoopWatch,
    OpenFilesWatch,
    ProcessGauges,
    full_collections,
    resident_bytes,
)
from llm_gateway.server.processes.metrics_directory import MetricsDirectory


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(gauges: ProcessGauges) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in gauges.collect()
        for sample in family.samples
    }


def test_some_gauges_are_summed_and_of_others_the_worst_worker_counts(tmp_path: Path, clock: Clock) -> None:
    first, second = (ProcessGauges(tmp_path, clock=clock) for _ in range(2))
    for gauges, number in ((first, 3), (second, 4)):
        gauges.set(catalogue.WORKERS, 1)
        gauges.set(catalogue.UPSTREAM_CONNECTIONS, number, "idle")
        gauges.set(catalogue.OPEN_FILES_USED, number / 10)
    expected = {
        ("llm_gateway_workers",): 2,
        ("llm_gateway_upstream_connections", "idle"): 7,
        ("llm_gateway_open_files_used_ratio",): 0.4,
    }
    assert shown(first) == shown(second) == expected
    assert first.highest()[catalogue.OPEN_FILES_USED] == 0.4
    assert first.highest()[catalogue.DATABASE_POOL_USED] == 0


def test_the_lag_of_a_worker_that_sets_nothing_any_more_grows(tmp_path: Path, clock: Clock) -> None:
    blocked, other = (ProcessGauges(tmp_path, clock=clock) for _ in range(2))
    blocked.set_lag(0.25, due=clock.now + 1)
    other.set_lag(0.0, due=clock.now + 1000)
    assert other.highest()[catalogue.LOOP_LAG] == 0.25
    clock.now += 31
    assert other.highest()[catalogue.LOOP_LAG] == 30
    blocked.set_lag(0.5, due=clock.now + 1)
    assert other.highest()[catalogue.LOOP_LAG] == 0.5


def test_a_dead_worker_leaves_no_gauge(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_GATEWAY_METRICS_DIRECTORY", raising=False)
    directory = MetricsDirectory(tmp_path)
    dead = ProcessGauges(directory.path, clock=clock)
    with monkeypatch.context() as patched:
        patched.setattr("os.getpid", lambda: 4711)
        dead.set(catalogue.WORKERS, 1)
        dead.set_lag(9.0, due=clock.now)
    alive = ProcessGauges(directory.path, clock=clock)
    alive.set(catalogue.WORKERS, 1)
    assert shown(alive) == {("llm_gateway_workers",): 2, ("llm_gateway_event_loop_lag_seconds",): 9}
    directory.forget_worker(4711)
    assert shown(alive) == {("llm_gateway_workers",): 1}
    directory.remove()


def test_a_damaged_file_is_counted_and_does_no_harm(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "process-1-1").write_bytes(b"\xff" * 100)
    gauges = ProcessGauges(tmp_path, clock=clock)
    gauges.set(catalogue.WORKERS, 1)
    assert shown(gauges) == {("llm_gateway_workers",): 1}
    assert gauges.unreadable == 1


def test_the_worst_of_the_last_fifteen_sleeps_counts(clock: Clock) -> None:
    watch = LoopWatch(clock=clock)
    for late in (0.0, 2.5, 0.1):
        clock.now += watch.begin() + late
        watch.end()
    assert watch.lag == pytest.approx(2.5)
    for _ in range(14):
        clock.now += watch.begin()
        watch.end()
    assert watch.lag == pytest.approx(0.1)
    assert watch.due == clock.now


def test_open_files_are_counted_once_in_ten_seconds(tmp_path: Path, clock: Clock) -> None:
    watch = OpenFilesWatch(tmp_path, clock=clock)
    for number in range(3):
        (tmp_path / str(number)).touch()
    watch.look()
    assert watch.number == 3
    assert 0 < watch.used_ratio < 1
    (tmp_path / "new").touch()
    watch.look()
    assert watch.number == 3
    clock.now += 10
    watch.look()
    assert watch.number == 4
    gone = OpenFilesWatch(tmp_path / "none", clock=clock)
    gone.look()
    assert gone.number == 0


def test_memory_and_collections_of_this_process(tmp_path: Path) -> None:
    assert resident_bytes() > 1_000_000
    assert resident_bytes(tmp_path / "none") > 1_000_000
    assert full_collections() >= 0
