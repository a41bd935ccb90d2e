"""Looks after the database: adds up old usage rows, and deletes what has been kept long enough."""

from __future__ import annotations

import asyncio
from typing import Final

from loguru import logger

from llm_gateway.app.wiring import Wiring
from llm_gateway.core.errors import GatewayError
from llm_gateway.infra.database.usage.rebuilding import RollupBuilder
from llm_gateway.infra.database.usage.retention import UsageRetention

# Seconds between two runs, and what one run may take for each of its steps.
_INTERVAL: Final = 30.0
_SECONDS: Final = 10.0
_DAY_US: Final = 86_400_000_000


class UsageUpkeep:
    """Runs in every worker; only the one that ships usage works, so that a machine does it once."""

    def __init__(
        self, wiring: Wiring, *, row_days: int, rollup_days: int, interval: float = _INTERVAL
    ) -> None:
        """Delete rows and events that are `row_days` old, and rollups that are `rollup_days` old; 0 keeps them."""
        self._wiring = wiring
        self._row_days = row_days
        self._rollup_days = rollup_days
        self._interval = interval
        engine = wiring.storage.engine
        self._builder = RollupBuilder(engine)
        self._retention = UsageRetention(engine, wiring.clock)
        self._sessions = wiring.storage.sessions

    async def run(self) -> None:
        """Work until cancelled; a database that is away is tried again."""
        while True:
            await asyncio.sleep(self._interval)
            if not self._wiring.shipper.elected:
                continue
            try:
                await self.work()
            except GatewayError as error:
                logger.warning("Old usage is neither added up nor deleted at the moment: {}", error.message)
            except Exception:  # noqa: BLE001 - whatever it was, the next run may succeed
                logger.exception("Adding up or deleting old usage failed; trying again.")

    async def work(self) -> None:
        """Add up hours without rollups, then delete what is old; stop when the time for one run is over."""
        clock = self._wiring.clock
        await self._sessions.delete_expired(clock.unix_us())
        end = clock.monotonic() + _SECONDS
        while await self._builder.add_missing_hour():
            if clock.monotonic() > end:
                # Rows that are not added up yet stay.
                return
        now = clock.unix_us()
        for days, what, delete in (
            (self._row_days, "usage rows", self._retention.delete_rows),
            (self._row_days, "telemetry events", self._retention.delete_events),
            (self._rollup_days, "usage rollups", self._retention.delete_rollups),
        ):
            deleted = days and await delete(now - days * _DAY_US, _SECONDS)
            if deleted:
                logger.info("Deleted {} {} that were older than {} days.", deleted, what, days)
