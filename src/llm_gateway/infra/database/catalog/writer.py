"""Writes the catalog's rows, one transaction an edit (implements CatalogStore and CatalogEdit)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.exc import IntegrityError

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.errors import Conflict
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import Row, RowUpdate, StoredRow, stored_type
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.history import VersionNote, record_changes
from llm_gateway.flow.config.rows.store import Answer, CatalogEdit, CatalogStore, Versioned
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.catalog.admin_rows import find_row, list_rows, table_of
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.providers import secret_associated_data
from llm_gateway.infra.database.catalog.stored_catalog import read_stored, read_version
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.first_fill import had_providers, read_first_fill
from llm_gateway.infra.database.history.noting import wait_for_other_editors, write_note
from llm_gateway.infra.secrets.env_references import is_reference
from llm_gateway.infra.secrets.vault import Vault
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

# Changes of one transaction that its note names.
_MOST_NOTED = 100


class CatalogRows(CatalogStore):
    """The catalog's rows in the database."""

    def __init__(self, engine: AsyncEngine, vault: Vault, decoder: CatalogDecoder, clock: Clock) -> None:
        """Seal secrets with `vault`, read back with `decoder` what was written, stamp rows by `clock`."""
        self._engine = engine
        self._vault = vault
        self._decoder = decoder
        self._clock = clock
        # Editors of this process wait here: waiting in the database would take all of the pool's connections.
        self._one_at_a_time = asyncio.Lock()

    async def edit(
        self, change: Callable[[CatalogEdit], Awaitable[Answer]], *, dry_run: bool = False
    ) -> Answer:
        async with self._one_at_a_time, writing(self._engine, rollback=dry_run) as connection:
            await wait_for_other_editors(connection)
            based_on = await read_version(connection)
            now = self._clock.unix_us()
            return await change(_Edit(connection, self._vault, self._decoder, now, based_on, dry_run=dry_run))

    async def list(
        self, stored: type[Row], after: int, limit: int, search: str | None = None
    ) -> Versioned[list[Row]]:
        async with reading(self._engine) as connection:
            version = await read_version(connection)
            return Versioned(await list_rows(connection, stored, after, limit, self._vault, search), version)

    async def find(self, stored: type[Row], ref: int | str) -> Versioned[Row | None]:
        async with reading(self._engine) as connection:
            version = await read_version(connection)
            return Versioned(await find_row(connection, stored, ref, self._vault), version)


class _Edit(CatalogEdit):
    """One open transaction."""

    def __init__(
        self,
        connection: AsyncConnection,
        vault: Vault,
        decoder: CatalogDecoder,
        now_us: int,
        based_on: int,
        *,
        dry_run: bool,
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._decoder = decoder
        self._now = now_us
        self._based_on = based_on
        self._dry_run = dry_run

    async def version(self) -> int:
        return await read_version(self._connection)

    def now(self) -> int:
        return self._now

    async def find(self, stored: type[Row], ref: int | str) -> Row | None:
        return await find_row(self._connection, stored, ref, self._vault)

    async def add(self, update: RowUpdate[Any]) -> int:
        table = table_of(stored_type(update))
        row_id = await _fresh_id(self._connection, table, reserve=not self._dry_run)
        stamps = {"id": row_id, "created_at": self._now, "updated_at": self._now}
        await self._write(sa.insert(table).values({**self._values(table, row_id, update), **stamps}), update)
        return row_id

    async def change(self, row_id: int, update: RowUpdate[Any]) -> None:
        table = table_of(stored_type(update))
        values = {**self._values(table, row_id, update), "updated_at": self._now}
        await self._write(sa.update(table).where(table.c.id == row_id).values(values), update)

    async def remove(self, stored: type[StoredRow], row_id: int) -> None:
        table = table_of(stored)
        await self._connection.execute(sa.delete(table).where(table.c.id == row_id))

    async def catalog(self) -> Catalog:
        return await asyncio.to_thread(self._decoder.decode, await read_stored(self._connection))

    async def note(self, version: int, *changes: Change) -> None:
        action = "; ".join(change.note() for change in changes[:_MOST_NOTED])
        if len(changes) > _MOST_NOTED:
            action += f"; and {len(changes) - _MOST_NOTED} more"
        note = VersionNote(
            created_at=self._now,
            actor=changes[0].actor,
            action=action,
            changes=record_changes(changes, self._based_on),
        )
        await write_note(self._connection, version, note)

    async def first_fill(self) -> str | None:
        return await read_first_fill(self._connection)

    async def had_providers(self) -> bool:
        return await had_providers(self._connection)

    async def mark_filled(self, source: str) -> None:
        if await self.first_fill() is None:
            row = {"id": 1, "filled_at": self._now, "source": source}
            await self._connection.execute(sa.insert(tables.first_fill).values(row))

    def _values(self, table: sa.Table, row_id: int, update: RowUpdate[Any]) -> dict[str, Any]:
        """Return what is set in `update` as the columns take it: secrets sealed, JSON as plain values."""
        values = update.given()
        for name, value in values.items():
            if isinstance(value, Secret):
                text = value.reveal()
                bound_to = secret_associated_data(row_id)
                values[name] = text if is_reference(text) else self._vault.seal(text.encode(), bound_to)
            elif isinstance(table.c[name].type, sa.JSON):
                values[name] = msgspec.to_builtins(value)
        return values

    async def _write(self, statement: sa.Insert | sa.Update, update: RowUpdate[Any]) -> None:
        try:
            await self._connection.execute(statement)
        except IntegrityError as error:
            if not _is_duplicate(error):
                raise
            raise _taken(update) from None


def _is_duplicate(error: IntegrityError) -> bool:
    driver = error.driver_exception
    return (
        getattr(driver, "sqlstate", None) == "23505"
        or getattr(driver, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE"
    )


def _taken(update: RowUpdate[Any]) -> Conflict:
    """Return the error that names the value another row has already; a client's key is not repeated."""
    resource = stored_type(update).resource
    for param in ("provider_key", "key_hash", "name"):
        value = getattr(update, param, UNSET)
        if param == "key_hash" and value is not UNSET:
            return Conflict(f"A {resource} with this key exists already", param="key")
        if value is not UNSET:
            return Conflict(f"A {resource} with {param} {value!r} exists already", param=param)
    return Conflict(f"Such a {resource} exists already")


async def _fresh_id(connection: AsyncConnection, table: sa.Table, *, reserve: bool) -> int:
    """Return an id that no row of `table` ever had: the sealed secret is bound to it before the row is there.

    Unless the id is to be reserved, PostgreSQL's sequence stays where it is, which no rollback would undo.
    """
    if connection.dialect.name == "postgresql":
        # Rows that were inserted by hand with ids of their own are stepped over.
        above = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0) + 1).scalar_subquery()
        sequence = sa.func.regclass(sa.func.pg_get_serial_sequence(table.name, "id"))
        if reserve:
            fresh = sa.func.setval(sequence, sa.func.greatest(sa.func.nextval(sequence), above))
        else:
            # NULL before the first id was given.
            given = sa.func.coalesce(sa.func.pg_sequence_last_value(sequence), 0)
            fresh = sa.func.greatest(given + 1, above)
        return int((await connection.execute(sa.select(fresh))).scalar_one())
    last = await connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,))
    return int(last.scalar() or 0) + 1
