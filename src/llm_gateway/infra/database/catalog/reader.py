"""Reads the whole catalog in one transaction."""

from __future__ import annotations

import asyncio

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.flow.ports.catalog import CatalogSource
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.stored_catalog import read_stored, read_version
from llm_gateway.infra.database.engine import reading
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine


class CatalogRepository(CatalogSource):
    """The catalog in the database."""

    def __init__(self, engine: AsyncEngine, decoder: CatalogDecoder) -> None:
        self._engine = engine
        self._decoder = decoder

    async def load(self) -> Catalog:
        async with reading(self._engine) as connection:
            stored = await read_stored(connection)
        # Ten thousand rows take a tenth of a second: other requests go on meanwhile.
        return await asyncio.to_thread(self._decoder.decode, stored)

    async def version(self) -> int:
        async with reading(self._engine) as connection:
            return await read_version(connection)
