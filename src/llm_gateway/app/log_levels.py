"""The level of the log: the one that the settings name, or one that an operator sets for all workers meanwhile."""

from __future__ import annotations

import asyncio
from typing import Final

from loguru import logger

from llm_gateway.core.log_levels import LOG_LEVELS, LogLevel
from llm_gateway.flow.ports.workers import LogLevelSwitch
from llm_gateway.infra.logs.setup import ProcessLog
from llm_gateway.infra.worker_registry import FileWorkerRegistry

# Seconds until a worker notices what another one was told.
_INTERVAL: Final = 0.25


class SharedLogLevelSwitch(LogLevelSwitch):
    """Kept in the memory that the workers share: gone when all of them have ended."""

    def __init__(self, log: ProcessLog, registry: FileWorkerRegistry) -> None:
        self._log = log
        self._registry = registry
        self.default = log.level

    def level(self) -> LogLevel:
        number = self._registry.log_level()
        return LOG_LEVELS[number - 1] if 0 < number <= len(LOG_LEVELS) else self.default

    def set(self, level: LogLevel | None) -> None:
        self._registry.set_log_level(0 if level is None else LOG_LEVELS.index(level) + 1)
        self.apply()

    def apply(self) -> None:
        """Log at the level in force, in this process."""
        level = self.level()
        if level == self._log.level:
            return
        before = self._log.level
        self._log.set_level(level)
        logger.log(level.upper(), "The log level is {}; it was {}.", level, before)

    async def follow(self) -> None:
        """Do what other workers were told, until cancelled."""
        while True:
            self.apply()
            await asyncio.sleep(_INTERVAL)
