"""What the routes of every resource share: an error names the field, whatever the row is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_client import admin_client
from tests.fakes.stores import opened

# Names that a sentence about a fault could be misread by.
NAMES = ["a': weight\"", "it's", 'say "weight"', "': weight must be", "model 'x': strategy"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_field_of_an_error_does_not_depend_on_names(data_dir: Path, name: str) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("/providers", {"provider_key": name, "provider_type": "openai", "api_base": "nonsense"}, "api_base"),
        ("/models", {"name": name, "timeouts": {"idle": 0}}, "timeouts.idle"),
        ("/task-types", {"name": name, "models": ["a*"]}, "models"),
        ("/credentials", {"name": name, "cache": {"ttl": -1}}, "cache.ttl"),
    ]
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        for path, body, param in cases:
            error = await desk.refused("POST", path, json=body)
            assert (error["param"], repr(name) in error["message"]) == (param, True)


async def test_the_list_of_every_resource_continues_after_its_cursor(data_dir: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = {
        "/providers": [
            {"provider_key": f"p{n}", "provider_type": "openai", "api_base": "http://x"} for n in range(5)
        ],
        "/models": [{"name": f"m{n}"} for n in range(5)],
        "/task-types": [{"name": f"t{n}", "models": ["m"]} for n in range(5)],
        "/credentials": [{"name": f"c{n}"} for n in range(5)],
    }
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        for path, bodies in rows.items():
            made = [(await desk.ask("POST", path, 201, json=body))["id"] for body in bodies]
            listed: list[int] = []
            cursor: str | None = None
            for _ in range(3):
                query = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
                page = await desk.ask("GET", path, params=query)
                listed += [row["id"] for row in page["data"]]
                cursor = page["next_cursor"]
            assert (listed, cursor) == (made, None)
            for bad in ("x", "!", "LTE"):
                error = await desk.refused("GET", path, params={"cursor": bad})
                assert error["param"] == "cursor"


async def test_c21_stale_workers_are_named(store_url: str | None, data_dir: Path) -> None:
    provider = {"provider_key": "p", "provider_type": "openai", "api_base": "http://x"}
    async with opened(store_url, data_dir, barrier_timeout=0.05) as store, admin_client(store) as desk:
        store.worker_registry.others = {4711: 1}
        assert (await desk.ask("POST", "/providers", 201, json=provider))["stale_workers"] == [4711]
        assert (await desk.ask("POST", "/config/reload"))["stale_workers"] == [4711]
        store.worker_registry.others = {4711: 3}
        assert "stale_workers" not in await desk.ask("PATCH", "/providers/1", json={"weight": 2})
        assert (await desk.ask("DELETE", "/providers/1"))["config_version"] == 4
