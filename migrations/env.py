"""What Alembic runs for every command: on the gateway's connection, or on one of its own from DB_URL."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from alembic import context
from sqlalchemy import Connection

from llm_gateway.infra.database.address import embedded_address, read_address
from llm_gateway.infra.database.engine import close_engine, make_engine, writing
from llm_gateway.infra.database.schema import metadata


def run(connection: Connection) -> None:
    """Run the command at hand in the transaction that `connection` is in."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter a column: there a table is copied instead.
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on_a_connection_of_our_own() -> None:
    """Connect to DB_URL, or to the embedded database in DATA_DIR, and run."""
    url = os.environ.get("DB_URL")
    address = read_address(url) if url else embedded_address(Path(os.environ.get("DATA_DIR") or "data"))
    engine = make_engine(address)
    try:
        async with writing(engine) as connection:
            await connection.run_sync(run)
    finally:
        await close_engine(engine)


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
elif context.is_offline_mode():
    raise SystemExit("--sql is not supported: the triggers differ between the two stores")
else:
    asyncio.run(run_on_a_connection_of_our_own())
