"""Runs SQL in a gateway's store behind its back, as an operator with a database client does."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from tests.e2e.gateway_process import GatewayProcess
from tests.services import run_alone


def run_sql(gateway: GatewayProcess, statement: str) -> Sequence[Sequence[Any]]:
    """Run one statement in the store of `gateway` and return its rows."""
    url = gateway.settings.get("DB_URL")
    if url is None:
        return _run_sqlite(Path(gateway.settings["DATA_DIR"]), statement)

    async def work() -> Sequence[Sequence[Any]]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            rows: Sequence[Sequence[Any]] = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    return run_alone(work())


def _run_sqlite(data_dir: Path, statement: str) -> Sequence[Sequence[Any]]:
    (file,) = [path for path in data_dir.iterdir() if path.suffix in {".db", ".sqlite", ".sqlite3"}]
    with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
        return connection.execute(statement).fetchall()
