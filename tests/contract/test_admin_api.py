"""The admin API over HTTP on both stores: shapes, statuses, what it shows and what it never does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PROVIDER = {
    "provider_key": "openai-main",
    "provider_type": "openai",
    "api_base": "https://api.openai.com/v1",
    "api_key": "sk-provider-secret-0042",
    "model_mapping": {},
    "is_enabled": True,
}
CREDENTIAL = {"key": "sk-my-secret-key", "name": "Default Key", "allowed_models": ["*"], "is_enabled": True}


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir, environ={"SET": "sk-x"}) as store, admin_client(store) as desk:
        yield desk


@pytest.fixture
async def quick_desk(data_dir: Path) -> AsyncIterator[AdminClient]:
    """On SQLite alone: for what happens before a store is asked."""
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        yield desk


# --- providers -------------------------------------------------------------------------------------


async def test_s4_38_to_s4_42_a_providers_life(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/providers", 201, json=PROVIDER)
    times = (made.pop("created_at"), made.pop("updated_at"))
    assert all(TIME.fullmatch(time) for time in times)
    assert made == {
        "id": 1,
        "provider_key": "openai-main",
        "provider_type": "openai",
        "api_base": "https://api.openai.com/v1",
        "api_key": "***0042",
        "model_mapping": {},
        "weight": 1,
        "is_enabled": True,
        "oauth2": None,
        "api_version": None,
        "stream_usage": None,
        "probe_interval": None,
        "price_provider": None,
        "config_version": 2,
    }
    listed = await desk.ask("GET", "/providers")
    assert listed["next_cursor"] is None
    (row,) = listed["data"]
    assert row == await desk.ask("GET", "/providers/1") == await desk.ask("GET", "/providers/openai-main")
    assert (row["api_key"], row["created_at"]) == ("***0042", times[0])
    change = {
        "api_base": "https://api.openai.com/v1",
        "api_key": "sk-new-key",
        "model_mapping": {"gpt-4": "gpt-4-turbo"},
        "is_enabled": True,
    }
    changed = await desk.ask("PUT", "/providers/1", json=change)
    assert (changed["api_key"], changed["model_mapping"], changed["weight"]) == (
        "***",
        change["model_mapping"],
        1,
    )
    assert changed["updated_at"] >= changed["created_at"] == times[0]
    changed = await desk.ask("PATCH", "/providers/openai-main", json={"weight": 0, "api_key": None})
    assert (changed["weight"], changed["api_key"], changed["config_version"]) == (0, None, 4)
    assert await desk.ask("DELETE", "/providers/1") == {"id": 1, "deleted": True, "config_version": 5}
    for method, path in (("GET", "/providers/1"), ("DELETE", "/providers/openai-main")):
        await desk.refused(method, path, 404)


async def test_what_was_shown_can_be_sent_back(desk: AdminClient) -> None:
    await desk.ask("POST", "/providers", 201, json=PROVIDER)
    row = await desk.ask("GET", "/providers/1")
    again = await desk.ask("PUT", "/providers/1", json=row)
    assert again["config_version"] == 2, "nothing changed"
    catalog = await desk.store.catalog.load()
    assert catalog.providers[0].secret is not None
    assert catalog.providers[0].secret.reveal() == PROVIDER["api_key"]


async def test_s2_8_a_reference_is_shown_and_must_resolve(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/providers", 201, json=PROVIDER | {"api_key": "env:SET"})
    assert made["api_key"] == "env:SET"
    error = await desk.refused("PATCH", "/providers/1", json={"api_key": "env:NOT_SET"})
    assert error["param"] == "api_key"
    assert "environment variable NOT_SET is not set" in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provider_key", None), ("provider_key", ""), ("provider_key", "a/b"), ("provider_key", "12"),
        ("provider_key", " a"), ("provider_key", "a\n"), ("provider_key", "x" * 129), ("provider_key", 5),
        ("provider_type", None), ("provider_type", "nonsense"), ("provider_type", ""),
        ("api_base", ""), ("api_base", None), ("api_base", "ftp://x"), ("api_base", "http://"),
        ("api_base", "http://u:hunter2@x/v1"), ("api_base", "http://x/v1?key=hunter2"), ("api_base", "http://x y"),
        ("api_key", ""), ("api_key", 5), ("api_key", "hunter2\n"), ("api_key", "hunter2é"), ("api_key", "env:a b"),
        ("api_key", "***abcd"), ("api_key", {"hunter2": 1}),
        ("model_mapping", []), ("model_mapping", {"a": None}), ("model_mapping", {"": "x"}),
        ("model_mapping", {"a": ""}), ("model_mapping", {"a": "*"}), ("model_mapping", {"a\0": "b"}),
        ("weight", -1), ("weight", "5"), ("weight", 1.5), ("weight", True), ("weight", None), ("weight", 2**31),
        ("is_enabled", None), ("is_enabled", "true"), ("is_enabled", 1),
        ("rpm", 5), ("id", 5),
    ],
)  # fmt: skip
async def test_c31_a_bad_provider_names_the_field(quick_desk: AdminClient, field: str, value: Any) -> None:
    error = await quick_desk.refused("POST", "/providers", json=PROVIDER | {field: value})
    assert str(error["param"]).split(".")[0] == field
    assert "hunter2" not in str(error)
    await quick_desk.ask("POST", "/providers", 201, json=PROVIDER)
    if (field, value) != ("provider_key", "openai-main"):
        error = await quick_desk.refused("PUT", "/providers/1", json={field: value})
        assert str(error["param"]).split(".")[0] == field
    assert await quick_desk.store.catalog.version() == 2


async def test_c31_conflicts_and_unknown_ids(desk: AdminClient) -> None:
    await desk.ask("POST", "/providers", 201, json=PROVIDER)
    error = await desk.refused("POST", "/providers", 409, json=PROVIDER)
    assert (error["param"], error["code"]) == ("provider_key", "conflict")
    await desk.ask("POST", "/credentials", 201, json=CREDENTIAL)
    error = await desk.refused("POST", "/credentials", 409, json=CREDENTIAL)
    assert error["param"] == "key"
    assert CREDENTIAL["key"] not in error["message"]
    for noun in ("providers", "credentials"):
        for ref in ("2", "99999999999999999999999", "nobody", "%00", "²", "-1"):
            for method in ("GET", "PUT", "DELETE"):
                arguments: dict[str, Any] = {"json": {}} if method == "PUT" else {}
                error = await desk.refused(method, f"/{noun}/{ref}", 404, **arguments)
                assert error["code"] == "not_found"


# --- credentials -----------------------------------------------------------------------------------


async def test_s4_43_s4_44_c17_a_credentials_life(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/credentials", 201, json=CREDENTIAL | {"rate_limit": 100})
    times = (made.pop("created_at"), made.pop("updated_at"))
    assert all(TIME.fullmatch(time) for time in times)
    assert made == {
        "id": 1,
        "name": "Default Key",
        "key_prefix": "sk-my",
        "allowed_models": ["*"],
        "rate_limit": 100,
        "is_enabled": True,
        "cache": None,
        "tenant": None,
        "project": None,
        "limits": None,
        "agent_limits": None,
        "user_limits": None,
        "trusts_attribution": False,
        "require_pricing": False,
        "expires_at": None,
        "previous_key_expires_at": None,
        "revoked_at": None,
        "config_version": 2,
    }
    (row,) = (await desk.ask("GET", "/credentials"))["data"]
    assert row == await desk.ask("GET", "/credentials/1")
    changed = await desk.ask("PUT", "/credentials/1", json={"rate_limit": None})
    assert (changed["rate_limit"], changed["name"], changed["allowed_models"]) == (None, "Default Key", ["*"])
    changed = await desk.ask("PATCH", "/credentials/1", json={"allowed_models": [], "key": "sk-another"})
    assert (changed["allowed_models"], changed["key_prefix"]) == ([], "sk-")
    changed = await desk.ask("PATCH", "/credentials/1", json={"allowed_models": None})
    assert changed["allowed_models"] is None
    assert "key" not in changed
    rotated = await desk.ask("POST", "/credentials/1/rotate")
    assert rotated["key_prefix"] == rotated["key"][:8]
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", rotated["key"])
    assert await desk.ask("DELETE", "/credentials/1") == {"id": 1, "deleted": True, "config_version": 7}
    await desk.refused("POST", "/credentials/1/rotate", 404)


async def test_s4_48_s4_49_zero_and_null_are_different_limits(desk: AdminClient) -> None:
    bodies: list[dict[str, Any]] = [{"rate_limit": 0}, {"rate_limit": None}, {}]
    for number, body in enumerate(bodies):
        made = await desk.ask("POST", "/credentials", 201, json={"name": f"n{number}"} | body)
        assert made["rate_limit"] == body.get("rate_limit")
        assert len(made["key"]) == 46
    limits = [credential.rate_limit for credential in (await desk.store.catalog.load()).credentials]
    assert limits == [0, None, None]


@pytest.mark.parametrize("key", ["x", "0123", "ab cd", "ключ", "a" * 256, "sk-" + "z" * 40])
async def test_c15_any_printable_key_may_be_supplied_and_little_of_it_shows(
    quick_desk: AdminClient, key: str
) -> None:
    made = await quick_desk.ask("POST", "/credentials", 201, json={"name": "n", "key": key})
    assert key.startswith(made["key_prefix"])
    assert len(made["key_prefix"]) <= len(key) / 3
    assert "key" not in made
    snapshot = quick_desk.store.holder.current
    assert snapshot is not None
    assert snapshot.account(quick_desk.store.hasher.hash(key)) is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", None), ("key", ""), ("key", "a" * 257), ("key", "hunter2\t"), ("key", " hunter2"), ("key", 7),
        ("name", None), ("name", ""), ("name", "x" * 201), ("name", "a\nb"), ("name", 5),
        ("allowed_models", "gpt-4"), ("allowed_models", [1]), ("allowed_models", [""]), ("allowed_models", {"a": 1}),
        ("rate_limit", -1), ("rate_limit", "5"), ("rate_limit", 1.0), ("rate_limit", True), ("rate_limit", 2**31),
        ("is_enabled", None), ("is_enabled", 0),
        ("rate_limits", 5), ("key_prefix", "x"),
    ],
)  # fmt: skip
async def test_c31_a_bad_credential_names_the_field(quick_desk: AdminClient, field: str, value: Any) -> None:
    error = await quick_desk.refused("POST", "/credentials", json=CREDENTIAL | {field: value})
    assert str(error["param"]).split(".")[0] == field
    assert "hunter2" not in str(error)
    await quick_desk.ask("POST", "/credentials", 201, json=CREDENTIAL)
    error = await quick_desk.refused("PATCH", "/credentials/1", json={field: value})
    assert str(error["param"]).split(".")[0] == field


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"5", b"\xff", b'{"name":"\\ud800"}', b"[" * 100_000]
)
async def test_bodies_that_are_no_object_are_refused(quick_desk: AdminClient, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    for noun in ("providers", "credentials"):
        answer = await quick_desk.client.post(f"/admin/v1/{noun}", content=content, headers=headers)
        assert answer.status_code in {400, 422}, answer.text


# --- lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", ["providers", "credentials"])
async def test_lists_come_in_pages(desk: AdminClient, noun: str) -> None:
    for number in range(5):
        body = PROVIDER | {"provider_key": f"p{number}"} if noun == "providers" else {"name": f"c{number}"}
        await desk.ask("POST", f"/{noun}", 201, json=body)
    seen, cursor = [], None
    for _ in range(3):
        page = await desk.ask("GET", f"/{noun}", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == ([1, 2, 3, 4, 5], None)
    for field, value in (
        ("limit", 0),
        ("limit", 1001),
        ("limit", "x"),
        ("cursor", "?"),
        ("cursor", "!!"),
        ("cursor", "YWJj"),
    ):
        error = await desk.refused("GET", f"/{noun}", params={field: value})
        assert error["param"] == field


# --- config ----------------------------------------------------------------------------------------


async def test_s4_45_s4_46_reload_and_version(desk: AdminClient) -> None:
    shown = await desk.ask("GET", "/config/version")
    assert TIME.fullmatch(shown.pop("loaded_at"))
    expected = {"version": 1, "database_version": 1, "source": "database", "refused": None, "error": None}
    assert shown == expected
    await desk.store.sql(
        "INSERT INTO providers (provider_key, provider_type, api_base) VALUES ('p', 'openai', 'http://x')"
    )
    assert (await desk.ask("GET", "/config/version"))["database_version"] == 2
    for _ in range(2):
        assert (await desk.ask("POST", "/config/reload"))["version"] == 2, "reloading itself bumps nothing"
    assert desk.store.worker_registry.announced == 2


async def test_a_refused_configuration_is_explained_and_can_be_mended_row_by_row(desk: AdminClient) -> None:
    for key in "abc":
        await desk.ask("POST", "/providers", 201, json=PROVIDER | {"provider_key": key})
    for key in "ab":
        await desk.store.sql(f"UPDATE providers SET api_base = 'nonsense' WHERE provider_key = '{key}'")
    error = await desk.refused("POST", "/config/reload")
    assert error["code"] == "config_refused"
    assert "provider 'a': api_base" in error["message"]
    shown = await desk.ask("GET", "/config/version")
    assert (shown["version"], shown["database_version"], shown["refused"]["version"]) == (6, 6, 6)
    assert len(shown["refused"]["faults"]) == 2
    assert shown["refused"]["kept"] == ["provider 'a'", "provider 'b'"]
    rows = (await desk.ask("GET", "/providers"))["data"]
    assert ["faults" in row for row in rows] == [True, True, False]
    assert (await desk.ask("GET", "/providers/a"))["faults"] == rows[0]["faults"]
    assert rows[0]["faults"][0].startswith("api_base must be a URL")
    # Other rows can be edited meanwhile; an edit that breaks more is refused.
    other = await desk.ask("PATCH", "/providers/c", json={"weight": 2})
    assert (other["config_version"], len(other["faults"])) == (7, 2)
    await desk.refused("PATCH", "/providers/c", json={"api_base": "nonsense"})
    await desk.refused("PATCH", "/providers/a", json={"provider_type": "nonsense"})
    # One that takes a fault away says what is left.
    mended = await desk.ask("PATCH", "/providers/a", json={"api_base": "http://mended"})
    assert (mended["config_version"], len(mended["faults"])) == (8, 1)
    deleted = await desk.ask("DELETE", "/providers/b")
    assert deleted == {"id": 2, "deleted": True, "config_version": 9}
    assert (await desk.ask("GET", "/config/version"))["refused"] is None


async def test_100_edits_at_once_are_all_in_force_when_they_answer(desk: AdminClient) -> None:
    await desk.ask("POST", "/providers", 201, json=PROVIDER)

    async def edit(number: int) -> None:
        answer = await desk.ask("PATCH", "/providers/1", json={"model_mapping": {f"m{number}": "x"}})
        snapshot = desk.store.holder.current
        assert snapshot is not None
        assert snapshot.version >= answer["config_version"]

    await asyncio.gather(*(edit(number) for number in range(100)))
    assert (await desk.ask("GET", "/config/version"))["version"] == 102


# --- the database away -------------------------------------------------------------------------------


async def test_without_the_database_writes_are_503_and_the_version_still_shows(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        await desk.ask("POST", "/providers", 201, json=PROVIDER)
        await store.engine.dispose()
        for file in data_dir.glob("llm-gateway.db*"):
            file.rename(file.with_name("gone-" + file.name))
        (data_dir / "llm-gateway.db").mkdir()
        for method, path, body in (
            ("POST", "/providers", PROVIDER),
            ("GET", "/providers", None),
            ("GET", "/usage", None),
            ("POST", "/config/reload", None),
        ):
            error = await desk.refused(method, path, 503, **({"json": body} if body else {}))
            assert error["code"] == "database_unavailable"
        shown = await desk.ask("GET", "/config/version")
        assert (shown["version"], shown["database_version"]) == (2, None)
        assert "not available" in shown["error"]


async def test_no_answer_ever_holds_a_secret_or_a_key(desk: AdminClient) -> None:
    answers = []
    client = desk.client
    for method, path, body in (
        ("POST", "/providers", PROVIDER),
        ("POST", "/providers", PROVIDER),
        ("PUT", "/providers/1", {"api_key": "sk-provider-secret-0043", "bad": 1}),
        ("PUT", "/providers/1", {"api_key": "sk-provider-secret-0043"}),
        ("GET", "/providers", None),
        ("GET", "/providers/1", None),
        ("POST", "/credentials", CREDENTIAL),
        ("POST", "/credentials", CREDENTIAL),
        ("PATCH", "/credentials/1", {"key": "sk-my-secret-key-2", "rate_limit": -1}),
        ("PATCH", "/credentials/1", {"key": "sk-my-secret-key-2"}),
        ("GET", "/credentials", None),
        ("POST", "/config/reload", None),
        ("GET", "/config/version", None),
        ("DELETE", "/credentials/1", None),
        ("DELETE", "/providers/1", None),
    ):
        answers.append((await client.request(method, f"/admin/v1{path}", json=body)).text)
    text = "\n".join(answers)
    assert "provider-secret" not in text
    assert "my-secret" not in text


async def test_a_route_is_explained(quick_desk: AdminClient) -> None:
    await quick_desk.ask("POST", "/providers", 201, json=PROVIDER | {"model_mapping": {"m": "up"}})
    credential = await quick_desk.ask("POST", "/credentials", 201, json=CREDENTIAL | {"rate_limit": 5})
    said = await quick_desk.ask(
        "POST",
        "/route/explain",
        json={"model": "m", "credential": credential["id"], "user": "ann", "headers": {"x-a": "b"}},
    )
    assert said["order"] == [{"model": "m", "provider": "openai-main", "upstream_model": "up"}]
    assert said["routes"][0]["candidates"][0]["breaker"] == "closed"
    assert said["rate_limit"] == 5
    assert said["routes"][0]["candidates"][0]["prices"]["source"] == "none"
    assert (said["retries"]["max_retries"], said["timeouts"]["total"]) == (3, 600)
    assert said["refused"] is None
    unknown = await quick_desk.ask("POST", "/route/explain", json={"model": "other"})
    assert unknown["refused"]["code"] == "model_not_found"
    assert (await quick_desk.refused("POST", "/route/explain", json={"mode": "m"}))["param"] == "mode"
    await quick_desk.refused("POST", "/route/explain", 400, json={})
    await quick_desk.refused("POST", "/route/explain", 404, json={"model": "m", "credential": "nobody"})
    await quick_desk.refused("POST", "/route/explain", 404, json={"task_type": "juggling"})
