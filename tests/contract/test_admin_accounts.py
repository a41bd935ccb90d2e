"""Tenants and projects over HTTP, on both stores: their life, and what names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened

LIMITS = {
    "requests_per_second": 1,
    "requests_per_minute": 2,
    "requests_per_day": 3,
    "tokens_per_minute": 4,
    "tokens_per_day": 10**15,
    "concurrent_requests": 0,
}
NONE = dict.fromkeys(LIMITS)
HOUR = 3_600_000_000


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        yield desk


async def notes(desk: AdminClient) -> list[str]:
    rows = await desk.store.sql("SELECT action FROM config_versions ORDER BY version")
    return [row.action for row in rows]


@pytest.mark.parametrize("path", ["/tenants", "/projects"])
async def test_a_tenants_or_projects_life(desk: AdminClient, path: str) -> None:
    own = {"tenant": None} if path == "/projects" else {}
    made = await desk.ask("POST", path, 201, json={"name": "team/red"})
    times = [made.pop("created_at"), made.pop("updated_at")]
    shown = {"id": 1, "name": "team/red", "limits": None, "is_enabled": True, **own}
    assert made == shown | {"config_version": 2}
    assert times[0] == times[1]
    changed = await desk.ask("PATCH", f"{path}/team/red", json={"limits": LIMITS, "is_enabled": False})
    assert (changed["limits"], changed["is_enabled"]) == (LIMITS, False)
    row = await desk.ask("GET", f"{path}/1")
    assert row == await desk.ask("GET", f"{path}/team/red")
    assert (await desk.ask("GET", path))["data"] == [row]
    # What was read can be sent back, and changes nothing.
    assert (await desk.ask("PUT", f"{path}/1", json=row))["config_version"] == 3
    changed = await desk.ask("PUT", f"{path}/1", json={"limits": {"tokens_per_day": 7}})
    assert changed["limits"] == NONE | {"tokens_per_day": 7}
    assert (await desk.ask("PUT", f"{path}/1", json={"limits": None}))["limits"] is None
    assert (await desk.refused("POST", path, 409, json={"name": "team/red"}))["param"] == "name"
    await desk.ask("PATCH", f"{path}/1", json={"name": "blue"})
    assert await desk.ask("DELETE", f"{path}/blue") == {"id": 1, "deleted": True, "config_version": 7}
    await desk.refused("GET", f"{path}/blue", 404)
    noun = path[1:-1]
    assert await notes(desk) == [
        f"created {noun} 'team/red'",
        f"updated {noun} 'team/red': limits, is_enabled",
        f"updated {noun} 'team/red': limits",
        f"updated {noun} 'team/red': limits",
        f"updated {noun} 'team/red': name",
        f"deleted {noun} 'blue'",
    ]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tenants", {"name": "7"}, "name"),
        ("/tenants", {"name": "x", "limits": {"tokens_per_day": -1}}, "limits.tokens_per_day"),
        ("/tenants", {"name": "x", "limits": {"tokens": 1}}, "limits.tokens"),
        ("/tenants", {"name": "x", "limits": {"requests_per_day": 1.5}}, "limits.requests_per_day"),
        ("/tenants", {"name": "x", "id": 4}, "id"),
        ("/projects", {"name": "x", "tenant": "gone"}, "tenant"),
        ("/projects", {"name": ""}, "name"),
        ("/credentials", {"name": "x", "tenant": "gone"}, "tenant"),
        ("/credentials", {"name": "x", "project": "gone"}, "project"),
        ("/credentials", {"name": "x", "expires_at": "tomorrow"}, "expires_at"),
        ("/credentials", {"name": "x", "expires_at": 1_900_000_000}, "expires_at"),
        (
            "/credentials",
            {"name": "x", "user_limits": {"requests_per_day": -1}},
            "user_limits.requests_per_day",
        ),
        ("/credentials", {"name": "x", "revoked_at": None}, "revoked_at"),
        ("/credentials", {"name": "x", "trusts_attribution": None}, "trusts_attribution"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_stored(
    desk: AdminClient, path: str, body: dict[str, Any], param: str
) -> None:
    error = await desk.refused("POST", path, json=body)
    assert error["param"] == param
    assert (await desk.ask("GET", path))["data"] == []


async def test_what_other_rows_name_is_neither_deleted_nor_renamed(desk: AdminClient) -> None:
    await desk.ask("POST", "/tenants", 201, json={"name": "acme"})
    await desk.ask("POST", "/projects", 201, json={"name": "web", "tenant": "acme"})
    for number in range(3):
        body = {"name": f"c{number}", "tenant": "acme", "project": "web"}
        await desk.ask("POST", "/credentials", 201, json=body)
    error = await desk.refused("DELETE", "/tenants/acme", 409)
    assert "3 credentials and 1 project name it" in error["message"]
    assert "3 credentials name it" in (await desk.refused("DELETE", "/projects/web", 409))["message"]
    for path in ("/tenants/acme", "/projects/web"):
        assert (await desk.refused("PATCH", path, 409, json={"name": "new"}))["param"] == "name"
        await desk.ask("PATCH", path, json={"is_enabled": False})
    for number in range(1, 4):
        await desk.ask("PATCH", f"/credentials/{number}", json={"tenant": None, "project": None})
    error = await desk.refused("DELETE", "/tenants/acme", 409)
    assert "because 1 project names it" in error["message"]
    await desk.ask("DELETE", "/projects/web")
    await desk.ask("DELETE", "/tenants/acme")


async def test_a_projects_tenant_is_its_credentials(desk: AdminClient) -> None:
    for name in ("acme", "other"):
        await desk.ask("POST", "/tenants", 201, json={"name": name})
    await desk.ask("POST", "/projects", 201, json={"name": "web", "tenant": "acme"})
    error = await desk.refused(
        "POST", "/credentials", json={"name": "c", "tenant": "other", "project": "web"}
    )
    assert (error["param"], "'web' is of tenant 'acme', not 'other'" in error["message"]) == ("project", True)
    await desk.ask("POST", "/credentials", 201, json={"name": "c", "tenant": "acme", "project": "web"})
    error = await desk.refused("PATCH", "/projects/web", 409, json={"tenant": "other"})
    assert (error["param"], "1 credential of it" in error["message"]) == ("tenant", True)
    await desk.ask("PATCH", "/projects/web", json={"tenant": None})


async def test_the_last_good_file_has_accounts(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        await desk.ask("POST", "/tenants", 201, json={"name": "acme", "limits": LIMITS})
        await desk.ask("POST", "/projects", 201, json={"name": "web", "tenant": "acme"})
        budget = {"name": "b", "scope": "all", "amount_usd": "7.5", "period": "day", "models": ["m"]}
        await desk.ask("POST", "/budgets", 201, json=budget)
        body = {"name": "c", "key": "sk-one", "project": "web", "expires_at": "2099-01-01", "limits": LIMITS}
        await desk.ask("POST", "/credentials", 201, json=body)
        await desk.ask("POST", "/credentials/1/rotate", json={"key": "sk-two"})
        await store.last_good.close()
        loaded, saved = await store.catalog.load(), await store.last_good.load()
    assert saved == loaded
    assert (len(saved.tenants), len(saved.projects), len(saved.budgets)) == (1, 1, 1)
    assert saved.credentials[0].previous_key_hash == store.hasher.hash("sk-one")
