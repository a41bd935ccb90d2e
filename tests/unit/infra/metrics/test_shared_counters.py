"""Counters of several processes: a crash loses nothing, and no entry is read half-written."""

from __future__ import annotations

import os
import struct
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
    assert totals(counters) == {("k",): 1}
    assert list(tmp_path.iterdir()) == []


def test_labels_that_fit_no_file_are_counted_alone(tmp_path: Path) -> None:
    counters = SharedCounters(2, tmp_path)
    counters.cells(("k" * CHUNK,))[1] += 1
    counters.cells(("k",))[1] += 2
    assert totals(counters) == {("k" * CHUNK,): 1, ("k",): 2}


@pytest.mark.parametrize("kind", ["missing", "a file", "read-only"])
def test_a_folder_that_cannot_be_written_costs_the_sharing_only(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    if kind == "a file":
        folder.touch()
    if kind == "read-only":
        folder.symlink_to("/proc/self/fdinfo")
    counters = SharedCounters(2, folder)
    counters.cells(("k",))[1] += 1
    counters.cells(("l",))[1] += 2
    assert totals(counters) == {("k",): 1, ("l",): 2}


def entry(size: int, key_size: int, rest: bytes) -> bytes:
    return struct.pack("qq", size, key_size) + rest


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\xff" * 100,
        bytes(range(256)) * (CHUNK // 256),
        entry(2**62, 3, b"abc"),
        entry(-8, 3, b"abc"),
        entry(64, 2**62, b"abc"),
        entry(64, -1, b"abc"),
        entry(40, 3, b"{}x" + b"\0" * 21),
        entry(40, 3, b"\xff\xfe\xfd" + b"\0" * 21),
        entry(8, 0, b"\0" * 100),
        entry(17, 1, b"\0" * 100),
    ],
    ids=lambda content: f"{len(content)} bytes {content[:12].hex()}",
)
def test_a_broken_file_is_skipped_and_counted(tmp_path: Path, content: bytes) -> None:
    theirs = SharedCounters(2, tmp_path)
    theirs.cells(("k",))[1] += 1
    (tmp_path / "counters-0-broken").write_bytes(content)
    (tmp_path / "counters-1-folder").mkdir()
    (tmp_path / "counters-2-dangling").symlink_to("nowhere")
    mine = SharedCounters(2, tmp_path)
    assert totals(mine) == {("k",): 1}
    # A folder and a broken file; what a link points to may have been removed.
    assert mine.unreadable == 2


def test_what_is_no_file_of_a_worker_is_not_read(tmp_path: Path) -> None:
    """A pipe blocks its reader for ever, and a file may seem to be larger than the memory."""
    mine = SharedCounters(2, tmp_path)
    mine.cells(("k",))[1] += 1
    os.mkfifo(tmp_path / "counters-1-1")
    with (tmp_path / "counters-1-2").open("wb") as file:
        file.truncate(2**40)
    (tmp_path / "counters-1-3").symlink_to("/dev/zero")
    (tmp_path / "counters-1-4").mkdir()
    assert totals(mine) == {("k",): 1}
    assert mine.unreadable == 4


def test_what_a_truncated_file_still_holds_is_read(tmp_path: Path) -> None:
    theirs = SharedCounters(2, tmp_path)
    for number in range(100):
        theirs.cells((str(number),))[1] += 1
    [file] = tmp_path.iterdir()
    (tmp_path / "counters-0-cut").write_bytes(file.read_bytes()[:1001])
    file.unlink()
    mine = SharedCounters(2, tmp_path)
    found = totals(mine)
    assert 10 < len(found) < 100
    assert set(found.values()) == {1}
    assert mine.unreadable == 1


def test_a_file_appears_with_its_first_chunk(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look(file: int, start: int, length: int) -> None:
        seen.append([path.name for path in tmp_path.glob("counters-*")])
        os.truncate(file, start + length)

    SharedCounters(2, tmp_path, allocate=look).cells(("k",))
    assert seen == [[]]
    assert len(list(tmp_path.glob("counters-*"))) == 1
