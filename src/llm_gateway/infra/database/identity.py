"""The id that a database carries, so that what DATA_DIR holds for one database never goes to another."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import has_table, reading, writing
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

_SELECT = sa.select(tables.database_identity.c.database_id)
# Both stores read it alike.
_INSERT = "INSERT INTO database_identity (id, database_id) VALUES (1, :database_id) ON CONFLICT DO NOTHING"


async def read_database_id(engine: AsyncEngine) -> str | None:
    """Return the database's id, making one if its row is gone; raise StoreUnavailable.

    None for a schema from before ids: this start could not migrate it.
    """
    async with reading(engine) as connection:
        if not await has_table(connection, tables.database_identity.name):
            return None
        found = await _find(connection)
    if found is not None:
        return found
    async with writing(engine) as connection:
        # Another worker may be first: its id is read below.
        await connection.execute(sa.text(_INSERT), {"database_id": secrets.token_hex(16)})
    async with reading(engine) as connection:
        return await _find(connection)


async def _find(connection: AsyncConnection) -> str | None:
    found: str | None = (await connection.execute(_SELECT)).scalar_one_or_none()
    return found
