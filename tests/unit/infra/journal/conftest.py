"""A journal in a folder, a store in memory, and the shipper between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from tests.fakes.usage_records import InMemoryUsageStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def store() -> InMemoryUsageStore:
    return InMemoryUsageStore()


@pytest.fixture
def journal(folder: Path) -> Iterator[FileJournal]:
    journal = FileJournal(folder, 64 * 1024 * 1024, SystemClock())
    yield journal
    journal.close()


@pytest.fixture
async def shipper(folder: Path, store: InMemoryUsageStore) -> AsyncIterator[Shipper]:
    shipper = Shipper(folder, store, SystemClock())
    shipper.start()
    yield shipper
    await shipper.drain(0)
