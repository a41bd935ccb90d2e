"""The mark of a catalog that was filled from a file or the environment: a provider that is deleted stays deleted."""

from __future__ import annotations

import sqlalchemy as sa

from llm_gateway.infra.database import tables
from llm_gateway.infra.database.address import StoreAddress
from llm_gateway.infra.database.engine import close_engine, make_engine, reading
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection


async def read_first_fill(connection: AsyncConnection) -> str | None:
    """Return what the catalog was first filled from, None if nothing has filled it yet."""
    source: str | None = (
        await connection.execute(sa.select(tables.first_fill.c.source))
    ).scalar_one_or_none()
    return source


async def had_providers(connection: AsyncConnection) -> bool:
    """Tell whether a version note names a provider."""
    action = tables.config_versions.c.action
    found = await connection.execute(sa.select(sa.literal(1)).where(action.like("%provider %")).limit(1))
    return found.first() is not None


async def was_filled(address: StoreAddress) -> bool:
    """Tell whether the catalog of a database has been filled: one cheap read. Raises StoreUnavailable."""
    engine = make_engine(address)
    try:
        async with reading(engine) as connection:
            return await read_first_fill(connection) is not None
    finally:
        await close_engine(engine)
