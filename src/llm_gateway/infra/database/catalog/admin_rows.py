"""Reads single rows of the catalog as an admin sees them: secrets masked, unreadable values UNSET."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from llm_gateway.flow.config.rows.base import Row, StoredRow
from llm_gateway.infra.database.catalog.accounts import BUDGETS, PROJECTS, TENANTS
from llm_gateway.infra.database.catalog.credentials import CREDENTIALS
from llm_gateway.infra.database.catalog.models import MODELS
from llm_gateway.infra.database.catalog.prices import PRICES
from llm_gateway.infra.database.catalog.providers import PROVIDERS, secret_associated_data
from llm_gateway.infra.database.catalog.resource import Resource, as_stored, read_flag, read_text
from llm_gateway.infra.database.catalog.task_types import TASK_TYPES
from llm_gateway.infra.secrets.env_references import is_reference, mask
from llm_gateway.infra.secrets.vault import SealBroken, Vault
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

_RESOURCES: Mapping[type[StoredRow], Resource] = {
    resource.stored: resource
    for resource in (PROVIDERS, CREDENTIALS, MODELS, TASK_TYPES, TENANTS, PROJECTS, BUDGETS, PRICES)
}

_STAMPS = ("created_at", "updated_at")


def table_of(stored: type[StoredRow]) -> sa.Table:
    """Return the table whose rows are read as `stored`."""
    return _RESOURCES[stored].table


async def list_rows(
    connection: AsyncConnection,
    stored: type[Row],
    after: int,
    limit: int,
    vault: Vault,
    search: str | None = None,
) -> list[Row]:
    """Return up to `limit` rows with ids above `after`, by id; `vault` opens secrets, to mask them.

    `search` is text that one of the searched columns holds.
    """
    resource = _RESOURCES[stored]
    ids = resource.table.c.id
    chosen = _query(stored).where(ids > after).order_by(ids).limit(limit)
    if search is not None:
        chosen = chosen.where(
            sa.or_(*(resource.table.c[name].icontains(search, autoescape=True) for name in resource.searched))
        )
    return [_read(stored, row, vault) for row in await connection.execute(chosen)]


async def find_row(
    connection: AsyncConnection, stored: type[Row], ref: int | str, vault: Vault
) -> Row | None:
    """Return the row with this id or name, or None."""
    resource = _RESOURCES[stored]
    column = resource.table.c.id if isinstance(ref, int) else resource.name
    if column is None:
        raise LookupError(f"a {stored.resource} is found by its id only")
    row = (await connection.execute(_query(stored).where(column == ref))).one_or_none()
    return None if row is None else _read(stored, row, vault)


def _query(stored: type[StoredRow]) -> sa.Select[Any]:
    table = _RESOURCES[stored].table
    names = [name for name in (*stored.__struct_fields__, "secret") if name in table.c]
    return sa.select(*(_as_shown(table.c[name]).label(name) for name in names))


def _as_shown(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return `column` as it is stored. SQLAlchemy takes every text in a column of booleans for true."""
    if isinstance(column.type, sa.Boolean):
        return sa.type_coerce(column, sa.Integer)
    return column if column.name in _STAMPS else as_stored(column)


def _read(stored: type[Row], row: sa.Row[Any], vault: Vault) -> Row:
    values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001 - public, and named so by SQLAlchemy
    resource = _RESOURCES[stored]
    for name, column in resource.columns.items():
        if values[name] is None or type(values[name]) in column.numbers:
            continue
        try:
            values[name] = column.read(values[name])
        except msgspec.DecodeError:
            values[name] = UNSET
    for name in resource.flags:
        if values[name] is not None:
            values[name] = _flag(values[name])
    for name in resource.texts:
        if values.get(name) is not None:
            values[name] = read_text(values[name])
    for name in _STAMPS:
        if values[name] is None:
            values[name] = UNSET
    if "secret" in values:
        values["api_key"] = _masked(row.id, values.pop("secret"), vault)
    return stored(**values)


def _flag(stored: object) -> bool | UnsetType:
    try:
        return read_flag(stored)
    except ValueError:
        return UNSET


def _masked(provider_id: int, secret: str | None, vault: Vault) -> str | None:
    if secret is None or is_reference(secret):
        return secret
    try:
        return mask(vault.open(secret, secret_associated_data(provider_id)).decode())
    except SealBroken:
        return mask("")
