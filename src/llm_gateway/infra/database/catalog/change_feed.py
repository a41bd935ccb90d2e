"""Notices that the catalog changed: a version poll is the truth, NOTIFY and the workers' board are hints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from loguru import logger

from llm_gateway.flow.ports.catalog import CatalogSource, StoreUnavailable
from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.infra.database.address import PostgresAddress, StoreAddress
from llm_gateway.infra.database.engine import connect_postgres, naming_outages
from llm_gateway.infra.database.tables import CONFIG_CHANNEL

POSTGRES_POLL = 0.5
SQLITE_POLL = 0.25
BOARD_POLL = 0.05
# A poll is one row by its key: a database that needs longer for it is not there.
_POLL_TIMEOUT = 3.0
_POLL = "SELECT version FROM config_state"


class Follower(Protocol):
    """What is told of versions: the reloader."""

    async def reload_if_newer(self, version: int | None = None) -> None:
        """Load the catalog if `version` (asked for when None) is not the one that was loaded last."""


class ChangeFeed:
    """Follows one database; `run` never returns and never gives up."""

    def __init__(
        self,
        address: StoreAddress,
        source: CatalogSource,
        worker_registry: WorkerRegistry,
        follower: Follower,
    ) -> None:
        """Follow `address`; SQLite is polled through `source`, PostgreSQL over a connection of the feed's own."""
        self._address = address
        self._source = source
        self._worker_registry = worker_registry
        self._follower = follower
        self._hint = asyncio.Event()
        self._blind = False

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._for_ever(self._follow_board))
            group.create_task(self._for_ever(self._follow_database))

    async def _for_ever(self, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except StoreUnavailable as error:
                self._say_once(error.message)
            except Exception as error:  # noqa: BLE001 - the feed must outlive any single fault
                # Not its text: what it may hold is not known.
                self._say_once(f"unexpected {type(error).__name__}")
            await asyncio.sleep(POSTGRES_POLL)

    def _say_once(self, reason: str) -> None:
        if not self._blind:
            logger.warning("Configuration changes are not seen for now, the last good one stays: {}", reason)
        self._blind = True

    def _sees(self) -> None:
        if self._blind:
            logger.info("Configuration changes are seen again")
        self._blind = False

    async def _follow_board(self) -> None:
        seen = 0
        while True:
            announced = self._worker_registry.announced_version()
            if announced != seen:
                seen = announced
                await self._follower.reload_if_newer(announced)
            await asyncio.sleep(BOARD_POLL)

    async def _follow_database(self) -> None:
        if isinstance(self._address, PostgresAddress):
            await self._follow_postgres(self._address)
            return
        while True:
            await self._follower.reload_if_newer(await self._source.version())
            self._sees()
            await asyncio.sleep(SQLITE_POLL)

    async def _follow_postgres(self, address: PostgresAddress) -> None:
        """Poll and listen on one connection, so that a silent LISTEN is noticed by the poll that fails."""
        with naming_outages():
            connection = await connect_postgres(address, command_timeout=_POLL_TIMEOUT)
        try:
            with naming_outages():
                await connection.add_listener(CONFIG_CHANNEL, self._hinted)
            while True:
                self._hint.clear()
                with naming_outages():
                    version = await connection.fetchval(_POLL)
                await self._follower.reload_if_newer(version)
                self._sees()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hint.wait(), POSTGRES_POLL)
        finally:
            # Never waits, unlike close(): the other side may be frozen.
            connection.terminate()

    def _hinted(self, *_notification: object) -> None:
        self._hint.set()
