"""Writes the catalog's rows, one transaction an edit (implements CatalogStore and CatalogEdit)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from llm_gateway.core.catalog import Catalog
from llm_gateway.core.errors import Conflict
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports import Clock
from llm_gateway.flow.stores import (
    Answer,
    CatalogEdit,
    CredentialEntry,
    CredentialFields,
    ProviderEntry,
    ProviderFields,
)
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.stored import CatalogOpener, read_stored, secret_place
from llm_gateway.infra.secrets import SealBroken, Vault, is_reference, mask


class CatalogRows:
    """The catalog's rows in the database."""

    def __init__(self, engine: AsyncEngine, vault: Vault, opener: CatalogOpener, clock: Clock) -> None:
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

    async def list_providers(self, after: int, limit: int) -> list[ProviderEntry]:
        """Return up to `limit` providers with ids above `after`, by id."""
        chosen = sa.select(tables.providers).where(tables.providers.c.id > after)
        async with reading(self._engine) as connection:
            rows = await connection.execute(chosen.order_by(tables.providers.c.id).limit(limit))
            return [_provider_entry(row, self._vault) for row in rows]

    async def find_provider(self, ref: int | str) -> ProviderEntry | None:
        """Return the provider with this id or provider_key."""
        async with reading(self._engine) as connection:
            return await _find_provider(connection, ref, self._vault)

    async def list_credentials(self, after: int, limit: int) -> list[CredentialEntry]:
        """Return up to `limit` credentials with ids above `after`, by id."""
        chosen = sa.select(tables.credentials).where(tables.credentials.c.id > after)
        async with reading(self._engine) as connection:
            rows = await connection.execute(chosen.order_by(tables.credentials.c.id).limit(limit))
            return [_credential_entry(row) for row in rows]

    async def find_credential(self, credential_id: int) -> CredentialEntry | None:
        """Return the credential with this id."""
        async with reading(self._engine) as connection:
            return await _find_credential(connection, credential_id)


class _Edit:
    """One open transaction (implements CatalogEdit)."""

    def __init__(self, connection: AsyncConnection, vault: Vault, opener: CatalogOpener, now_us: int) -> None:
        self._connection = connection
        self._vault = vault
        self._opener = opener
        self._now = now_us

    async def find_provider(self, ref: int | str) -> ProviderEntry | None:
        return await _find_provider(self._connection, ref, self._vault)

    async def add_provider(self, fields: ProviderFields) -> int:
        provider_id = await _fresh_id(self._connection, tables.providers)
        values = self._provider_values(provider_id, fields)
        await self._insert(tables.providers, provider_id, values, _provider_taken(fields))
        return provider_id

    async def change_provider(self, provider_id: int, fields: ProviderFields) -> None:
        values = self._provider_values(provider_id, fields)
        await self._update(tables.providers, provider_id, values, _provider_taken(fields))

    async def remove_provider(self, provider_id: int) -> None:
        await self._connection.execute(
            sa.delete(tables.providers).where(tables.providers.c.id == provider_id)
        )

    async def find_credential(self, credential_id: int) -> CredentialEntry | None:
        return await _find_credential(self._connection, credential_id)

    async def add_credential(self, fields: CredentialFields) -> int:
        credential_id = await _fresh_id(self._connection, tables.credentials)
        await self._insert(tables.credentials, credential_id, _set_fields(fields), _key_taken())
        return credential_id

    async def change_credential(self, credential_id: int, fields: CredentialFields) -> None:
        await self._update(tables.credentials, credential_id, _set_fields(fields), _key_taken())

    async def remove_credential(self, credential_id: int) -> None:
        chosen = tables.credentials.c.id == credential_id
        await self._connection.execute(sa.delete(tables.credentials).where(chosen))

    async def catalog(self) -> Catalog:
        return await asyncio.to_thread(self._opener.open, await read_stored(self._connection))

    async def note(self, version: int, actor: str, action: str) -> None:
        row = {"version": version, "created_at": self._now, "actor": actor, "action": action}
        await self._connection.execute(sa.insert(tables.config_versions).values(row))

    def _provider_values(self, provider_id: int, fields: ProviderFields) -> dict[str, Any]:
        values = _set_fields(fields)
        secret = values.get("secret")
        if isinstance(secret, Secret):
            text = secret.reveal()
            place = secret_place(provider_id)
            values["secret"] = text if is_reference(text) else self._vault.seal(text.encode(), place)
        return values

    async def _insert(self, table: sa.Table, row_id: int, values: dict[str, Any], taken: Conflict) -> None:
        row = {**values, "id": row_id, "created_at": self._now, "updated_at": self._now}
        await self._write(sa.insert(table).values(row), taken)

    async def _update(self, table: sa.Table, row_id: int, values: dict[str, Any], taken: Conflict) -> None:
        row = {**values, "updated_at": self._now}
        await self._write(sa.update(table).where(table.c.id == row_id).values(row), taken)

    async def _write(self, statement: sa.Insert | sa.Update, taken: Conflict) -> None:
        try:
            await self._connection.execute(statement)
        except IntegrityError as error:
            if not _is_duplicate(error):
                raise
            raise taken from None


def _is_duplicate(error: IntegrityError) -> bool:
    driver = error.driver_exception
    return (
        getattr(driver, "sqlstate", None) == "23505"
        or getattr(driver, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE"
    )


def _provider_taken(fields: ProviderFields) -> Conflict:
    return Conflict(
        f"A provider with provider_key {fields.provider_key!r} exists already", param="provider_key"
    )


def _key_taken() -> Conflict:
    return Conflict("A credential with this key exists already", param="key")


def _set_fields(fields: ProviderFields | CredentialFields) -> dict[str, Any]:
    values = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return {name: value for name, value in values.items() if value is not UNSET}


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


async def _find_provider(connection: AsyncConnection, ref: int | str, vault: Vault) -> ProviderEntry | None:
    column = tables.providers.c.id if isinstance(ref, int) else tables.providers.c.provider_key
    row = (await connection.execute(sa.select(tables.providers).where(column == ref))).one_or_none()
    return None if row is None else _provider_entry(row, vault)


async def _find_credential(connection: AsyncConnection, credential_id: int) -> CredentialEntry | None:
    chosen = sa.select(tables.credentials).where(tables.credentials.c.id == credential_id)
    row = (await connection.execute(chosen)).one_or_none()
    return None if row is None else _credential_entry(row)


def _provider_entry(row: sa.Row[Any], vault: Vault) -> ProviderEntry:
    return ProviderEntry(
        id=row.id,
        provider_key=row.provider_key,
        provider_type=row.provider_type,
        api_base=row.api_base,
        api_key=_shown(row.id, row.secret, vault),
        model_mapping=row.model_mapping,
        weight=row.weight,
        is_enabled=row.is_enabled,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _shown(provider_id: int, secret: str | None, vault: Vault) -> str | None:
    if secret is None or is_reference(secret):
        return secret
    try:
        return mask(vault.open(secret, secret_place(provider_id)).decode())
    except SealBroken:
        return mask("")


def _credential_entry(row: sa.Row[Any]) -> CredentialEntry:
    return CredentialEntry(
        id=row.id,
        name=row.name,
        key_prefix=row.key_prefix,
        allowed_models=None if row.allowed_models is None else tuple(row.allowed_models),
        rate_limit=row.rate_limit,
        is_enabled=row.is_enabled,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
