"""Reads single rows of the catalog as an admin sees them: secrets masked, and what is broken shown as unset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_gateway.flow.config.rows import CredentialEntry, Entry, ModelEntry, ProviderEntry, Row, TaskTypeEntry
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.catalog.columns import COLUMNS
from llm_gateway.infra.database.catalog.rows import as_stored, secret_place
from llm_gateway.infra.secrets.env_references import is_reference, mask
from llm_gateway.infra.secrets.vault import SealBroken, Vault

_TABLES: Mapping[type[Entry], sa.Table] = {
    ProviderEntry: tables.providers,
    CredentialEntry: tables.credentials,
    ModelEntry: tables.models,
    TaskTypeEntry: tables.task_types,
}
# The column that a row may be found by beside its id; names of credentials are not unique.
_NAMES: Mapping[type[Entry], sa.Column[Any]] = {
    ProviderEntry: tables.providers.c.provider_key,
    ModelEntry: tables.models.c.name,
    TaskTypeEntry: tables.task_types.c.name,
}


def table_of(entry: type[Entry]) -> sa.Table:
    """Return the table whose rows are read as `entry`."""
    return _TABLES[entry]


async def list_entries(
    connection: AsyncConnection, entry: type[Row], after: int, limit: int, vault: Vault
) -> list[Row]:
    """Return up to `limit` rows with ids above `after`, by id; `vault` opens secrets, to mask them."""
    table = _TABLES[entry]
    chosen = _query(entry).where(table.c.id > after).order_by(table.c.id).limit(limit)
    return [_read(entry, row, vault) for row in await connection.execute(chosen)]


async def find_entry(
    connection: AsyncConnection, entry: type[Row], ref: int | str, vault: Vault
) -> Row | None:
    """Return the row with this id or name, or None."""
    column = _TABLES[entry].c.id if isinstance(ref, int) else _NAMES[entry]
    row = (await connection.execute(_query(entry).where(column == ref))).one_or_none()
    return None if row is None else _read(entry, row, vault)


def _query(entry: type[Entry]) -> sa.Select[Any]:
    table = _TABLES[entry]
    names = [name for name in (*entry.__struct_fields__, "secret") if name in table.c]
    return sa.select(*(as_stored(table.c[name]).label(name) for name in names))


def _read(entry: type[Row], row: sa.Row[Any], vault: Vault) -> Row:
    values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001 - public, and named so by SQLAlchemy
    for name, column in COLUMNS[entry].items():
        if column.numbers or values[name] is None:
            continue
        try:
            values[name] = column.read(values[name])
        except msgspec.DecodeError:
            values[name] = UNSET
    if "secret" in values:
        values["api_key"] = _shown(row.id, values.pop("secret"), vault)
    return entry(**values)


def _shown(provider_id: int, secret: str | None, vault: Vault) -> str | None:
    if secret is None or is_reference(secret):
        return secret
    try:
        return mask(vault.open(secret, secret_place(provider_id)).decode())
    except SealBroken:
        return mask("")
