"""Rows of numbers that several processes add to: nothing is lost by a death, and nothing is read half-made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_gateway.infra.metrics import shared_counters as module
from llm_gateway.infra.metrics.shared_counters import SharedCounters


def totals(tallies: SharedCounters) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for key, row in tallies.all():
        found[key] = found.get(key, 0) + row[1]
    return found


@pytest.mark.parametrize("shared", [True, False])
def test_a_key_has_one_row_that_starts_with_noughts(tmp_path: Path, shared: bool) -> None:
    tallies = SharedCounters(3, tmp_path if shared else None)
    row = tallies.row(("a", "b"))
    assert [row[index] for index in range(3)] == [0, 0, 0]
    row[1] += 2.5
    tallies.row(("a", "b"))[1] += 1
    tallies.row(("a", "\u00e9"))[1] += 7
    assert totals(tallies) == {("a", "b"): 3.5, ("a", "\u00e9"): 7}


def test_what_a_killed_process_had_counted_is_there_for_the_others(tmp_path: Path) -> None:
    mine = SharedCounters(2, tmp_path)
    mine.row(("k",))[1] += 1
    pid = os.fork()
    if pid == 0:
        theirs = SharedCounters(2, tmp_path)
        for number in range(500):
            theirs.row(("k",))[1] += 1
            theirs.row((f"n{number}",))[1] += number
        os._exit(0)
    os.waitpid(pid, 0)
    found = totals(mine)
    assert found.pop(("k",)) == 501
    assert found == {(f"n{number}",): number for number in range(500)}


def test_rows_of_many_chunks_are_all_found(tmp_path: Path) -> None:
    tallies = SharedCounters(50, tmp_path)
    for number in range(1000):
        tallies.row((str(number), "x" * (number % 300)))[1] += number
    assert sum(totals(tallies).values()) == sum(range(1000))
    [file] = tmp_path.iterdir()
    assert file.stat().st_size % module._CHUNK == 0
    assert file.stat().st_size > 3 * module._CHUNK


def test_without_room_on_the_disk_requests_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "allocate", full)
    tallies = SharedCounters(2, tmp_path)
    tallies.row(("k",))[1] += 1
    assert totals(tallies) == {}
