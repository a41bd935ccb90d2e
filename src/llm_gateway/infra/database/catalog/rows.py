"""The catalog as its rows are stored, read in one look."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.infra.database import tables


class ProviderRow(msgspec.Struct, frozen=True, array_like=True):
    """One row of `providers`, the secret sealed."""

    id: int
    provider_key: str
    provider_type: str
    api_base: str
    secret: str | None
    model_mapping: str
    weight: int
    is_enabled: bool | int
    oauth2: str | None
    api_version: str | None
    stream_usage: bool | int | None
    probe_interval: float | None


class CredentialRow(msgspec.Struct, frozen=True, array_like=True):
    """One row of `credentials`."""

    id: int
    name: str
    key_hash: bytes
    allowed_models: str | None
    rate_limit: int | None
    is_enabled: bool | int
    cache: str | None


class ModelRow(msgspec.Struct, frozen=True, array_like=True):
    """One row of `models`."""

    id: int
    name: str
    strategy: str
    weights: str
    fallbacks: str
    context_fallbacks: str
    policy_fallbacks: str
    timeouts: str
    retry: str
    affinity: str | None
    cache: str | None


class TaskTypeRow(msgspec.Struct, frozen=True, array_like=True):
    """One row of `task_types`."""

    id: int
    name: str
    models: str


class StoredCatalog(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent read of the rows: safe to write to disk as it is.

    Rows are as the driver gives them, in the order of the query: JSON as text, and SQLite's booleans as integers.
    """

    version: int
    providers: tuple[ProviderRow, ...]
    credentials: tuple[CredentialRow, ...]
    models: tuple[ModelRow, ...]
    task_types: tuple[TaskTypeRow, ...]


class LoadedCatalog(Catalog, frozen=True, kw_only=True):
    """A catalog that remembers the rows it came from, so that it can be kept without opening or sealing."""

    stored: StoredCatalog


def secret_place(provider_id: int) -> str:
    """Return what a provider's sealed secret is bound to: it opens in no other row."""
    return f"provider:{provider_id}:api_key"


_STATE = sa.select(tables.config_state.c.version)


def as_stored(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return `column` as it is read: JSON as text, since a broken row must be a fault with a name, no exception."""
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column


def _query(table: sa.Table, row: type[msgspec.Struct]) -> sa.Select[Any]:
    return sa.select(*(as_stored(table.c[name]) for name in row.__struct_fields__)).order_by(table.c.id)


_PROVIDERS = _query(tables.providers, ProviderRow)
_CREDENTIALS = _query(tables.credentials, CredentialRow)
_MODELS = _query(tables.models, ModelRow)
_TASK_TYPES = _query(tables.task_types, TaskTypeRow)


async def read_version(connection: AsyncConnection) -> int:
    """Return the version of the catalog in this transaction."""
    return int((await connection.execute(_STATE)).scalar_one())


async def read_stored(connection: AsyncConnection) -> StoredCatalog:
    """Read all rows; the caller's transaction makes it one state of the database."""
    # The first statement also opens the transaction that the driver's own calls below are part of.
    version = await read_version(connection)
    queries = (_PROVIDERS, _CREDENTIALS, _MODELS, _TASK_TYPES)
    rows = [await _fetch(connection, query) for query in queries]
    # Ten thousand rows take a tenth of a second: other requests go on meanwhile.
    return await asyncio.to_thread(_stored, version, *rows)


async def _fetch(connection: AsyncConnection, statement: sa.ClauseElement) -> Sequence[Any]:
    """Return the driver's own rows: SQLAlchemy's cost three times as much, and on the event loop."""
    sql = str(statement.compile(dialect=connection.dialect))
    driver: Any = (await connection.get_raw_connection()).driver_connection
    rows: Sequence[Any]
    if connection.dialect.name == "postgresql":
        rows = await driver.fetch(sql)
    else:
        rows = await driver.execute_fetchall(sql)
    return rows


def _stored(
    version: int,
    providers: Sequence[Any],
    credentials: Sequence[Any],
    models: Sequence[Any],
    task_types: Sequence[Any],
) -> StoredCatalog:
    return StoredCatalog(
        version=version,
        providers=tuple([ProviderRow(*row) for row in providers]),
        credentials=tuple([CredentialRow(*row) for row in credentials]),
        models=tuple([ModelRow(*row) for row in models]),
        task_types=tuple([TaskTypeRow(*row) for row in task_types]),
    )
