"""`/admin/v1/credentials` on both stores: whose a credential is, its limits and its end, and the four verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.times import read_time
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


def account(desk: AdminClient, key: str) -> Principal | None:
    snapshot = desk.store.holder.current
    assert snapshot is not None
    return snapshot.account(desk.store.hasher.hash(key))


async def notes(desk: AdminClient) -> list[str]:
    rows = await desk.store.sql("SELECT action FROM config_versions ORDER BY version")
    return [row.action for row in rows]


async def test_a_credentials_new_fields_are_stored_and_shown(desk: AdminClient) -> None:
    await desk.ask("POST", "/tenants", 201, json={"name": "acme"})
    await desk.ask("POST", "/projects", 201, json={"name": "web"})
    fields = {
        "tenant": "acme",
        "project": "web",
        "limits": LIMITS,
        "agent_limits": NONE | {"tokens_per_day": 5},
        "user_limits": NONE,
        "trusts_attribution": True,
        "require_pricing": True,
    }
    body = {"name": "c", "expires_at": "2099-12-31T23:00:00+01:00", **fields}
    made = await desk.ask("POST", "/credentials", 201, json=body)
    expected = fields | {"expires_at": "2099-12-31T22:00:00.000000Z"}
    assert {name: made[name] for name in expected} == expected
    row = await desk.ask("GET", "/credentials/1")
    assert {name: row[name] for name in expected} == expected
    version = made["config_version"]
    assert (await desk.ask("PUT", "/credentials/1", json=row))["config_version"] == version
    loaded = await desk.store.catalog.load()
    (credential,) = loaded.credentials
    assert credential.expires_at == read_time(expected["expires_at"])  # type: ignore[arg-type]
    found = account(desk, made["key"])
    assert found is not None
    assert (found.tenant, found.project, found.is_limited, found.requires_pricing) == (
        "acme",
        "web",
        True,
        True,
    )
    cleared = dict.fromkeys(("tenant", "project", "limits", "agent_limits", "user_limits", "expires_at"))
    changed = await desk.ask("PATCH", "/credentials/1", json=cleared)
    assert {name: changed[name] for name in cleared} == cleared


async def test_rotation_keeps_one_previous_key_for_a_while(desk: AdminClient) -> None:
    await desk.ask("POST", "/credentials", 201, json={"name": "c", "key": "sk-one"})
    first = await desk.ask("POST", "/credentials/1/rotate")
    expires = read_time(first["previous_key_expires_at"])
    assert abs(expires - desk.store.clock.unix_us() - 24 * HOUR) < HOUR
    assert account(desk, "sk-one") is account(desk, first["key"]) is not None
    # Neither PUT nor PATCH touches it, not even one that sets another key.
    row = await desk.ask("GET", "/credentials/1")
    await desk.ask("PUT", "/credentials/1", json=row | {"rate_limit": 9, "previous_key_expires_at": None})
    changed = await desk.ask("PATCH", "/credentials/1", json={"key": "sk-put"})
    assert changed["previous_key_expires_at"] == first["previous_key_expires_at"]
    assert account(desk, "sk-one") is account(desk, "sk-put") is not None
    assert account(desk, first["key"]) is None
    # The second rotation ends the first key.
    second = await desk.ask("POST", "/credentials/1/rotate", json={"key": "sk-three", "overlap": 60})
    assert "key" not in second
    assert read_time(second["previous_key_expires_at"]) < expires
    assert account(desk, "sk-one") is None
    assert account(desk, "sk-put") is account(desk, "sk-three") is not None
    third = await desk.ask("POST", "/credentials/1/rotate", json={"overlap": 0})
    assert third["previous_key_expires_at"] is None
    assert account(desk, "sk-three") is None
    assert (await notes(desk))[-3:] == ["updated credential 1 'c': key", *["rotated credential 1 'c'"] * 2]


@pytest.mark.parametrize(
    ("body", "param"),
    [({"overlap": -1}, "overlap"), ({"overlap": 30 * 86_400 + 1}, "overlap"), ({"overlap": True}, "overlap"),
     ({"overlap": "60"}, "overlap"), ({"key": ""}, "key"), ({"keys": 1}, "keys"), ({"key": "sk-own"}, "key")],
)  # fmt: skip
async def test_a_rotation_that_makes_no_sense_is_refused(
    desk: AdminClient, body: dict[str, Any], param: str
) -> None:
    await desk.ask("POST", "/credentials", 201, json={"name": "c", "key": "sk-own"})
    error = await desk.refused("POST", "/credentials/1/rotate", json=body)
    assert error["param"] == param
    assert account(desk, "sk-own") is not None


async def test_no_other_credential_gets_a_key_that_is_still_valid(desk: AdminClient) -> None:
    await desk.ask("POST", "/credentials", 201, json={"name": "a", "key": "sk-a"})
    await desk.ask("POST", "/credentials", 201, json={"name": "b", "key": "sk-b"})
    await desk.ask("POST", "/credentials/1/rotate", json={"key": "sk-a2"})
    for key in ("sk-a", "sk-a2"):
        for method, path, body in (
            ("POST", "/credentials", {"name": "c", "key": key}),
            ("PATCH", "/credentials/2", {"key": key}),
            ("POST", "/credentials/2/rotate", {"key": key}),
        ):
            error = await desk.refused(method, path, 409, json=body)
            assert (error["param"], key in error["message"]) == ("key", False)
    # Its own previous key may come back.
    await desk.ask("POST", "/credentials/1/rotate", json={"key": "sk-a"})
    assert account(desk, "sk-a") is account(desk, "sk-a2") is not None


async def test_disable_enable_and_revoke_are_three_verbs(desk: AdminClient) -> None:
    await desk.ask("POST", "/credentials", 201, json={"name": "c", "key": "sk-one"})
    await desk.ask("POST", "/credentials/1/rotate", json={"key": "sk-two"})
    hashes = "SELECT key_hash, previous_key_hash FROM credentials"
    before = await desk.store.sql(hashes)
    assert (await desk.ask("POST", "/credentials/1/disable"))["is_enabled"] is False
    version = (await desk.ask("POST", "/credentials/1/disable"))["config_version"]
    assert version == 4, "a second time changes nothing"
    assert (await desk.ask("POST", "/credentials/1/enable"))["is_enabled"] is True
    assert await desk.store.sql(hashes) == before
    revoked = await desk.ask("POST", "/credentials/1/revoke")
    assert (revoked["is_enabled"], revoked["previous_key_expires_at"]) == (False, None)
    assert abs(read_time(revoked["revoked_at"]) - desk.store.clock.unix_us()) < HOUR
    ((key_hash, previous),) = await desk.store.sql(hashes)
    assert bytes(key_hash) not in {bytes(known) for known in before[0]}
    assert previous is None
    assert account(desk, "sk-one") is account(desk, "sk-two") is None
    again = await desk.ask("POST", "/credentials/1/revoke")
    assert (again["revoked_at"], again["config_version"]) == (
        revoked["revoked_at"],
        revoked["config_version"],
    )
    for method, path, body in (
        ("POST", "/credentials/1/enable", None),
        ("POST", "/credentials/1/rotate", None),
        ("PATCH", "/credentials/1", {"is_enabled": True}),
        ("PUT", "/credentials/1", {"key": "sk-new"}),
    ):
        error = await desk.refused(method, path, 409, json=body)
        assert "was revoked" in error["message"]
    await desk.ask("PATCH", "/credentials/1", json={"name": "former"})
    # Its key may be given to another one.
    await desk.ask("POST", "/credentials", 201, json={"name": "d", "key": "sk-two"})
    assert (await notes(desk))[1:5] == [
        f"{verb} credential 1 'c'" for verb in ("rotated", "disabled", "enabled", "revoked")
    ]


@pytest.mark.parametrize("verb", ["rotate", "disable", "enable", "revoke"])
async def test_verbs_take_a_dry_run_and_if_match(desk: AdminClient, verb: str) -> None:
    await desk.ask("POST", "/credentials", 201, json={"name": "c", "key": "sk-c"})
    if verb == "enable":
        await desk.ask("POST", "/credentials/1/disable")
    version = await desk.store.catalog.version()
    path, before = f"/credentials/1/{verb}", await desk.ask("GET", "/credentials/1")
    tried = await desk.ask("POST", path, params={"dry_run": "true"})
    assert (tried["dry_run"], "key" in tried) == (True, False)
    await desk.refused("POST", path, 412, headers={"if-match": f'"{version - 1}"'})
    assert (await desk.ask("GET", "/credentials/1"), await desk.store.catalog.version()) == (before, version)
    done = await desk.ask("POST", path, headers={"if-match": f'"{version}"'})
    assert done["config_version"] == version + 1
    await desk.refused("POST", f"/credentials/9/{verb}", 404)
    await desk.refused("POST", f"/credentials/c/{verb}", 404)
