"""The catalog as its rows are stored, read in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.catalog.accounts import (
    BUDGETS,
    PROJECTS,
    TENANTS,
    BudgetRow,
    ProjectRow,
    TenantRow,
)
from llm_gateway.infra.database.catalog.credentials import CREDENTIALS, CredentialRow
from llm_gateway.infra.database.catalog.models import MODELS, ModelRow
from llm_gateway.infra.database.catalog.prices import PRICES, PriceRow
from llm_gateway.infra.database.catalog.providers import PROVIDERS, ProviderRow
from llm_gateway.infra.database.catalog.resource import Resource
from llm_gateway.infra.database.catalog.task_types import TASK_TYPES, TaskTypeRow
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection


class StoredCatalog(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent read of the rows: safe to write to disk as it is.

    Rows are as the driver gives them, in the order of the query: JSON as text, and SQLite's booleans as integers.
    """

    version: int
    providers: tuple[ProviderRow, ...]
    credentials: tuple[CredentialRow, ...]
    models: tuple[ModelRow, ...]
    task_types: tuple[TaskTypeRow, ...]
    tenants: tuple[TenantRow, ...] = ()
    projects: tuple[ProjectRow, ...] = ()
    budgets: tuple[BudgetRow, ...] = ()
    prices: tuple[PriceRow, ...] = ()


class LoadedCatalog(Catalog, frozen=True, kw_only=True):
    """A catalog with the rows that it was decoded from, so that it can be saved without sealing secrets again."""

    stored: StoredCatalog


# By their fields in StoredCatalog.
_RESOURCES: Mapping[str, Resource] = {
    "providers": PROVIDERS,
    "credentials": CREDENTIALS,
    "models": MODELS,
    "task_types": TASK_TYPES,
    "tenants": TENANTS,
    "projects": PROJECTS,
    "budgets": BUDGETS,
    "prices": PRICES,
}
_VERSION = sa.select(tables.config_state.c.version)


async def read_version(connection: AsyncConnection) -> int:
    """Return the version of the catalog in this transaction; raise StoreUnavailable if its row is gone."""
    version = (await connection.execute(_VERSION)).scalar_one_or_none()
    if version is None:
        raise StoreUnavailable(
            "The table config_state must hold one row, with the id 1 and a version higher than any before: restore it"
        )
    return int(version)


async def read_stored(connection: AsyncConnection) -> StoredCatalog:
    """Read all rows; the caller's transaction makes it one state of the database."""
    # The first statement also opens the transaction that the driver's own calls below are part of.
    version = await read_version(connection)
    rows = {name: await _fetch(connection, resource.query) for name, resource in _RESOURCES.items()}
    # Ten thousand rows take a tenth of a second: other requests go on meanwhile.
    return await asyncio.to_thread(_stored, version, rows)


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


def _stored(version: int, rows: Mapping[str, Sequence[Any]]) -> StoredCatalog:
    made: dict[str, Any] = {
        name: tuple([_RESOURCES[name].row(*row) for row in found]) for name, found in rows.items()
    }
    return StoredCatalog(version=version, **made)
