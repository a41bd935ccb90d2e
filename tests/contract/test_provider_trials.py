"""`POST /admin/v1/providers/{provider}/test` and `GET .../models`, over HTTP on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.flow.ports.upstream import TransportError
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.in_memory import FakeReply
from tests.fakes.stores import opened

SECRET = "sk-upstream-secret-77"
PROVIDER = {
    "provider_key": "main",
    "provider_type": "openai",
    "api_base": "https://main.test/v1",
    "api_key": SECRET,
    "model_mapping": {"fast": "gpt-fast"},
    "is_enabled": False,
}
CHAT = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "OK."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def reply(body: Any, status: int = 200) -> FakeReply:
    return FakeReply(msgspec.json.encode(body), status=status)


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    environ = {"LATER": "sk-x"}
    async with opened(store_url, data_dir, environ=environ) as store, admin_client(store) as desk:
        await desk.ask("POST", "/providers", 201, json=PROVIDER)
        yield desk
        environ.clear()


async def test_s2_27_a_stored_and_disabled_provider_is_asked_with_its_secret(desk: AdminClient) -> None:
    desk.bench.upstream.answers["main"] = [reply(CHAT)]
    answer = await desk.ask("POST", "/providers/1/test")
    assert answer.pop("latency_ms") >= 0
    assert answer == {
        "ok": True,
        "provider": "main",
        "model": "gpt-fast",
        "status": 200,
        "text": "OK.",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "error": None,
        "advice": None,
    }
    (sent,) = desk.bench.upstream.requests
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    assert [heard.ok for heard in desk.heard] == [True]
    assert (await desk.ask("GET", "/usage"))["data"] == []


async def test_a_model_may_be_named(desk: AdminClient) -> None:
    desk.bench.upstream.answers["main"] = [reply(CHAT), reply(CHAT), reply(CHAT)]
    for body, model in (
        ({"model": "gpt-slow"}, "gpt-slow"),
        ({"model": "fast"}, "gpt-fast"),
        ({}, "gpt-fast"),
    ):
        assert (await desk.ask("POST", "/providers/main/test", json=body))["model"] == model


async def test_a_failed_test_is_an_answer_without_a_secret(desk: AdminClient) -> None:
    desk.bench.upstream.answers["main"] = [reply({"error": {"message": f"Bad key {SECRET}"}}, 401)]
    answer = await desk.ask("POST", "/providers/1/test")
    assert (answer["ok"], answer["status"]) == (False, 401)
    assert answer["error"] == "The provider answered with status 401: Bad key [secret]."
    assert "api_key" in answer["advice"]


async def test_what_the_upstream_offers(desk: AdminClient) -> None:
    desk.bench.upstream.answers["main"] = [reply({"data": [{"id": "gpt-fast"}, {"id": "gpt-slow"}]})]
    assert await desk.ask("GET", "/providers/main/models") == {
        "data": [{"id": "gpt-fast", "served_as": ["fast"]}, {"id": "gpt-slow", "served_as": []}]
    }


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (TransportError("connect", "no connection"), 502, "upstream_error"),
        (TransportError("timeout", "no reply in time"), 504, "upstream_timeout"),
        (reply({"error": "no"}, 403), 502, "upstream_error"),
    ],
    ids=["connect", "timeout", "403"],
)
async def test_a_list_that_cannot_be_had(desk: AdminClient, fault: Any, status: int, code: str) -> None:
    desk.bench.upstream.answers["main"] = [fault]
    error = await desk.refused("GET", "/providers/1/models", status)
    assert error["code"] == code
    assert SECRET not in error["message"]


@pytest.mark.parametrize(("method", "path"), [("POST", "test"), ("GET", "models")])
async def test_there_must_be_such_a_provider(desk: AdminClient, method: str, path: str) -> None:
    for name in ("2", "nobody", "0"):
        await desk.refused(method, f"/providers/{name}/{path}", 404)


@pytest.mark.parametrize("body", [{"modell": "x"}, {"model": ""}, {"model": 5}, []])
async def test_the_body_is_strict(desk: AdminClient, body: Any) -> None:
    await desk.refused("POST", "/providers/1/test", json=body)


async def test_a_secret_that_cannot_be_had_is_told_before_anybody_is_asked(desk: AdminClient) -> None:
    await desk.ask("PATCH", "/providers/1", json={"api_key": "env:NOT_SET"})
    error = await desk.refused("POST", "/providers/1/test")
    assert error["param"] == "api_key"
    assert desk.bench.upstream.requests == []
