"""Writes the note of a config version: who made it, and what it changed. Editors wait for one another."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from llm_gateway.flow.config.rows.history import VersionNote
from llm_gateway.infra.database import tables
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection


async def wait_for_other_editors(connection: AsyncConnection) -> None:
    """Take the lock that every change of the catalog takes in its trigger, before any row's: no deadlocks."""
    if connection.dialect.name != "postgresql":
        return  # BEGIN IMMEDIATE has it.
    # A gateway that is frozen half-way must not keep all others from editing.
    await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '15s'")
    await connection.execute(sa.select(tables.config_state.c.version).with_for_update())


async def write_note(connection: AsyncConnection, version: int, note: VersionNote) -> None:
    """Store the note of a version."""
    row = {
        "version": version,
        "created_at": note.created_at,
        "actor": note.actor,
        "action": note.action,
        "changes": msgspec.to_builtins(note.changes),
    }
    await connection.execute(sa.insert(tables.config_versions).values(row))
