"""The admin API shows the level of the log, changes it, and takes nothing else for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.log_levels import LOG_LEVELS
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened


@pytest.fixture
async def desk(data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        yield desk


async def test_the_level_is_shown_and_changed(desk: AdminClient) -> None:
    assert await desk.ask("GET", "/log-level") == {"level": "info", "default": "info"}
    for level in LOG_LEVELS:
        answer = await desk.ask("PUT", "/log-level", json={"level": level})
        assert answer == {"level": level, "default": "info"} == await desk.ask("GET", "/log-level")
    assert await desk.ask("PUT", "/log-level", json={"level": None}) == {"level": "info", "default": "info"}


@pytest.mark.parametrize(
    "body", [{}, {"level": "loud"}, {"level": 10}, {"level": "DEBUG "}, {"level": "info", "x": 1}]
)
async def test_what_is_no_level_changes_nothing(desk: AdminClient, body: dict[str, Any]) -> None:
    await desk.ask("PUT", "/log-level", json={"level": "error"})
    await desk.refused("PUT", "/log-level", json=body)
    assert (await desk.ask("GET", "/log-level"))["level"] == "error"
