"""Explaining a request by an earlier version: the routes of then, and nothing of the live state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_gateway.flow.explain.answer import Question
from llm_gateway.flow.explain.earlier import NOTES, explain_earlier
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.routing import trip
from tests.fakes.stores import KINDS, opened


async def providers(desk: AdminClient, version: int | None, **question: Any) -> list[str]:
    body = {"model": "m", **question} | ({} if version is None else {"config_version": version})
    answer = await desk.ask("POST", "/route/explain", json=body)
    assert answer["notes"] == ([] if version is None else list(NOTES))
    if version is not None:
        assert answer["config_version"] == version
    return [attempt["provider"] for attempt in answer["order"]]


async def test_the_routes_are_those_of_then(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        await desk.ask("POST", "/providers", 201, json=_provider("old", {"m": "up"}))
        await desk.ask("POST", "/providers", 201, json=_provider("other", {"n": "up"}))
        await desk.ask("POST", "/models", 201, json={"name": "m", "fallbacks": ["n"]})
        await desk.ask("POST", "/credentials", 201, json={"name": "c", "allowed_models": ["m"]})
        await desk.ask("PATCH", "/providers/old", json={"is_enabled": False})
        await desk.ask("DELETE", "/credentials/1")
        assert await providers(desk, 2) == ["old"]
        assert await providers(desk, 3) == ["old"]
        assert await providers(desk, 4) == ["old", "other"]
        assert await providers(desk, 5, credential="c") == ["old"]
        assert await providers(desk, 6) == await providers(desk, None) == ["other"]
        gone = {"model": "m", "config_version": 4, "credential": "c"}
        assert (await desk.refused("POST", "/route/explain", 404, json=gone))["message"]
        error = await desk.refused("POST", "/route/explain", 404, json={"model": "m", "config_version": 99})
        assert "no config version 99" in error["message"]
        await store.sql("UPDATE providers SET weight = 5 WHERE id = 2")
        error = await desk.refused("POST", "/route/explain", json={"model": "m", "config_version": 4})
        assert (error["param"], error["code"]) == ("config_version", "config_version_unknown")
        assert "made without the gateway" in error["message"]
        await desk.refused("POST", "/route/explain", json={"model": "m", "config_version": 0})


async def test_the_live_state_is_neither_read_nor_changed(data_dir: Path) -> None:
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        await desk.ask("POST", "/providers", 201, json=_provider("a", {"m": "up"}))
        await desk.ask("POST", "/providers", 201, json=_provider("b", {"m": "up"}))
        snapshot = store.holder.current
        assert snapshot is not None
        selector = desk.gateway.selector
        trip(selector, snapshot, "a", now=desk.gateway.clock.monotonic())
        assert await providers(desk, None) == ["b"]
        answers = [
            await explain_earlier(desk.gateway, store.history, KINDS, Question(model="m"), 3)
            for _ in range(3)
        ]
        assert [[one.provider for one in answer.order] for answer in answers] == [["a", "b"]] * 3
        assert answers[0].routes[0].candidates[0].breaker == "closed"
        assert await providers(desk, None) == ["b"]
        assert [state.provider_key for state in selector.busy_deployments()] == ["a"]


def _provider(key: str, mapping: dict[str, str]) -> dict[str, Any]:
    return {
        "provider_key": key,
        "provider_type": "openai",
        "api_base": "http://127.0.0.1:9/v1",
        "model_mapping": mapping,
    }
