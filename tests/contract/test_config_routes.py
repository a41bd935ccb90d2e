"""The routes of the configuration's versions on both stores: pages, one version, and gaps."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
API_KEY = "sk-provider-secret-0042"
PROVIDER: dict[str, Any] = {
    "provider_key": "openai-main",
    "provider_type": "openai",
    "api_base": "https://api.openai.com/v1",
    "api_key": API_KEY,
}


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        yield desk


async def test_the_history_shows_who_changed_what(desk: AdminClient) -> None:
    await desk.ask("POST", "/providers", 201, json=PROVIDER)
    await desk.ask("PATCH", "/providers/1", json={"weight": 3})
    await desk.store.sql("UPDATE providers SET weight = 4")
    page = await desk.ask("GET", "/config/versions", params={"limit": "2"})
    gap, updated = page["data"]
    assert (gap["version"], gap["is_noted"], gap["action"], gap["changes"]) == (4, False, None, None)
    assert (updated["version"], updated["actor"]) == (3, "admin")
    assert updated["action"] == "updated provider 'openai-main': weight"
    assert TIME.fullmatch(updated["created_at"])
    (row,) = updated["changes"]
    assert (row["resource"], row["id"], row["fields"], "before" in row) == ("provider", 1, ["weight"], False)
    rest = await desk.ask("GET", "/config/versions", params={"cursor": page["next_cursor"]})
    assert [one["version"] for one in rest["data"]] == [2]
    assert rest["next_cursor"] is None
    (row,) = (await desk.ask("GET", "/config/versions/3"))["changes"]
    assert (row["before"], row["after"], row["is_complete"]) == ({"weight": 1}, {"weight": 3}, True)
    whole = await desk.client.request("GET", "/admin/v1/config/versions/2")
    assert API_KEY not in whole.text
    for missing in ("1", "5", "x", "9" * 30):
        await desk.refused("GET", f"/config/versions/{missing}", 404)
    for query in ({"limit": "0"}, {"limit": "201"}, {"cursor": "!"}, {"search": "x"}):
        await desk.refused("GET", "/config/versions", params=query)
