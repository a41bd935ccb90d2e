"""The log level that workers share: set in one, in force in all, and forgotten when they have ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from loguru import logger

from llm_gateway.app.log_levels import SharedLogLevelSwitch
from llm_gateway.core.log_levels import LOG_LEVELS
from llm_gateway.infra.logs.setup import ProcessLog
from llm_gateway.infra.worker_registry import FileWorkerRegistry
from tests.fakes.process_logging import restored_logging


def test_a_level_is_in_force_in_every_worker(tmp_path: Path) -> None:
    with restored_logging():
        logs = ProcessLog(), ProcessLog()
        registries = FileWorkerRegistry(tmp_path), FileWorkerRegistry(tmp_path)
        one, other = (
            SharedLogLevelSwitch(log, registry) for log, registry in zip(logs, registries, strict=True)
        )
        assert (one.level(), one.default) == ("info", "info")
        for level in LOG_LEVELS:
            one.set(level)
            other.apply()
            assert [log.level for log in logs] == [level, level]
            assert other.level() == level
        one.set(None)
        other.apply()
        assert [log.level for log in logs] == ["info", "info"]
        one.set("error")
        registries[1].close()
        # A worker that takes the place of one that ended.
        late = FileWorkerRegistry(tmp_path)
        assert SharedLogLevelSwitch(ProcessLog(), late).level() == "error"
        for registry in (registries[0], late):
            registry.close()
        again = FileWorkerRegistry(tmp_path)
        assert SharedLogLevelSwitch(ProcessLog(), again).level() == "info"
        again.close()


def test_a_change_is_logged_once_whatever_the_level(tmp_path: Path) -> None:
    lines: list[str] = []
    with restored_logging():
        logger.remove()
        logger.add(lines.append, format="{message}", level=0)
        registry = FileWorkerRegistry(tmp_path)
        switch = SharedLogLevelSwitch(ProcessLog(), registry)
        switch.set("critical")
        switch.apply()
        switch.set("critical")
        registry.close()
    assert lines == ["The log level is critical; it was info.\n"]


def test_a_number_that_no_level_has_counts_as_none(tmp_path: Path) -> None:
    registry = FileWorkerRegistry(tmp_path)
    registry.set_log_level(99)
    assert SharedLogLevelSwitch(ProcessLog(), registry).level() == "info"
    registry.close()


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_loguru_has_every_level(level: str) -> None:
    assert logger.level(level.upper()).no > 0
