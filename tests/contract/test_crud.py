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
        "/prices": [
            {"provider": "p", "upstream_model": f"m{n}", "prices": {"input_tokens": 1}} for n in range(5)
        ],
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


async def test_every_list_can_be_searched(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        await desk.ask("POST", "/tenants", 201, json={"name": "acme"})
        budget = {"scope": "tenant", "subject": "acme", "amount_usd": "5", "period": "month"}
        rows: dict[str, tuple[dict[str, Any], str]] = {
            "/providers": ({"provider_key": "hay", "provider_type": "openai", "api_base": "http://x"}, "HA"),
            "/models": ({"name": "hay"}, "ay"),
            "/task-types": ({"name": "hay", "models": ["m"]}, "hay"),
            "/prices": (
                {
                    "provider": "p",
                    "upstream_model": "hay",
                    "prices": {"input_tokens": 1},
                    "confirm_magnitude": True,
                },
                "hAy",
            ),
            "/credentials": ({"name": "hay"}, "ha"),
            "/tenants": ({"name": "hay"}, "ha"),
            "/projects": ({"name": "hay"}, "ha"),
            "/budgets": ({"name": "hay", **budget}, "ha"),
        }
        for path, (body, search) in rows.items():
            made = await desk.ask("POST", path, 201, json=body)
            page = await desk.ask("GET", path, params={"search": search})
            assert [row["id"] for row in page["data"]] == [made["id"]]
            assert (await desk.ask("GET", path, params={"search": "needle"}))["data"] == []
            for bad in ("a\0", "x" * 257):
                error = await desk.refused("GET", path, params={"search": bad})
                assert error["param"] == "search"


async def test_c21_stale_workers_are_named(store_url: str | None, data_dir: Path) -> None:
    provider = {"provider_key": "p", "provider_type": "openai", "api_base": "http://x"}
    async with opened(store_url, data_dir, barrier_timeout=0.05) as store, admin_client(store) as desk:
        store.worker_registry.others = {4711: 1}
        assert (await desk.ask("POST", "/providers", 201, json=provider))["stale_workers"] == [4711]
        assert (await desk.ask("POST", "/config/reload"))["stale_workers"] == [4711]
        store.worker_registry.others = {4711: 3}
        assert "stale_workers" not in await desk.ask("PATCH", "/providers/1", json={"weight": 2})
        assert (await desk.ask("DELETE", "/providers/1"))["config_version"] == 4


ROWS: dict[str, list[dict[str, Any]]] = {
    "/providers": [
        {"provider_key": "plain", "provider_type": "openai", "api_base": "http://x"},
        {
            "provider_key": "full", "provider_type": "openai", "api_base": "http://x",
            "api_key": "sk-0123456789abcdef",
            "model_mapping": {"a": "b"}, "weight": 0, "is_enabled": False, "api_version": "v",
            "oauth2": {"token_url": "http://t/x", "client_id": "c", "scope": None}, "stream_usage": True,
            "probe_interval": 2.5, "price_provider": "azure",
        },
        {"provider_key": "short", "provider_type": "openai", "api_base": "http://x", "api_key": "sk-1"},
    ],
    "/models": [
        {"name": "plain"},
        {
            "name": "a/b", "strategy": "least_busy", "weights": {"gone": 2}, "fallbacks": ["f"], "affinity": "user",
            "context_fallbacks": ["c"], "policy_fallbacks": ["p"], "timeouts": {"idle": 3.0},
            "retry": {"max_retries": 1}, "cache": {"ttl": 5.0},
        },
    ],
    "/task-types": [{"name": "t", "models": ["nobody-serves-this"]}],
    "/prices": [
        {"provider": "plain", "upstream_model": "a/b", "prices": {"input_tokens": "2"}},
        {
            "provider": "gone", "upstream_model": "m", "prices": {"input_tokens": 0.0025, "output_tokens": "1e-3"},
            "valid_from": "2026-01-01T00:00:00+02:00", "valid_until": "2026-02-01", "confirm_magnitude": True,
        },
    ],
    "/credentials": [
        {"name": "plain"},
        {"name": "full", "allowed_models": ["x*"], "rate_limit": 0, "is_enabled": False, "cache": {"ttl": 5.0}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_what_get_returned_can_be_sent_back(store_url: str | None, data_dir: Path, method: str) -> None:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        for path, bodies in ROWS.items():
            for body in bodies:
                made = await desk.ask("POST", path, 201, json=body)
                row = f"{path}/{made['id']}"
                shown = await desk.ask("GET", row)
                version = (await desk.ask("GET", "/config/version"))["version"]
                written = await desk.ask(method, row, json=shown)
                again = {**written, "stale_workers": [1], "faults": ["weight must be 0 or more"]}
                assert (await desk.ask(method, row, json=again))["config_version"] == version
                assert {name: written[name] for name in shown} == shown
                assert written["config_version"] == version, "nothing changed"
                error = await desk.refused(method, row, json={**shown, "id": made["id"] + 1})
                assert error["param"] == "id"
                assert (await desk.ask("GET", row)) == shown
        (full,) = [one for one in (await store.catalog.load()).providers if one.provider_key == "full"]
        assert full.secret is not None
        assert full.secret.reveal() == "sk-0123456789abcdef"


@pytest.mark.parametrize(
    "field", ["id", "created_at", "updated_at", "warnings", "faults", "config_version", "key_prefix"]
)
async def test_a_new_row_has_no_fields_that_the_gateway_sets(data_dir: Path, field: str) -> None:
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        for path, bodies in ROWS.items():
            value: Any = {"id": 7, "config_version": 7, "warnings": [], "faults": []}.get(field, "x")
            error = await desk.refused("POST", path, json={**bodies[0], field: value})
            assert error["param"] == field
