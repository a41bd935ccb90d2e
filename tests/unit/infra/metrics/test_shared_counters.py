"""Counters of several processes: a crash loses nothing, and no entry is read half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_gateway.infra.metrics.shared_counters import CHUNK, SharedCounters


def totals(counters: SharedCounters) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for key, cells in counters.all():
        found[key] = found.get(key, 0) + cells[1]
    return found


@pytest.mark.parametrize("shared", [True, False])
def test_a_key_has_one_set_of_cells_that_starts_at_zero(tmp_path: Path, shared: bool) -> None:
    counters = SharedCounters(3, tmp_path if shared else None)
    cells = counters.cells(("a", "b"))
    assert [cells[index] for index in range(3)] == [0, 0, 0]
    cells[1] += 2.5
    counters.cells(("a", "b"))[1] += 1
    counters.cells(("a", "\u00e9"))[1] += 7
    assert totals(counters) == {("a", "b"): 3.5, ("a", "\u00e9"): 7}


def test_the_counts_of_a_dead_process_stay_readable(tmp_path: Path) -> None:
    mine = SharedCounters(2, tmp_path)
    mine.cells(("k",))[1] += 1
    pid = os.fork()
    if pid == 0:
        theirs = SharedCounters(2, tmp_path)
        for number in range(500):
            theirs.cells(("k",))[1] += 1
            theirs.cells((f"n{number}",))[1] += number
        os._exit(0)
    os.waitpid(pid, 0)
    found = totals(mine)
    assert found.pop(("k",)) == 501
    assert found == {(f"n{number}",): number for number in range(500)}


def test_keys_in_many_chunks_are_all_found(tmp_path: Path) -> None:
    counters = SharedCounters(50, tmp_path)
    for number in range(1000):
        counters.cells((str(number), "x" * (number % 300)))[1] += number
    assert sum(totals(counters).values()) == sum(range(1000))
    [file] = tmp_path.iterdir()
    assert file.stat().st_size % CHUNK == 0
    assert file.stat().st_size > 3 * CHUNK


def test_a_full_disk_costs_the_counts_only(tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    counters = SharedCounters(2, tmp_path, allocate=full)
    counters.cells(("k",))[1] += 1
    assert totals(counters) == {}
