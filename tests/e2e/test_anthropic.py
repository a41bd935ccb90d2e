"""OpenAI's SDK talks to Anthropic through a running gateway, and never learns who answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Desk
from tests.fakes.anthropic_wire import SECRET, Recording, play, recording
from tests.fakes.replay_server import Answered, Asked, ReplayServer, replaying

STORE_MATTERS = False

Ask = Callable[..., dict[str, Any]]


def as_json(asked: Asked) -> Answered:
    """Answer a streamed request with JSON, as a proxy in between may."""
    return play(asked._replace(body=asked.body.replace(b',"stream":true', b"")))


@pytest.fixture(scope="module")
def upstream() -> Iterator[ReplayServer]:
    """Return Anthropic, played from the recordings."""
    with replaying(play) as server:
        yield server


@pytest.fixture
def asked(desk: Desk, upstream: ReplayServer) -> Ask:
    """Return a function that gives the desk's model to a provider who knows a recording."""

    def to(one: Recording, server: ReplayServer = upstream) -> dict[str, Any]:
        desk.provider(
            provider_type="anthropic",
            api_base=server.origin,
            api_key=SECRET,
            model_mapping={desk.model: one.request["model"]},
        )
        server.asked.clear()
        return one.client | {"model": desk.model}

    return to


@pytest.mark.parametrize(
    "name", ["text", "thinking", "parallel_tools", "cache", "refusal", "image", "structured"]
)
def test_s3_1_whole_and_streamed_are_one_answer(
    desk: Desk, asked: Ask, upstream: ReplayServer, name: str
) -> None:
    one = recording(name)
    body = asked(one)
    raw = desk.sdk.chat.completions.with_raw_response.create(**body)
    whole = raw.parse()
    assert json.loads(upstream.asked[-1].body) == one.request
    assert upstream.asked[-1].headers["x-api-key"] == SECRET
    assert "authorization" not in upstream.asked[-1].headers
    chunks = list(
        desk.sdk.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
    )
    said = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in said) == (whole.choices[0].message.content or "")
    assert "".join(delta.refusal or "" for delta in said) == (whole.choices[0].message.refusal or "")
    calls = [call for delta in said for call in delta.tool_calls or ()]
    assert [call.id for call in calls if call.id] == [
        call.id for call in whole.choices[0].message.tool_calls or ()
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[
        0
    ].finish_reason
    assert chunks[-1].usage == whole.usage
    row = desk.gateway.usage_row(raw.headers["x-request-id"])
    assert whole.usage is not None
    assert (row["usage_source"], row["total_tokens"]) == ("provider", whole.usage.total_tokens)


def test_thinking_goes_on_over_a_call(desk: Desk, asked: Ask, upstream: ReplayServer) -> None:
    first, then = recording("interleaved_thinking"), recording("thinking_continued")
    made = desk.sdk.chat.completions.create(**asked(first))
    said = made.choices[0].message
    assert said.model_extra is not None
    assert said.model_extra["reasoning_content"] == "The user wants the weather."
    results = then.client["messages"][-2:]
    body = first.client | {"model": desk.model, "messages": [*first.client["messages"], said, *results]}
    made = desk.sdk.chat.completions.create(**body)
    assert json.loads(upstream.asked[-1].body) == then.request
    assert made.choices[0].message.content == "18 degrees, noon."


def test_a_stream_that_breaks_is_said_to_be_broken(desk: Desk, asked: Ask) -> None:
    heard = threading.Event()

    def broken_once_heard(request: Asked) -> Answered:
        answered = play(request)
        return answered._replace(pieces=until_heard(list(answered.pieces)))

    def until_heard(events: list[bytes]) -> Iterator[bytes]:
        yield from events[:-1]
        assert heard.wait(10)
        yield events[-1]

    with replaying(broken_once_heard) as server:
        stream = desk.sdk.chat.completions.create(**asked(recording("broken_off"), server), stream=True)
        first = next(chunk for chunk in stream if chunk.choices[0].delta.content)
        assert first.choices[0].delta.content == "Hello"
        heard.set()
        with pytest.raises(openai.APIError, match="Overloaded"):
            list(stream)


def test_errors_come_in_openais_words(desk: Desk, asked: Ask) -> None:
    body = asked(recording("text"))
    with pytest.raises(openai.BadRequestError) as raised:
        desk.sdk.chat.completions.create(**body | {"messages": [{"role": "user", "content": "too long"}]})
    assert raised.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as raised:
        desk.sdk.chat.completions.create(**body, n=2)
    assert (raised.value.code, raised.value.param) == ("unsupported_by_provider", "n")


def test_json_that_answers_a_stream_is_a_stream(desk: Desk, asked: Ask) -> None:
    with replaying(as_json) as server:
        body = asked(recording("tool_use"), server)
        chunks = list(desk.sdk.chat.completions.create(**body, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "Okay, let's check the weather for San Francisco, CA:"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_legacy_completion_is_a_chat_turn(desk: Desk, asked: Ask) -> None:
    one = recording("max_tokens")
    asked(one)
    prompt = {"model": desk.model, "prompt": one.client["messages"][0]["content"], "max_tokens": 10}
    made = desk.sdk.completions.create(**prompt)
    assert (made.choices[0].text, made.choices[0].finish_reason) == (
        "Quantum physics is the study of",
        "length",
    )
    chunks = list(desk.sdk.completions.create(**prompt, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Quantum physics is the study of"
    assert chunks[-1].choices[0].finish_reason == "length"


MEDIA_TYPES = ["Application/JSON; charset=UTF-8", "application/json", "text/plain", "Text/Event-Stream"]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("sends_stream", [True, False])
def test_an_answer_is_read_whatever_its_media_type_says_and_bought_once(
    desk: Desk, asked: Ask, media_type: str, is_streamed: bool, sends_stream: bool
) -> None:
    one = recording("text")
    assert one.response is not None
    answer = one.stream if sends_stream else one.response
    with replaying(lambda _: Answered(200, [answer], media_type)) as server:
        body = asked(one, server)
        if is_streamed:
            chunks = list(desk.sdk.chat.completions.create(**body, stream=True))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        else:
            text = desk.sdk.chat.completions.create(**body).choices[0].message.content or ""
        assert len([request for request in server.asked if request.method == "POST"]) == 1
    assert text == json.loads(one.response)["content"][0]["text"]
