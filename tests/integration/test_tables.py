"""The tables in the code and what a store makes of their types."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from llm_gateway.infra.database import migrating, schema
from llm_gateway.infra.database.address import StoreAddress, embedded_address, read_address
from llm_gateway.infra.database.engine import close_engine, make_engine, reading


@pytest.fixture
def address(store_url: str | None, data_dir: Path) -> StoreAddress:
    return embedded_address(data_dir / "new") if store_url is None else read_address(store_url)


async def test_migrations_make_the_tables_of_the_code(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    engine = make_engine(address)

    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    async with reading(engine) as connection:
        assert await connection.run_sync(differences) == []
    await close_engine(engine)
