"""How far the database has each file: what was stored is not sent again, unless that is not known."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.reader import JournalReader
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from tests.fakes.usage_records import InMemoryUsageStore, attempt, record

MB = 1024 * 1024


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of all sorts, most of them on disk
            await asyncio.sleep(0.005)


async def test_positions_that_are_torn_send_everything_again(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    journal.end(record("a"))
    first = Shipper(folder, store, SystemClock())
    first.start()
    assert await first.drain(5)
    positions = (folder / "shipped").read_bytes()
    (folder / "shipped").write_bytes(
        positions[:-3] + (b"1" if positions[-3:-2] == b"9" else b"9") + positions[-2:]
    )
    journal.end(record("b"))
    second = Shipper(folder, store, SystemClock())
    second.start()
    assert await second.drain(5)
    assert sum(store.calls) == 3
    assert store.rows.keys() == {"a", "b"}


async def test_positions_spare_the_next_shipper_what_is_stored(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    for name in "ab":
        journal.end(record(name))
        shipper = Shipper(folder, store, SystemClock())
        shipper.start()
        assert await shipper.drain(5)
    assert store.calls == [1, 1]


async def test_a_crash_between_the_store_and_the_positions_sends_the_same_again(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.end(record("a"))
    journal.begin(attempt("b"))

    async def crash(_reader: JournalReader) -> None:
        raise RuntimeError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(JournalReader, "commit", crash)
        first = Shipper(folder, store, SystemClock())
        first.start()
        await until(lambda: store.calls)
        await first.drain(0)
    journal.close()
    second = Shipper(folder, store, SystemClock())
    second.start()
    assert await second.drain(5)
    assert {key: row.outcome for key, row in store.rows.items()} == {"a": "ok", "b": "interrupted"}
