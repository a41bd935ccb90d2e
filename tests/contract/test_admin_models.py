"""`/admin/v1/models` and `/admin/v1/task-types` over HTTP on both stores, and the newer fields of the others."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
DEFAULTS: dict[str, Any] = {
    "strategy": "weighted_round_robin",
    "weights": {},
    "fallbacks": [],
    "context_fallbacks": [],
    "policy_fallbacks": [],
    "timeouts": {"connect": None, "first_content": None, "idle": None, "total": None},
    "retry": {
        "max_retries": None,
        "initial_backoff_ms": None,
        "max_backoff_ms": None,
        "backoff_factor": None,
        "jitter": None,
        "retry_cut": True,
    },
    "affinity": None,
    "cache": None,
}
EVERYTHING: dict[str, Any] = {
    "name": "org/model:free",
    "strategy": "least_busy",
    "weights": {"main": 3, "backup": 0},
    "fallbacks": ["gpt-4o"],
    "context_fallbacks": ["big"],
    "policy_fallbacks": ["mild"],
    "timeouts": {"connect": 1, "first_content": 20.5, "idle": 5, "total": 60},
    "retry": {
        "max_retries": 1,
        "initial_backoff_ms": 10,
        "max_backoff_ms": 20,
        "backoff_factor": 1.5,
        "jitter": 0,
        "retry_cut": False,
    },
    "affinity": "header:x-session",
    "cache": {"is_enabled": True, "ttl": 60, "is_shared": True},
}
PROVIDER = {
    "provider_key": "main",
    "provider_type": "openai",
    "api_base": "http://x/v1",
    "api_key": "sk-client-secret",
    "model_mapping": {"org/model:free": "m", "gpt-4o": "gpt-4o"},
}


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        yield desk


@pytest.fixture
async def quick_desk(data_dir: Path) -> AsyncIterator[AdminClient]:
    """On SQLite alone: for what happens before a store is asked."""
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        yield desk


async def test_a_models_life(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/models", 201, json=EVERYTHING)
    times = (made.pop("created_at"), made.pop("updated_at"))
    assert all(TIME.fullmatch(time) for time in times)
    warnings = made.pop("warnings")
    assert made == {"id": 1, "config_version": 2, **EVERYTHING}
    assert warnings == [
        "name: no enabled provider serves this model",
        "weights: there is no enabled provider 'main'",
        "weights: there is no enabled provider 'backup'",
        "fallbacks: no enabled provider serves 'gpt-4o'",
        "context_fallbacks: no enabled provider serves 'big'",
        "policy_fallbacks: no enabled provider serves 'mild'",
    ]
    (row,) = (await desk.ask("GET", "/models"))["data"]
    for ref in ("1", "org/model:free", "org%2Fmodel%3Afree"):
        assert row == await desk.ask("GET", f"/models/{ref}")
    changed = await desk.ask(
        "PUT", "/models/org%2Fmodel:free", json={"timeouts": {"idle": 7}, "weights": None, "strategy": None}
    )
    assert changed["timeouts"] == DEFAULTS["timeouts"] | {"idle": 7}, "objects are replaced as a whole"
    assert (changed["weights"], changed["strategy"]) == ({}, "weighted_round_robin"), "null resets"
    assert changed["retry"] == EVERYTHING["retry"], "what is left out stays"
    reset = await desk.ask("PATCH", "/models/1", json=dict.fromkeys(DEFAULTS))
    assert {name: reset[name] for name in DEFAULTS} == DEFAULTS
    assert await desk.ask("DELETE", "/models/org/model:free") == {
        "id": 1, "deleted": True, "config_version": 5,
    }  # fmt: skip
    for method in ("GET", "DELETE"):
        await desk.refused(method, "/models/1", 404)


async def test_a_name_alone_is_enough_and_what_was_shown_can_be_sent_back(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/models", 201, json={"name": "m"})
    assert {name: made[name] for name in DEFAULTS} == DEFAULTS
    row = await desk.ask("GET", "/models/m")
    for name in ("id", "created_at", "updated_at", "warnings"):
        del row[name]
    assert (await desk.ask("PUT", "/models/m", json=row))["config_version"] == 2, "nothing changed"


async def test_a_name_of_digits_is_refused_because_a_path_takes_it_for_an_id(desk: AdminClient) -> None:
    await desk.refused("POST", "/models", 422, json={"name": "7"})
    made = await desk.ask("POST", "/models", 201, json={"name": "m"})
    assert (await desk.ask("GET", f"/models/{made['id']}"))["name"] == "m"
    await desk.refused("GET", "/models/7", 404)


async def test_warnings_follow_the_providers_and_deleting_one_stays_possible(desk: AdminClient) -> None:
    await desk.ask("POST", "/providers", 201, json=PROVIDER)
    await desk.ask(
        "POST", "/providers", 201, json=PROVIDER | {"provider_key": "other", "model_mapping": {"x": "y"}}
    )
    body = {"name": "gpt-4o", "weights": {"main": 0, "other": 1}, "fallbacks": ["org/model:free"]}
    made = await desk.ask("POST", "/models", 201, json=body)
    assert made["warnings"] == ["weights: provider 'other' does not serve this model"]
    await desk.ask("POST", "/task-types", 201, json={"name": "t", "models": ["gpt-4o", "x"]})
    await desk.ask("DELETE", "/providers/main")
    assert (await desk.ask("GET", "/models/gpt-4o"))["warnings"] == [
        "name: no enabled provider serves this model",
        "weights: there is no enabled provider 'main'",
        "weights: provider 'other' does not serve this model",
        "fallbacks: no enabled provider serves 'org/model:free'",
    ]
    assert (await desk.ask("GET", "/task-types/t"))["warnings"] == [
        "models: no enabled provider serves 'gpt-4o'"
    ]


async def test_models_without_settings_are_named_when_asked_for(desk: AdminClient) -> None:
    await desk.ask("POST", "/providers", 201, json=PROVIDER)
    await desk.ask("POST", "/models", 201, json={"name": "gpt-4o"})
    assert "unconfigured" not in await desk.ask("GET", "/models")
    assert (await desk.ask("GET", "/models?all=true"))["unconfigured"] == ["org/model:free"]
    error = await desk.refused("GET", "/models?all=perhaps")
    assert error["param"] == "all"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("name", None, "name"), ("name", "", "name"), ("name", 5, "name"), ("name", "gpt-*", "name"),
        ("name", "a\n", "name"), ("name", "x" * 257, "name"),
        ("strategy", "fastest", "strategy"), ("strategy", 1, "strategy"),
        ("weights", {"a": -1}, "weights"), ("weights", {"a": 1.5}, "weights"), ("weights", {"a": True}, "weights"),
        ("weights", [], "weights"), ("weights", {"": 1}, "weights"), ("weights", {"a": 2**31}, "weights"),
        ("fallbacks", "m", "fallbacks"), ("fallbacks", [""], "fallbacks"), ("fallbacks", ["m"], "fallbacks"),
        ("fallbacks", ["a*"], "fallbacks"), ("context_fallbacks", ["m"], "context_fallbacks"),
        ("policy_fallbacks", [1], "policy_fallbacks"),
        ("timeouts", {"idle": 0}, "timeouts.idle"), ("timeouts", {"connect": -1}, "timeouts.connect"),
        ("timeouts", {"total": "5"}, "timeouts.total"), ("timeouts", {"read": 5}, "timeouts.read"),
        ("timeouts", {"total": 1e9}, "timeouts.total"), ("timeouts", 5, "timeouts"),
        ("timeouts", {"total": True}, "timeouts.total"),
        ("retry", {"max_retries": -1}, "retry.max_retries"), ("retry", {"max_retries": 101}, "retry.max_retries"),
        ("retry", {"max_retries": 10**30}, "retry.max_retries"), ("retry", {"jitter": 1.1}, "retry.jitter"),
        ("retry", {"backoff_factor": 0.5}, "retry.backoff_factor"),
        ("retry", {"initial_backoff_ms": 1.5}, "retry.initial_backoff_ms"),
        ("retry", {"max_backoff_ms": 3_600_001}, "retry.max_backoff_ms"),
        ("retry", {"retry_cut": None}, "retry.retry_cut"), ("retry", {"retries": 1}, "retry.retries"),
        ("affinity", "cookie", "affinity"), ("affinity", "header:", "affinity"), ("affinity", "", "affinity"),
        ("affinity", "header:a b", "affinity"),
        ("cache", {"ttl": 0}, "cache.ttl"), ("cache", {"is_enabled": 1}, "cache.is_enabled"),
        ("cache", True, "cache"),
        ("weight", 1, "weight"), ("id", 5, "id"),
    ],
)  # fmt: skip
async def test_c31_a_bad_model_names_the_field(
    quick_desk: AdminClient, field: str, value: Any, param: str
) -> None:
    error = await quick_desk.refused("POST", "/models", json={"name": "m", field: value})
    assert error["param"] == param or str(error["param"]).startswith(param + ".")
    await quick_desk.ask("POST", "/models", 201, json={"name": "m"})
    error = await quick_desk.refused("PATCH", "/models/m", json={field: value})
    assert error["param"] == param or str(error["param"]).startswith(param + ".")
    assert await quick_desk.store.catalog.version() == 2


async def test_numbers_that_json_does_not_have_are_refused(quick_desk: AdminClient) -> None:
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        content = b'{"name":"m","timeouts":{"idle":' + number + b"}}"
        headers = {"content-type": "application/json"}
        error = await quick_desk.refused("POST", "/models", content=content, headers=headers)
        assert error["param"] == "timeouts.idle"


async def test_conflicts_and_unknown_ones(desk: AdminClient) -> None:
    task = {"name": "t", "models": ["m"]}
    await desk.ask("POST", "/models", 201, json={"name": "m"})
    await desk.ask("POST", "/task-types", 201, json=task)
    for noun, body in (("models", {"name": "m"}), ("task-types", task)):
        error = await desk.refused("POST", f"/{noun}", 409, json=body)
        assert (error["param"], error["code"]) == ("name", "conflict")
        for ref in ("2", "99999999999999999999999", "nobody", "a/b", "%00", "²", "-1"):
            for method in ("GET", "PUT", "DELETE"):
                arguments: dict[str, Any] = {"json": {}} if method == "PUT" else {}
                error = await desk.refused(method, f"/{noun}/{ref}", 404, **arguments)
                assert error["code"] == "not_found"


async def test_a_task_types_life(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/task-types", 201, json={"name": "text/short", "models": ["b", "a"]})
    assert (made["id"], made["models"], made["config_version"]) == (1, ["b", "a"], 2)
    (row,) = (await desk.ask("GET", "/task-types"))["data"]
    assert row == await desk.ask("GET", "/task-types/1") == await desk.ask("GET", "/task-types/text%2Fshort")
    changed = await desk.ask("PATCH", "/task-types/text/short", json={"name": "short"})
    assert (changed["name"], changed["models"]) == ("short", ["b", "a"])
    assert (await desk.ask("PUT", "/task-types/short", json={"models": ["c"]}))["models"] == ["c"]
    for field, value in (
        ("models", []),
        ("models", None),
        ("models", ["a*"]),
        ("name", None),
        ("model", "x"),
    ):
        error = await desk.refused("PUT", "/task-types/1", json={field: value})
        assert error["param"] == field
    assert (await desk.ask("DELETE", "/task-types/short"))["deleted"] is True


@pytest.mark.parametrize("noun", ["models", "task-types"])
async def test_lists_come_in_pages(desk: AdminClient, noun: str) -> None:
    for number in range(3):
        await desk.ask(
            "POST",
            f"/{noun}",
            201,
            json={"name": f"n{number}"} | ({"models": ["m"]} if "task" in noun else {}),
        )
    first = await desk.ask("GET", f"/{noun}", params={"limit": 2})
    second = await desk.ask("GET", f"/{noun}", params={"limit": 2, "cursor": first["next_cursor"]})
    assert [row["id"] for row in first["data"] + second["data"]] == [1, 2, 3]
    assert second["next_cursor"] is None


async def test_a_row_broken_by_hand_is_listed_and_mended(desk: AdminClient) -> None:
    await desk.ask("POST", "/models", 201, json={"name": "m"})
    await desk.ask("POST", "/task-types", 201, json={"name": "t", "models": ["m"]})
    await desk.ask("POST", "/providers", 201, json=PROVIDER)
    await desk.ask("POST", "/credentials", 201, json={"name": "c"})
    for table, column in (
        ("models", "timeouts"), ("task_types", "models"),
        ("providers", "model_mapping"), ("credentials", "allowed_models"),
    ):  # fmt: skip
        await desk.store.sql(f"UPDATE {table} SET {column} = '7'")
    await desk.refused("POST", "/config/reload")
    assert (await desk.ask("GET", "/models"))["data"][0]["timeouts"] is None
    assert (await desk.ask("GET", "/task-types"))["data"][0]["models"] is None
    assert (await desk.ask("GET", "/providers"))["data"][0]["model_mapping"] is None
    assert (await desk.ask("GET", "/credentials"))["data"][0]["allowed_models"] == []
    await desk.ask("PATCH", "/models/m", json={"timeouts": None})
    await desk.ask("PATCH", "/task-types/t", json={"models": ["m"]})
    await desk.ask("PATCH", "/providers/main", json={"model_mapping": None})
    assert "faults" not in await desk.ask("PATCH", "/credentials/1", json={"allowed_models": []})


# --- what providers and credentials have beside ---------------------------------------------------------


async def test_a_providers_oauth2_and_its_other_newer_fields(desk: AdminClient) -> None:
    oauth2 = {"token_url": "https://login.example/token?tenant=1", "client_id": "me", "scope": None}
    beside: dict[str, Any] = {
        "oauth2": oauth2,
        "api_version": "2024-10-21",
        "stream_usage": False,
        "probe_interval": 30,
    }
    made = await desk.ask("POST", "/providers", 201, json=PROVIDER | beside)
    assert {name: made[name] for name in beside} == beside
    row = await desk.ask("GET", "/providers/main")
    for name in ("id", "created_at", "updated_at"):
        del row[name]
    assert (await desk.ask("PUT", "/providers/main", json=row))["config_version"] == 2, "nothing changed"
    error = await desk.refused("PATCH", "/providers/main", json={"api_key": None})
    assert error["param"] == "api_key"
    reset = await desk.ask("PATCH", "/providers/main", json=dict.fromkeys(beside))
    assert {name: reset[name] for name in beside} == dict.fromkeys(beside)


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("oauth2", {"token_url": "https://u:hunter2@x/t", "client_id": "me"}, "oauth2.token_url"),
        ("oauth2", {"token_url": "ftp://x", "client_id": "me"}, "oauth2.token_url"),
        ("oauth2", {"token_url": "https://x/t", "client_id": ""}, "oauth2.client_id"),
        ("oauth2", {"token_url": "https://x/t"}, "oauth2.client_id"),
        ("oauth2", {"token_url": "https://x/t", "client_id": "me", "secret": "hunter2"}, "oauth2.secret"),
        ("oauth2", "hunter2", "oauth2"),
        ("api_version", "2024 10", "api_version"), ("api_version", "", "api_version"),
        ("stream_usage", "yes", "stream_usage"), ("stream_usage", 1, "stream_usage"),
        ("probe_interval", 0.5, "probe_interval"), ("probe_interval", "5", "probe_interval"),
        ("probe_interval", 1e9, "probe_interval"),
    ],
)  # fmt: skip
async def test_bad_newer_fields_of_a_provider_are_named(
    quick_desk: AdminClient, field: str, value: Any, param: str
) -> None:
    error = await quick_desk.refused("POST", "/providers", json=PROVIDER | {field: value})
    assert error["param"] == param
    assert "hunter2" not in str(error)


async def test_a_credentials_cache(desk: AdminClient) -> None:
    cache = {"is_enabled": True, "ttl": None, "is_shared": False}
    made = await desk.ask("POST", "/credentials", 201, json={"name": "c", "cache": {}})
    assert made["cache"] == cache
    changed = await desk.ask("PATCH", "/credentials/1", json={"cache": {"is_enabled": False, "ttl": 5}})
    assert changed["cache"] == cache | {"is_enabled": False, "ttl": 5}
    assert (await desk.ask("PUT", "/credentials/1", json={"name": "d"}))["cache"] == changed["cache"]
    error = await desk.refused("PATCH", "/credentials/1", json={"cache": {"ttl": -5}})
    assert error["param"] == "cache.ttl"
    assert (await desk.ask("PATCH", "/credentials/1", json={"cache": None}))["cache"] is None
