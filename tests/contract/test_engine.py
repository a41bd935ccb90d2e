"""Connections of both stores: one state for a reader, all or nothing for a writer, outages by name."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from llm_gateway.flow.ports.catalog import StoreUnavailable
from tests.fakes.stores import opened


async def test_a_database_that_is_gone_is_named_without_a_password(data_dir: Path) -> None:
    with pytest.raises(StoreUnavailable) as gone:
        async with opened("postgresql://u:hunter2@127.0.0.1:1/x", data_dir):
            pass
    assert "hunter2" not in f"{gone.value!r} {gone.value.__cause__!r}"
    assert gone.value.status == 503


async def test_sqlite_is_set_up_to_wait_and_to_keep_what_was_committed(data_dir: Path) -> None:
    async with opened(None, data_dir) as store:
        assert await store.sql("PRAGMA journal_mode") == [("wal",)]
        assert await store.sql("PRAGMA foreign_keys") == [(1,)]
        assert (await store.sql("PRAGMA busy_timeout"))[0][0] >= 5000
        assert (data_dir / "llm-gateway.db").stat().st_mode & 0o777 == 0o600
        assert sqlite3.sqlite_version_info > (3, 35)
