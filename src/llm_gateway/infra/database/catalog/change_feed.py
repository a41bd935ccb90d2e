"""Follows changes of the catalog: a version poll decides, NOTIFY and the worker registry only make it faster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from loguru import logger

from llm_gateway.flow.ports.catalog import CatalogSource, StoreUnavailable
from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.infra.database.address import PostgresAddress, StoreAddress
from llm_gateway.infra.database.engine import (
    CONNECT_TIMEOUT,
    DatabaseIdentity,
    connect_postgres,
)
from llm_gateway.infra.database.outages import naming_outages
from llm_gateway.infra.database.tables import CONFIG_CHANNEL

POSTGRES_POLL = 0.5
SQLITE_POLL = 0.25
BOARD_POLL = 0.05
# A poll reads one row by its key: a database that needs longer is unavailable.
POLL_TIMEOUT = 3.0
# Between two tries after a failure.
_RETRY_DELAY = 0.5
_POLL = "SELECT version FROM config_state"


class Follower(Protocol):
    """Receives versions: the reloader."""

    async def reload_if_newer(self, version: int | None = None) -> None:
        """Load the catalog if `version` (read from the store when None) is not the one that was loaded last."""


class ChangeFeed:
    """Follows one database; `run` never returns and never gives up."""

    def __init__(
        self,
        address: StoreAddress,
        source: CatalogSource,
        worker_registry: WorkerRegistry,
        follower: Follower,
        *,
        identity: DatabaseIdentity | None = None,
        postgres_poll: float = POSTGRES_POLL,
        sqlite_poll: float = SQLITE_POLL,
        poll_timeout: float = POLL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """Follow `address`: SQLite through `source`, PostgreSQL over a connection of the feed's own.

        With an `identity`, no other database is followed. Times are in seconds.
        """
        self._identity = identity
        self._postgres_poll = postgres_poll
        self._sqlite_poll = sqlite_poll
        self._poll_timeout = poll_timeout
        self._connect_timeout = connect_timeout
        self._address = address
        self._source = source
        self._worker_registry = worker_registry
        self._follower = follower
        self._hint = asyncio.Event()
        # Why changes cannot be seen; None while they are.
        self._blind: str | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._for_ever(self._follow_registry))
            group.create_task(self._for_ever(self._follow_database))

    async def _for_ever(self, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except StoreUnavailable as error:
                self._say_once(error.message)
            except Exception as error:  # noqa: BLE001 - the feed must outlive any single fault
                # Not its text, which may hold a secret.
                self._say_once(f"unexpected {type(error).__name__}")
            await asyncio.sleep(_RETRY_DELAY)

    def _say_once(self, reason: str) -> None:
        if reason != self._blind:
            logger.warning(
                "Configuration changes cannot be seen, the configuration in force stays: {}", reason
            )
        self._blind = reason

    def _sees(self) -> None:
        if self._blind is not None:
            logger.info("Configuration changes are seen again")
        self._blind = None

    async def _follow_registry(self) -> None:
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
            await asyncio.sleep(self._sqlite_poll)

    async def _follow_postgres(self, address: PostgresAddress) -> None:
        """Poll and listen on one connection, so that a failing poll reveals a dead LISTEN.

        Behind a pooler there is no LISTEN: it would stay with a server that other clients get.
        """
        with naming_outages():
            connection = await connect_postgres(
                address,
                command_timeout=self._poll_timeout,
                connect_timeout=self._connect_timeout,
                identity=self._identity,
            )
        try:
            if not address.is_pooled:
                with naming_outages():
                    await connection.add_listener(CONFIG_CHANNEL, self._hinted)
            while True:
                self._hint.clear()
                with naming_outages():
                    version = await connection.fetchval(_POLL)
                await self._follower.reload_if_newer(version)
                self._sees()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hint.wait(), self._postgres_poll)
        finally:
            # Never waits, unlike close(): the other side may be frozen.
            connection.terminate()

    def _hinted(self, *_notification: object) -> None:
        self._hint.set()
