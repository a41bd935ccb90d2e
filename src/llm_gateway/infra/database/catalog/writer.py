"""Writes the catalog's rows, one transaction an edit (implements CatalogStore and CatalogEdit)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.errors import Conflict
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows import Answer, CatalogEdit, Entry, Fields, Row, entry_type
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.entries import find_entry, list_entries, table_of
from llm_gateway.infra.database.catalog.rows import read_stored, secret_place
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.secrets.env_references import is_reference
from llm_gateway.infra.secrets.vault import Vault


class CatalogRows:
    """The catalog's rows in the database."""

    def __init__(self, engine: AsyncEngine, vault: Vault, opener: CatalogDecoder, clock: Clock) -> None:
        """Write over `engine`; seal under `vault`; open what was written with `opener`; stamp by `clock`."""
        self._engine = engine
        self._vault = vault
        self._opener = opener
        self._clock = clock
        # Editors of this process wait here: waiting in the database would take all of the pool's connections.
        self._turn = asyncio.Lock()

    async def edit(self, change: Callable[[CatalogEdit], Awaitable[Answer]]) -> Answer:
        """Run `change` in one transaction, after every other editor's; commit when it returns."""
        async with self._turn, writing(self._engine) as connection:
            await _wait_for_other_editors(connection)
            return await change(_Edit(connection, self._vault, self._opener, self._clock.unix_us()))

    async def list(self, entry: type[Row], after: int, limit: int) -> list[Row]:
        """Return up to `limit` rows with ids above `after`, by id."""
        async with reading(self._engine) as connection:
            return await list_entries(connection, entry, after, limit, self._vault)

    async def find(self, entry: type[Row], ref: int | str) -> Row | None:
        """Return the row with this id, or with this name or provider_key."""
        async with reading(self._engine) as connection:
            return await find_entry(connection, entry, ref, self._vault)


class _Edit:
    """One open transaction (implements CatalogEdit)."""

    def __init__(
        self, connection: AsyncConnection, vault: Vault, opener: CatalogDecoder, now_us: int
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._opener = opener
        self._now = now_us

    async def find(self, entry: type[Row], ref: int | str) -> Row | None:
        return await find_entry(self._connection, entry, ref, self._vault)

    async def add(self, fields: Fields[Any]) -> int:
        table = table_of(entry_type(fields))
        row_id = await _fresh_id(self._connection, table)
        stamps = {"id": row_id, "created_at": self._now, "updated_at": self._now}
        await self._write(sa.insert(table).values({**self._values(table, row_id, fields), **stamps}), fields)
        return row_id

    async def change(self, row_id: int, fields: Fields[Any]) -> None:
        table = table_of(entry_type(fields))
        values = {**self._values(table, row_id, fields), "updated_at": self._now}
        await self._write(sa.update(table).where(table.c.id == row_id).values(values), fields)

    async def remove(self, entry: type[Entry], row_id: int) -> None:
        table = table_of(entry)
        await self._connection.execute(sa.delete(table).where(table.c.id == row_id))

    async def catalog(self) -> Catalog:
        return await asyncio.to_thread(self._opener.open, await read_stored(self._connection))

    async def note(self, version: int, actor: str, action: str) -> None:
        row = {"version": version, "created_at": self._now, "actor": actor, "action": action}
        await self._connection.execute(sa.insert(tables.config_versions).values(row))

    def _values(self, table: sa.Table, row_id: int, fields: Fields[Any]) -> dict[str, Any]:
        """Return what is set in `fields` as the columns take it: secrets sealed, JSON as plain values."""
        given = {name: getattr(fields, name) for name in fields.__struct_fields__}
        values = {name: value for name, value in given.items() if value is not UNSET}
        for name, value in values.items():
            if isinstance(value, Secret):
                text = value.reveal()
                place = secret_place(row_id)
                values[name] = text if is_reference(text) else self._vault.seal(text.encode(), place)
            elif isinstance(table.c[name].type, sa.JSON):
                values[name] = msgspec.to_builtins(value)
        return values

    async def _write(self, statement: sa.Insert | sa.Update, fields: Fields[Any]) -> None:
        try:
            await self._connection.execute(statement)
        except IntegrityError as error:
            if not _is_duplicate(error):
                raise
            raise _taken(fields) from None


def _is_duplicate(error: IntegrityError) -> bool:
    driver = error.driver_exception
    return (
        getattr(driver, "sqlstate", None) == "23505"
        or getattr(driver, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE"
    )


def _taken(fields: Fields[Any]) -> Conflict:
    """Say what a row of this sort may share with no other; a client's key is not repeated."""
    noun = entry_type(fields).noun
    for param in ("provider_key", "key_hash", "name"):
        value = getattr(fields, param, UNSET)
        if param == "key_hash" and value is not UNSET:
            return Conflict(f"A {noun} with this key exists already", param="key")
        if value is not UNSET:
            return Conflict(f"A {noun} with {param} {value!r} exists already", param=param)
    return Conflict(f"Such a {noun} exists already")


async def _wait_for_other_editors(connection: AsyncConnection) -> None:
    """Take the lock that every change of the catalog takes in its trigger, before any row's: no deadlocks."""
    if connection.dialect.name != "postgresql":
        return  # BEGIN IMMEDIATE has it.
    # A gateway that is frozen half-way must not keep all others from editing.
    await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '15s'")
    await connection.execute(sa.select(tables.config_state.c.version).with_for_update())


async def _fresh_id(connection: AsyncConnection, table: sa.Table) -> int:
    """Return an id that no row of `table` ever had: the sealed secret is bound to it before the row is there."""
    if connection.dialect.name == "postgresql":
        # Rows that were inserted by hand with ids of their own are stepped over.
        above = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0) + 1).scalar_subquery()
        sequence = sa.cast(sa.func.pg_get_serial_sequence(table.name, "id"), postgresql.REGCLASS)
        fresh = sa.func.setval(sequence, sa.func.greatest(sa.func.nextval(sequence), above))
        return int((await connection.execute(sa.select(fresh))).scalar_one())
    last = await connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,))
    return int(last.scalar() or 0) + 1
