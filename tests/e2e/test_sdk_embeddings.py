"""The official OpenAI SDK gets embeddings through the gateway, and they are metered."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.conftest import Desk
from tests.fakes.responses_wire import VECTOR
from tests.fakes.script import Script, error_script, script

STORE_MATTERS = False


def row_of(desk: Desk, lane: Any) -> dict[str, Any]:
    return desk.gateway.usage_row(str(lane.last.header("x-request-id")))


def test_embeddings_as_the_sdk_asks_for_them(desk: Desk) -> None:
    """The SDK asks for base64 unless told otherwise, and unpacks it."""
    lane = desk.provider()
    made = desk.sdk.embeddings.create(model=desk.model, input=["one", "two"])
    assert [one.embedding for one in made.data] == [list(VECTOR)] * 2
    assert made.usage.total_tokens == 9
    assert lane.last.path == "/v1/embeddings"
    expected = {"model": desk.upstream_model, "input": ["one", "two"], "encoding_format": "base64"}
    assert lane.last.json == expected


@pytest.mark.parametrize("given", ["one", [1, 2, 3], [[1, 2], [3]]])
def test_embeddings_as_floats(desk: Desk, given: Any) -> None:
    lane = desk.provider()
    made = desk.sdk.embeddings.create(model=desk.model, input=given, encoding_format="float", dimensions=3)
    assert made.data[0].embedding == list(VECTOR)
    assert lane.last.json["input"] == given
    assert lane.last.json["dimensions"] == 3


async def test_embeddings_async(desk: Desk) -> None:
    desk.provider()
    async with desk.async_sdk as client:
        for encoding in ("float", "base64"):
            made = await client.embeddings.create(
                model=desk.model,
                input="one",
                encoding_format=encoding,
            )
            assert len(made.data) == 1


def test_a_row_names_the_endpoint_and_the_tokens(desk: Desk) -> None:
    lane = desk.provider()
    desk.sdk.embeddings.create(model=desk.model, input="one")
    row = row_of(desk, lane)
    expected = {
        "endpoint": "/v1/embeddings", "provider": lane.name, "model": desk.model, "stream": False,
        "status_code": 200, "outcome": "ok", "prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9,
        "usage_source": "provider",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    labels = {"endpoint": "/v1/embeddings", "model": desk.model, "status_code": "200"}
    assert desk.gateway.metrics("llm_proxy_requests_total", **labels) == 1


def test_tokens_that_the_provider_does_not_tell_are_counted(desk: Desk) -> None:
    lane = desk.provider()
    body = {"model": desk.model, "input": ["one two", "three"], "fake": script(usage="none")}
    desk.gateway.post("/v1/embeddings", desk.key, json=body)
    row = row_of(desk, lane)
    assert (row["prompt_tokens"], row["completion_tokens"], row["usage_source"]) == (3, 0, "counted")


@pytest.mark.parametrize(
    "plan", [error_script(503), Script(fault="fin", fault_at=50), Script(body=b"<html>")]
)
def test_failover(desk: Desk, plan: Script) -> None:
    bad = desk.failing(plan, "bad")
    good = desk.provider("good")
    for _ in range(2):
        assert desk.sdk.embeddings.create(model=desk.model, input="one").data[0].embedding == list(VECTOR)
    assert (len(bad.chats), len(good.chats)) == (1, 2)


def test_a_request_without_input_is_refused_by_name(desk: Desk) -> None:
    lane = desk.provider()
    answer = desk.gateway.post("/v1/embeddings", desk.key, json={"model": desk.model})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")
    assert lane.calls == []
    with pytest.raises(openai.NotFoundError):
        desk.sdk.embeddings.create(model="nobody-has-this", input="one")
