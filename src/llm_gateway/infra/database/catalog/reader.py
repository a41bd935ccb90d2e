"""Reads the whole catalog in one consistent look (implements CatalogSource)."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.rows import read_stored, read_version
from llm_gateway.infra.database.engine import reading


class CatalogRepository:
    """The catalog in the database."""

    def __init__(self, engine: AsyncEngine, opener: CatalogDecoder) -> None:
        """Read over `engine` and open rows with `opener`."""
        self._engine = engine
        self._opener = opener

    async def load(self) -> Catalog:
        """Return one consistent read of everything, what cannot be read in `faults`; raise StoreUnavailable."""
        async with reading(self._engine) as connection:
            stored = await read_stored(connection)
        # Ten thousand rows take a tenth of a second: other requests go on meanwhile.
        return await asyncio.to_thread(self._opener.open, stored)

    async def version(self) -> int:
        """Return the stored version; raise StoreUnavailable."""
        async with reading(self._engine) as connection:
            return await read_version(connection)
