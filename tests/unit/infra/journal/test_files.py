"""The journal's folder: which files count, and whose process is alive."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_gateway.infra.journal.files import (
    JournalFile,
    forget,
    is_dead,
    journal_path,
    read_folder,
    start_incarnation,
    try_lock,
    used_bytes,
)


@pytest.fixture
def opened() -> Iterator[list[int]]:
    """Files to close after the test."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_files_are_grouped_by_incarnation_and_sorted_by_number(tmp_path: Path) -> None:
    for name, size in [("20-7.000002.jsonl", 3), ("20-7.000010.jsonl", 5), ("100-7.000001.jsonl", 7)]:
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "20-7.1000000.jsonl").write_bytes(b"")
    folder = read_folder(tmp_path)
    assert [file.sequence for file in folder.incarnations["20-7"]] == [2, 10, 1_000_000]
    assert folder.incarnations["100-7"] == [JournalFile("100-7.000001.jsonl", "100-7", 1, 7)]
    assert len(folder.files()) == 4
    assert used_bytes(tmp_path) == 15


def test_a_lock_or_an_unfinished_file_is_an_incarnation_without_files(tmp_path: Path) -> None:
    (tmp_path / "1-2.lock").touch()
    (tmp_path / "3-4.000001.new").write_bytes(b"unfinished")
    folder = read_folder(tmp_path)
    assert folder.incarnations == {"1-2": [], "3-4": []}
    assert (folder.files(), used_bytes(tmp_path)) == ([], 0)


@pytest.mark.parametrize(
    "name",
    ["positions", "rejected.jsonl", "1-2.jsonl", "1-2.000001.jsonl.bak", "x-2.000001.jsonl", "1-2.lock~"],
)
def test_files_of_other_names_are_ignored(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"{}\n")
    assert read_folder(tmp_path).incarnations == {}


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_folder(tmp_path / "missing")


def test_the_path_of_a_file_says_whether_it_is_finished(tmp_path: Path) -> None:
    assert journal_path(tmp_path, "1-2", 3) == tmp_path / "1-2.000003.jsonl"
    assert journal_path(tmp_path, "1-2", 3, finished=False) == tmp_path / "1-2.000003.new"


def test_a_path_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    journal_path(tmp_path, "1-2", 3).write_bytes(b"{}\n")
    [file] = read_folder(tmp_path).files()
    assert (file.incarnation, file.sequence, file.size) == ("1-2", 3, 3)


def test_an_incarnation_is_alive_while_its_lock_is_held(tmp_path: Path) -> None:
    incarnation, lock = start_incarnation(tmp_path, 1_000)
    assert incarnation == f"1000-{os.getpid()}"
    assert not is_dead(tmp_path, incarnation)
    os.close(lock)
    assert is_dead(tmp_path, incarnation)


def test_an_incarnation_without_a_lock_file_is_dead(tmp_path: Path) -> None:
    assert is_dead(tmp_path, "1-2")
    assert list(tmp_path.iterdir()) == []


def test_an_incarnation_that_started_at_the_same_time_gets_the_next_name(
    tmp_path: Path, opened: list[int]
) -> None:
    names = []
    for _ in range(3):
        name, lock = start_incarnation(tmp_path, 1_000)
        names.append(name)
        opened.append(lock)
    assert names == [f"{number}-{os.getpid()}" for number in (1_000, 1_001, 1_002)]


def test_a_lock_that_was_deleted_before_it_was_taken_is_not_used(
    tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may take the new lock file for that of a dead one, and delete it."""
    flock = fcntl.flock
    deleted: list[str] = []

    def delete_first(file: int, how: int) -> None:
        if not deleted:
            [path] = tmp_path.glob("*.lock")
            path.unlink()
            deleted.append(path.stem)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    incarnation, lock = start_incarnation(tmp_path, 1_000)
    opened.append(lock)
    assert deleted == [f"1000-{os.getpid()}"]
    assert incarnation == f"1001-{os.getpid()}"
    assert not is_dead(tmp_path, incarnation)


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    second = try_lock(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_a_lock_that_is_not_available_leaves_no_file_open(tmp_path: Path, opened: list[int]) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    opened.append(first)
    before = set(Path("/proc/self/fd").iterdir())
    assert try_lock(tmp_path / "lock") is None
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_dead_incarnation_is_forgotten_with_its_unfinished_files(tmp_path: Path) -> None:
    incarnation, lock = start_incarnation(tmp_path, 1_000)
    journal_path(tmp_path, incarnation, 1, finished=False).touch()
    os.close(lock)
    forget(tmp_path, incarnation)
    assert list(tmp_path.iterdir()) == []
    # Another process may have done it already.
    forget(tmp_path, incarnation)


def test_a_dead_incarnation_with_records_is_not_forgotten(tmp_path: Path) -> None:
    incarnation, lock = start_incarnation(tmp_path, 1_000)
    journal_path(tmp_path, incarnation, 1).write_bytes(b"{}\n")
    journal_path(tmp_path, incarnation, 2, finished=False).touch()
    os.close(lock)
    before = sorted(tmp_path.iterdir())
    forget(tmp_path, incarnation)
    assert sorted(tmp_path.iterdir()) == before
    journal_path(tmp_path, incarnation, 1).unlink()
    forget(tmp_path, incarnation)
    assert list(tmp_path.iterdir()) == []


def test_a_live_incarnation_is_not_forgotten(tmp_path: Path, opened: list[int]) -> None:
    incarnation, lock = start_incarnation(tmp_path, 1_000)
    opened.append(lock)
    journal_path(tmp_path, incarnation, 1, finished=False).touch()
    forget(tmp_path, incarnation)
    assert len(list(tmp_path.iterdir())) == 2


def test_forgetting_one_incarnation_leaves_the_others(tmp_path: Path, opened: list[int]) -> None:
    gone, lock = start_incarnation(tmp_path, 1_000)
    os.close(lock)
    other, lock = start_incarnation(tmp_path, 2_000)
    opened.append(lock)
    journal_path(tmp_path, other, 1, finished=False).touch()
    forget(tmp_path, gone)
    assert read_folder(tmp_path).incarnations.keys() == {other}
    assert journal_path(tmp_path, other, 1, finished=False).exists()
