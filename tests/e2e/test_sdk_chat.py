"""The official OpenAI SDK chats through the gateway as it does with OpenAI: whole, streamed, with tools, parsed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pydantic
import pytest
from openai.lib.streaming.chat import ContentDeltaEvent
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.e2e.conftest import Desk
from tests.fakes.script import Tool, script

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Grüezi 🦜"}]
WEATHER: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
CALLS = (
    Tool(id="call_1", name="weather", arguments='{"city": "Zürich"}'),
    Tool(id="call_2", name="weather", arguments='{"city": "São Paulo"}'),
)


class Verdict(pydantic.BaseModel):
    """What the structured-output tests ask the model for."""

    word: str
    score: int


def test_s4_24_chat_whole(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.sdk.chat.completions.create(model=desk.model, messages=HELLO, temperature=0.5)
    assert made.choices[0].message.content == f"{lane.name} says: Grüezi 🦜"
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == 13
    assert lane.last.path == "/v1/chat/completions"
    assert lane.last.json == {"model": desk.upstream_model, "messages": HELLO, "temperature": 0.5}


async def test_s4_24_chat_whole_async(desk: Desk) -> None:
    lane = desk.provider()
    async with desk.async_sdk as client:
        asked = [client.chat.completions.create(model=desk.model, messages=HELLO) for _ in range(20)]
        made = await asyncio.gather(*asked)
    assert {one.choices[0].message.content for one in made} == {f"{lane.name} says: Grüezi 🦜"}
    assert len({one.id for one in made}) == 20


def test_s4_2_chat_streamed(desk: Desk) -> None:
    lane = desk.provider()
    chunks = list(desk.sdk.chat.completions.create(model=desk.model, messages=HELLO, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == f"{lane.name} says: Grüezi 🦜"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


async def test_s4_2_chat_streamed_async(desk: Desk) -> None:
    lane = desk.provider()
    async with desk.async_sdk as client:
        stream = await client.chat.completions.create(
            model=desk.model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 13
    words = (chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert "".join(words) == f"{lane.name} says: Grüezi 🦜"


def test_s4_3_stream_helper(desk: Desk) -> None:
    lane = desk.provider()
    with desk.sdk.chat.completions.stream(model=desk.model, messages=HELLO) as stream:
        seen = "".join(event.delta for event in stream if isinstance(event, ContentDeltaEvent))
        final = stream.get_final_completion()
    assert seen == final.choices[0].message.content == f"{lane.name} says: Grüezi 🦜"


async def test_s4_3_stream_helper_async(desk: Desk) -> None:
    lane = desk.provider()
    async with (
        desk.async_sdk as client,
        client.chat.completions.stream(model=desk.model, messages=HELLO) as stream,
    ):
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == f"{lane.name} says: Grüezi 🦜"


def test_s4_3_tools_whole(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.sdk.chat.completions.create(
        model=desk.model, messages=HELLO, tools=WEATHER, extra_body={"fake": script(tools=CALLS)}
    )
    assert made.choices[0].finish_reason == "tool_calls"
    calls = made.choices[0].message.tool_calls or []
    assert [(call.id, call.function.arguments) for call in calls if call.type == "function"] == [
        (call.id, call.arguments) for call in CALLS
    ]
    assert lane.last.json["tools"] == WEATHER


def test_s4_3_tools_streamed_in_pieces(desk: Desk) -> None:
    desk.provider()
    with desk.sdk.chat.completions.stream(
        model=desk.model, messages=HELLO, tools=WEATHER, extra_body={"fake": script(tools=CALLS)}
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [{"city": "Zürich"}, {"city": "São Paulo"}]


def test_s4_3_tool_results_go_back(desk: Desk) -> None:
    lane = desk.provider()
    messages: list[ChatCompletionMessageParam] = [
        *HELLO,
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    desk.sdk.chat.completions.create(model=desk.model, messages=messages, tools=WEATHER)
    assert lane.last.json["messages"] == messages


def test_s4_3_structured_output_is_parsed(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.sdk.chat.completions.parse(
        model=desk.model,
        messages=HELLO,
        response_format=Verdict,
        extra_body={"fake": script(text='{"word": "naïve", "score": 7}')},
    )
    assert made.choices[0].message.parsed == Verdict(word="naïve", score=7)
    assert lane.last.json["response_format"]["json_schema"]["name"] == "Verdict"


def test_s4_3_structured_output_is_parsed_from_a_stream(desk: Desk) -> None:
    desk.provider()
    with desk.sdk.chat.completions.stream(
        model=desk.model,
        messages=HELLO,
        response_format=Verdict,
        extra_body={"fake": script(text='{"word": "b", "score": 8}', split=1)},
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == Verdict(word="b", score=8)


@pytest.mark.parametrize("stream", [False, True])
def test_s4_3_many_choices_and_logprobs(desk: Desk, stream: bool) -> None:
    desk.provider()
    if stream:
        with desk.sdk.chat.completions.stream(
            model=desk.model, messages=HELLO, n=3, logprobs=True, top_logprobs=2
        ) as streamed:
            choices: list[Any] = list(streamed.get_final_completion().choices)
    else:
        made = desk.sdk.chat.completions.create(
            model=desk.model, messages=HELLO, n=3, logprobs=True, top_logprobs=2
        )
        choices = list(made.choices)
    assert [choice.index for choice in choices] == [0, 1, 2]
    for choice in choices:
        tokens = choice.logprobs.content
        assert "".join(token.token for token in tokens) == choice.message.content


def test_s4_3_images_in_content(desk: Desk) -> None:
    lane = desk.provider()
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 5000
    messages: list[ChatCompletionMessageParam] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
            ],
        }
    ]
    made = desk.sdk.chat.completions.create(model=desk.model, messages=messages)
    assert made.choices[0].message.content == f"{lane.name} says: What is this? [image_url]"
    assert lane.last.json["messages"] == messages


@pytest.mark.parametrize("stream", [False, True])
def test_s4_3_reasoning_content_passes(desk: Desk, stream: bool) -> None:
    desk.provider()
    plan = script(reasoning=["Let me ", "think 🤔"], text="Done.", extra={"x_provider": {"cost": 1.5e-7}})
    create = desk.sdk.chat.completions.create
    if stream:
        chunks = list(create(model=desk.model, messages=HELLO, stream=True, extra_body={"fake": plan}))
        deltas = [chunk.choices[0].delta.model_extra or {} for chunk in chunks]
        thoughts = "".join(delta.get("reasoning_content", "") for delta in deltas)
        extras = [(chunk.model_extra or {}).get("x_provider") for chunk in chunks]
    else:
        made = create(model=desk.model, messages=HELLO, extra_body={"fake": plan})
        thoughts = (made.choices[0].message.model_extra or {})["reasoning_content"]
        extras = [(made.model_extra or {}).get("x_provider")]
    assert thoughts == "Let me think 🤔"
    assert extras
    assert all(extra == {"cost": 1.5e-7} for extra in extras)


def test_s4_3_unknown_fields_go_upstream_byte_for_byte(desk: Desk) -> None:
    lane = desk.provider()
    # Numbers and escapes that a decode and encode would change.
    fields = (
        '"x_float": 1.0000000000000000001, "x_big": 12345678901234567890123, "x_exp": 1E+2, '
        '"x_escape": "\\u00e9\\/\\ud83e\\udd9c", "x_space": { "a" :  [ 1 ,2 ] }, "messages": [{"role":"user",'
        '"content":"\\u0047r\\u00fcezi"}], "temperature": 0.10'
    )
    body = f'{{"model": "{desk.model}", {fields}}}'.encode()
    answer = desk.gateway.post("/v1/chat/completions", desk.key, content=body)
    assert answer.status_code == 200
    for field in (
        b"1.0000000000000000001", b"12345678901234567890123", b"1E+2", b'"\\u00e9\\/\\ud83e\\udd9c"',
        b'{ "a" :  [ 1 ,2 ] }', b'"\\u0047r\\u00fcezi"', b"0.10",
    ):  # fmt: skip
        assert field in lane.last.body
    assert lane.last.json["model"] == desk.upstream_model


@pytest.mark.parametrize("stream", [False, True])
def test_s4_3_reply_bytes_are_the_providers(desk: Desk, stream: bool) -> None:
    lane = desk.provider()
    answer = desk.chat(stream=stream, fake=script(extra={"x_number": 1.0, "x_text": "é"}, text="a b c"))
    sent = bytes(lane.last.sent)
    if not stream:
        assert answer.content == sent
        return
    # All of the provider's events but the usage chunk that the client did not ask for.
    events = [event for event in sent.split(b"\n\n") if b'"choices":[],' not in event]
    assert answer.content.split(b"\n\n") == events


def test_s4_3_extra_body_and_options(desk: Desk) -> None:
    lane = desk.provider()
    desk.sdk.chat.completions.create(
        model=desk.model,
        messages=HELLO,
        max_completion_tokens=5,
        stop=["a", "b"],
        seed=3,
        user="someone",
        metadata={"k": "v"},
        logit_bias={"1": 2},
        parallel_tool_calls=False,
        extra_body={"top_k": 40, "chat_template_kwargs": {"enable_thinking": False}},
    )
    got = lane.last.json
    assert got["top_k"] == 40
    assert got["chat_template_kwargs"] == {"enable_thinking": False}
    assert (got["stop"], got["seed"], got["user"]) == (["a", "b"], 3, "someone")


def test_s4_3_raw_response_shows_our_request_id(desk: Desk) -> None:
    desk.provider()
    raw = desk.sdk.chat.completions.with_raw_response.create(model=desk.model, messages=HELLO)
    made = raw.parse()
    assert raw.headers["x-request-id"] == made._request_id
    assert raw.headers["x-llm-gateway-model"] == desk.model
    assert raw.headers["content-type"] == "application/json"


def test_c34_model_in_the_answer_is_the_providers(desk: Desk) -> None:
    desk.provider()
    answer = desk.chat()
    assert answer.json()["model"] == desk.upstream_model
    assert answer.headers["x-llm-gateway-model"] == desk.model


def test_json_that_answers_a_streamed_request_is_one_chunk(desk: Desk) -> None:
    lane = desk.provider()
    chunks = list(
        desk.sdk.chat.completions.create(
            model=desk.model, messages=HELLO, stream=True, extra_body={"fake": script(ignore_stream=True)}
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == f"{lane.name} says: Grüezi 🦜"
    assert any(choice.finish_reason == "stop" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("split", [-1, 1, 7])
def test_s4_2_streams_survive_every_split(desk: Desk, line_end: str, split: int) -> None:
    desk.provider()
    plan = script(pieces=["naïve ", "🦜", " ", "日本語"], line_end=line_end, split=split, preamble=": hi\n\n")
    chunks = list(
        desk.sdk.chat.completions.create(
            model=desk.model, messages=HELLO, stream=True, extra_body={"fake": plan}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "naïve 🦜 日本語"


def test_s4_2_events_are_not_held_back(desk: Desk) -> None:
    """Each event is with the client before the provider has sent the next."""
    lane = desk.provider()
    lane.default.gap = 0.05
    headers = {"authorization": f"Bearer {desk.key}"}
    with desk.gateway.http.stream(
        "POST", "/v1/chat/completions", headers=headers, json=desk.body(stream=True)
    ) as answer:
        seen = [(len(lane.last.sent), data) for data in answer.iter_bytes()]
    behind = [sent for sent, _ in seen]
    # Had it been held back to the end, the provider would always have been done.
    assert behind[0] < len(lane.last.sent) / 2
    assert len(seen) > 3
    assert json.loads(seen[0][1].split(b"\n\n")[0].removeprefix(b"data: "))


def test_s4_29_get_and_unknown_paths_have_openai_errors(desk: Desk) -> None:
    wrong_method: httpx.Response = desk.gateway.http.get("/v1/chat/completions")
    assert wrong_method.status_code == 405
    assert wrong_method.json()["error"]["type"] == "invalid_request_error"
    nothing = desk.gateway.post("/v1/no/such/path", desk.key, json={})
    assert nothing.status_code == 404
    assert set(nothing.json()["error"]) == {"message", "type", "param", "code"}
    assert nothing.headers["x-request-id"]
