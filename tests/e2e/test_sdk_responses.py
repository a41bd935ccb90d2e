"""The official OpenAI SDK uses the Responses API through the gateway: whole, streamed, with tools, failing."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import openai
import pydantic
import pytest
from openai.lib.streaming.responses import ResponseTextDeltaEvent
from openai.types.responses import FunctionToolParam

from tests.e2e.conftest import Desk
from tests.fakes.script import Script, Tool, error_script, script

STORE_MATTERS = False
HELLO = "Grüezi 🦜"
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CALL = Tool(id="call_1", name="weather", arguments='{"city": "Zürich"}')


def fake(**fields: Any) -> dict[str, Any]:
    return {"fake": script(**fields)}


def row_of(desk: Desk, lane: Any) -> dict[str, Any]:
    return desk.gateway.usage_row(str(lane.last.header("x-request-id")))


def post(desk: Desk, **fields: Any) -> Any:
    body = {"model": desk.model, "input": HELLO} | fields
    return desk.gateway.post("/v1/responses", desk.key, json=body)


def test_a_response_whole(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.sdk.responses.create(model=desk.model, input=HELLO, instructions="be kind", store=False)
    assert made.output_text == f"{lane.name} says: {HELLO}"
    assert made.usage is not None
    assert made.usage.total_tokens == 13
    assert lane.last.path == "/v1/responses"
    expected = {"model": desk.upstream_model, "input": HELLO, "instructions": "be kind", "store": False}
    assert lane.last.json == expected


async def test_a_response_whole_async(desk: Desk) -> None:
    lane = desk.provider()
    async with desk.async_sdk as client:
        asked = [client.responses.create(model=desk.model, input=HELLO) for _ in range(10)]
        made = await asyncio.gather(*asked)
    assert {one.output_text for one in made} == {f"{lane.name} says: {HELLO}"}


def test_a_response_streamed_is_relayed_byte_for_byte_but_for_its_id(desk: Desk) -> None:
    lane = desk.provider()
    answer = post(desk, stream=True)
    told = re.sub(rb"(resp_fake\d+)-\d+-[0-9a-f]{32}", rb"\1", answer.content)
    assert told != answer.content
    assert told == bytes(lane.last.sent)
    assert "[DONE]" not in answer.text
    assert "stream_options" not in lane.last.json
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_the_stream_helper(desk: Desk) -> None:
    lane = desk.provider()
    with desk.sdk.responses.stream(model=desk.model, input=HELLO) as stream:
        seen = "".join(event.delta for event in stream if isinstance(event, ResponseTextDeltaEvent))
        final = stream.get_final_response()
    assert seen == final.output_text == f"{lane.name} says: {HELLO}"
    assert final.usage is not None


async def test_the_stream_helper_async(desk: Desk) -> None:
    lane = desk.provider()
    async with desk.async_sdk as client:
        async with client.responses.stream(model=desk.model, input=HELLO) as stream:
            final = await stream.get_final_response()
        raw = await client.responses.create(model=desk.model, input=HELLO, stream=True)
        kinds = [event.type async for event in raw]
    assert final.output_text == f"{lane.name} says: {HELLO}"
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


class Verdict(pydantic.BaseModel):
    """What the structured-output test asks the model for."""

    word: str
    score: int


def test_structured_output(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.sdk.responses.parse(
        model=desk.model, input=HELLO, text_format=Verdict, extra_body=fake(text='{"word": "x", "score": 2}')
    )
    assert made.output_parsed == Verdict(word="x", score=2)
    assert lane.last.json["text"]["format"]["name"] == "Verdict"


def test_tools_whole_and_their_results(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.sdk.responses.create(
        model=desk.model, input=HELLO, tools=[WEATHER], extra_body=fake(tools=[CALL])
    )
    [call] = made.output
    assert call.type == "function_call"
    assert (call.call_id, call.arguments) == (CALL.id, CALL.arguments)
    assert lane.last.json["tools"] == [WEATHER]
    items: Any = [
        {"role": "user", "content": HELLO},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
    ]
    desk.sdk.responses.create(model=desk.model, input=items, extra_body=fake(text="wet"))
    assert lane.last.json["input"] == items


def test_tools_streamed_in_pieces_with_reasoning(desk: Desk) -> None:
    lane = desk.provider()
    plan = fake(tools=[CALL], reasoning=["which ", "city?"])
    with desk.sdk.responses.stream(model=desk.model, input=HELLO, tools=[WEATHER], extra_body=plan) as stream:
        final = stream.get_final_response()
    thought, call = final.output
    assert thought.type == "reasoning"
    assert call.type == "function_call"
    assert call.parsed_arguments == {"city": "Zürich"}
    assert row_of(desk, lane)["ttft_ms"] is not None


@pytest.mark.parametrize("stream", [False, True])
def test_a_row_names_the_endpoint_and_the_tokens(desk: Desk, stream: bool) -> None:
    lane = desk.provider()
    answer = post(desk, stream=stream)
    row = row_of(desk, lane)
    expected = {
        "endpoint": "/v1/responses", "provider": lane.name, "model": desk.model, "stream": stream,
        "upstream_model": desk.upstream_model, "status_code": 200, "outcome": "ok", "prompt_tokens": 9,
        "completion_tokens": 4, "total_tokens": 13, "cached_tokens": 2, "reasoning_tokens": 1,
        "usage_source": "provider", "response_bytes": len(answer.content), "attempts": 1,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    labels = {"endpoint": "/v1/responses", "model": desk.model, "status_code": "200"}
    assert desk.gateway.metrics("llm_proxy_requests_total", **labels) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_that_the_provider_does_not_tell_are_counted(desk: Desk, stream: bool) -> None:
    lane = desk.provider()
    post(desk, stream=stream, fake=script(usage="none", text="one two three"))
    row = row_of(desk, lane)
    assert (row["completion_tokens"], row["usage_source"]) == (3, "counted")
    assert row["prompt_tokens"] > 6


def test_an_incomplete_response_is_complete_as_a_reply(desk: Desk) -> None:
    lane = desk.provider()
    events = list(
        desk.sdk.responses.create(
            model=desk.model, input=HELLO, stream=True, extra_body=fake(finish_reason="length")
        )
    )
    assert events[-1].type == "response.incomplete"
    assert row_of(desk, lane)["outcome"] == "ok"


def test_the_simulated_provider_answers_too(desk: Desk) -> None:
    desk.provider(provider_type="simulated", api_base="simulated://demo?words=5&chunk_ms=0")
    with desk.sdk.responses.stream(model=desk.model, input=HELLO) as stream:
        final = stream.get_final_response()
    assert final.output_text == desk.sdk.responses.create(model=desk.model, input=HELLO).output_text
    assert len(final.output_text.split()) == 5
    assert (
        len(desk.sdk.embeddings.create(model=desk.model, input="one", dimensions=16).data[0].embedding) == 16
    )


# --- failures -------------------------------------------------------------------------------------------

FAILED = json.dumps(
    {
        "type": "response.failed",
        "sequence_number": 1,
        "response": {
            "id": "resp_1", "object": "response", "created_at": 1, "status": "failed", "model": "m", "output": [],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "error": {"code": "server_error", "message": "engine died with sk-live-12345678"},
        },
    }
)  # fmt: skip
CREATED = json.dumps(
    {"type": "response.created", "sequence_number": 0, "response": {"status": "in_progress"}}
)
PIECE = json.dumps(
    {
        "type": "response.output_text.delta", "sequence_number": 4, "delta": "abc", "logprobs": [],
        "item_id": "i", "output_index": 0, "content_index": 0,
    }
)  # fmt: skip
BAD = {
    "503": (True, error_script(503)),
    "503, whole": (False, error_script(503)),
    "a failed response, whole": (False, Script(body=json.dumps(json.loads(FAILED)["response"]).encode())),
    "reset after the head": (True, Script(fault="reset", fault_at=0)),
    "FIN after two events": (True, Script(fault="fin", fault_at=2)),
    "FIN before any content": (True, Script(fault="fin", fault_at=4)),
    "failed at once": (True, Script(events=(CREATED, FAILED))),
    "an error event": (True, Script(events=('{"type":"error","message":"overloaded","code":"overloaded"}',))),
    "an empty stream": (True, Script(events=())),
}


@pytest.mark.parametrize(("stream", "plan"), BAD.values(), ids=BAD.keys())
def test_failover_before_the_first_content(desk: Desk, stream: bool, plan: Script) -> None:
    bad = desk.failing(plan, "bad")
    good = desk.provider("good")
    for _ in range(2):
        answer = post(desk, stream=stream)
        assert answer.status_code == 200, answer.text
        assert f"resp_fake{good.last.number}" in answer.text
        assert row_of(desk, good)["outcome"] == "ok"
    assert (len(bad.chats), len(good.chats)) == (1, 2)


CUTS = [
    fake(fault="reset", fault_at=6, gap=0.03),
    fake(fault="fin", fault_at=6),
    fake(finish_reason=None),
    fake(finish_reason=None, framing="close"),
]


@pytest.mark.parametrize("plan", CUTS)
def test_the_sdk_raises_at_a_cut(desk: Desk, plan: dict[str, Any]) -> None:
    lane = desk.provider()
    got: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        got.extend(
            event.type
            for event in desk.sdk.responses.create(
                model=desk.model, input=HELLO, stream=True, extra_body=plan
            )
        )
    assert caught.value.code == "upstream_cut"
    assert "response.output_text.delta" in got
    row = row_of(desk, lane)
    assert (row["outcome"], row["error_type"], row["status_code"]) == ("error", "upstream_cut", 200)
    assert row["completion_tokens"] > 0, "what came is counted"
    with (
        pytest.raises(openai.APIError),
        desk.sdk.responses.stream(model=desk.model, input=HELLO, extra_body=plan) as stream,
    ):
        stream.get_final_response()


def test_a_response_that_fails_after_its_first_content(desk: Desk) -> None:
    lane = desk.provider()
    plan = fake(events=[CREATED, PIECE, FAILED], gap=0.02)
    events: list[Any] = []
    with pytest.raises(openai.APIError, match=r"engine died with \[secret\]"):
        events.extend(desk.sdk.responses.create(model=desk.model, input=HELLO, stream=True, extra_body=plan))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "engine died with [secret]"
    row = row_of(desk, lane)
    assert (row["outcome"], row["error_type"]) == ("error", "server_error")


# --- what is not answered ---------------------------------------------------------------------------------


def test_a_model_that_nobody_serves_is_not_found(desk: Desk) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        desk.sdk.responses.create(model=desk.model, input=HELLO)
    assert caught.value.code == "model_not_found"


def test_a_response_goes_on_at_its_provider_for_its_credential(desk: Desk) -> None:
    lane = desk.provider()
    sdk = desk.sdk
    made = sdk.responses.create(model=desk.model, input=HELLO)
    other = desk.provider("other")
    for _ in range(4):
        made = sdk.responses.create(model=desk.model, input=HELLO, previous_response_id=made.id)
        assert re.fullmatch(r"resp_fake\d+", lane.last.json["previous_response_id"])
        with sdk.responses.stream(model=desk.model, input=HELLO, previous_response_id=made.id) as stream:
            made = stream.get_final_response()
    assert other.calls == []
    strange = desk.credential("-other")
    answer = desk.gateway.post(
        "/v1/responses", strange, json={"model": desk.model, "input": HELLO, "previous_response_id": made.id}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "previous_response_not_found")


def test_what_is_kept_at_one_provider_needs_a_model_with_one(desk: Desk) -> None:
    lane = desk.provider()
    sdk = desk.sdk
    sdk.responses.create(model=desk.model, input=HELLO, prompt={"id": "pmpt_1"})
    assert lane.last.json["prompt"] == {"id": "pmpt_1"}
    desk.provider("other")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(model=desk.model, input=HELLO, prompt={"id": "pmpt_1"})
    assert (caught.value.code, caught.value.param) == ("bound_to_one_provider", "prompt")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(model=desk.model, input=HELLO, background=True)
    assert caught.value.code == "background_not_supported"


def test_responses_cannot_be_asked_for_later(desk: Desk) -> None:
    sdk = desk.sdk
    for ask in (
        lambda: sdk.responses.retrieve("resp_1"),
        lambda: sdk.responses.delete("resp_1"),
        lambda: sdk.responses.cancel("resp_1"),
        lambda: sdk.responses.input_items.list("resp_1"),
    ):
        with pytest.raises(openai.NotFoundError, match="stores no responses"):
            ask()
    assert desk.gateway.http.get("/v1/responses/resp_1").status_code == 401
    answer = desk.gateway.http.get("/v1/responses", headers={"authorization": f"Bearer {desk.key}"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
