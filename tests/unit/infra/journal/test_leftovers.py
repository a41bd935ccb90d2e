"""A journal that nobody ships can be moved to another folder, whole, and be measured."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.leftovers import move_journal, unshipped_bytes
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from tests.fakes.usage_records import InMemoryUsageStore, attempt, record

MB = 1024 * 1024


def write(folder: Path, *ended: str, begun: str | None = None) -> None:
    """Write a journal as a process that is gone has left it."""
    journal = FileJournal(folder, 64 * MB, SystemClock())
    for request_id in ended:
        journal.begin(attempt(request_id))
        journal.end(record(request_id))
    if begun is not None:
        journal.begin(attempt(begun))
    journal.close()


async def ship(folder: Path) -> dict[str, str]:
    store = InMemoryUsageStore()
    shipper = Shipper(folder, store, SystemClock())
    shipper.start()
    assert await shipper.flush(10)
    await shipper.drain(5)
    return {request_id: row.outcome for request_id, row in store.rows.items()}


@pytest.mark.parametrize("target_exists", [False, True])
async def test_a_moved_journal_is_shipped_whole(tmp_path: Path, target_exists: bool) -> None:
    old, new = tmp_path / "journal", tmp_path / "databases" / "aa11" / "journal"
    write(old, "a", "b", begun="open")
    (old / "rejected.jsonl").write_text("{}\n")
    expected = {"a": "ok", "b": "ok", "open": "interrupted"}
    if target_exists:
        write(new, "c")
        expected["c"] = "ok"
    assert move_journal(old, new)
    assert not old.exists()
    assert [path.read_text() for path in new.glob("rejected*.jsonl")] == ["{}\n"]
    assert await ship(new) == expected


async def test_a_journal_that_is_shipped_stays(tmp_path: Path) -> None:
    old, new = tmp_path / "journal", tmp_path / "new"
    write(old, "a")
    shipper = Shipper(old, InMemoryUsageStore(), SystemClock())
    shipper.start()
    while not shipper.elected:  # noqa: ASYNC110 - nothing tells of an election
        await asyncio.sleep(0.01)
    assert not move_journal(old, new)
    assert old.is_dir()
    assert not new.exists()
    await shipper.drain(5)
    assert move_journal(old, new)


def test_a_journal_that_another_worker_has_moved_is_moved(tmp_path: Path) -> None:
    assert move_journal(tmp_path / "journal", tmp_path / "new")


async def test_what_waits_is_what_is_not_shipped(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    assert unshipped_bytes(folder) == 0
    write(folder, "a")
    waiting = unshipped_bytes(folder)
    assert waiting == sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    write(folder, "b")
    assert unshipped_bytes(folder) > waiting
    shipper = Shipper(folder, InMemoryUsageStore(), SystemClock())
    shipper.start()
    while not shipper.elected:  # noqa: ASYNC110 - nothing tells of an election
        await asyncio.sleep(0.01)
    assert unshipped_bytes(folder) == 0, "somebody ships it"
    await shipper.drain(5)
    assert unshipped_bytes(folder) == 0
