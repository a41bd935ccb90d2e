"""The fake and the simulated provider speak of embeddings and responses as the official SDK's types have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pydantic
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.responses import Response, ResponseStreamEvent

from llm_gateway.infra.upstream.simulated.upstream import SimulatedUpstream
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.wire.openai_responses.responses import response_as_events
from tests.fakes.calls import Lane
from tests.fakes.responses_wire import response
from tests.fakes.script import Script, Tool, script
from tests.fakes.upstream import FakeUpstream

TOOLS = (Tool(id="call_1", name="weather", arguments='{"city": "Zürich", "days": 3}'),)
ASKED = [{}, {"fake": script(tools=TOOLS)}, {"fake": script(reasoning=("so",), finish_reason="length")}]
SOON = 10.0


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    started = FakeUpstream().start()
    yield started.lane("responses")
    started.stop()


def ask(lane: Lane, path: str, **body: Any) -> httpx.Response:
    content = {"model": "m", "input": "Grüezi"} | body
    return httpx.post(lane.base_url + path, json=content, trust_env=False, verify=False, timeout=5)


def events(text: str) -> list[Any]:
    """Validate every event, whose name and type have to agree, and return their data."""
    found = []
    for number, block in enumerate(text.removesuffix("\n\n").split("\n\n")):
        name, data = block.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        assert value["sequence_number"] == number
        strictly(pydantic.TypeAdapter(ResponseStreamEvent), value)
        found.append(value)
    return found


def strictly(kind: pydantic.TypeAdapter[Any], value: Any) -> Any:
    """Validate, and refuse fields that the SDK does not know."""
    made = kind.validate_python(value)
    _no_extras(made)
    return made


def _no_extras(value: object) -> None:
    if isinstance(value, pydantic.BaseModel):
        # OpenAI's servers say `store`, which the SDK's type leaves out.
        unknown = set(value.model_extra or ()) - {"store"}
        assert not unknown, f"{type(value).__name__} has unknown fields: {unknown}"
        for part in vars(value).values():
            _no_extras(part)
    elif isinstance(value, list):
        for part in value:
            _no_extras(part)


@pytest.mark.parametrize("asked", ASKED)
def test_a_response_is_one_and_its_stream_says_the_same(lane: Lane, asked: dict[str, Any]) -> None:
    whole = ask(lane, "/responses", **asked).json()
    strictly(pydantic.TypeAdapter(Response), whole)
    told = events(ask(lane, "/responses", stream=True, **asked).text)
    last = told[-1]["response"]
    assert told[0]["type"] == "response.created"
    assert {**last, "id": "", "output": 0} == {**whole, "id": "", "output": 0}
    assert [item["type"] for item in last["output"]] == [item["type"] for item in whole["output"]]


@pytest.mark.parametrize("given", ["one", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
def test_embeddings_are_embeddings(lane: Lane, given: Any) -> None:
    made = strictly(
        pydantic.TypeAdapter(CreateEmbeddingResponse), ask(lane, "/embeddings", input=given).json()
    )
    assert len(made.data) == (2 if isinstance(given, list) and len(given) == 2 else 1)


@pytest.mark.parametrize("plan", [Script(), Script(tools=TOOLS), Script(reasoning=("so",))])
def test_a_whole_response_told_as_a_stream_is_valid(plan: Script) -> None:
    whole = response(1, plan, {"model": "m", "input": "a"}, "fake")
    told = events(response_as_events(json.dumps(whole).encode()).decode())
    assert told[-1]["response"] == whole


async def _simulated(path: str, **body: Any) -> bytes:
    content = msgspec.json.encode({"model": "m", "input": "hello", **body})
    request = UpstreamRequest(url=f"simulated://s/{path}?words=7&chunk_ms=0", headers={}, body=content)
    reply = await SimulatedUpstream().send(request, SOON)
    assert reply.status == 200
    return await reply.read_all(1 << 20, SOON)


@pytest.mark.parametrize("limit", [None, 3])
async def test_the_simulated_provider_says_the_same_whole_and_streamed(limit: int | None) -> None:
    whole = json.loads(await _simulated("responses", max_output_tokens=limit))
    strictly(pydantic.TypeAdapter(Response), whole)
    told = events((await _simulated("responses", max_output_tokens=limit, stream=True)).decode())
    text = "".join(one["delta"] for one in told if one["type"] == "response.output_text.delta")
    assert text == whole["output"][0]["content"][0]["text"]
    assert told[-1]["response"] | {"created_at": 0} == whole | {"created_at": 0}
    assert told[-1]["type"] == ("response.incomplete" if limit else "response.completed")
    assert whole["usage"]["output_tokens"] == (limit or 7)


@pytest.mark.parametrize("given", ["one", ["one", "two"], [1, 2, 3], [[1, 2], [3]], []])
async def test_the_simulated_provider_embeds(given: Any) -> None:
    made = json.loads(await _simulated("embeddings", input=given, dimensions=5))
    checked = strictly(pydantic.TypeAdapter(CreateEmbeddingResponse), made)
    assert all(len(one.embedding) == 5 for one in checked.data)
    assert len(checked.data) == (2 if len(given) == 2 else 1)
    assert made == json.loads(await _simulated("embeddings", input=given, dimensions=5))


async def test_the_simulated_provider_refuses_what_it_cannot_read() -> None:
    request = UpstreamRequest(
        url="simulated://s/embeddings", headers={}, body=b'{"input":"a","dimensions":"many"}'
    )
    assert (await SimulatedUpstream().send(request, SOON)).status == 400
