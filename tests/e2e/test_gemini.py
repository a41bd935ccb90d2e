"""The OpenAI SDK against a running gateway whose provider speaks Gemini, as Google's SDK knows it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.e2e.gateway_process import GatewayProcess
from tests.fakes.gemini_wire import KEY, FakeGemini

STORE_MATTERS = False
_numbers = itertools.count(1)


class Counter:
    """A public model at a fake Gemini, and the SDK that asks for it."""

    def __init__(self, gateway: GatewayProcess, fake: FakeGemini) -> None:
        self.gateway = gateway
        self.fake = fake
        number = next(_numbers)
        self.model = f"gemini-{number}"
        gateway.create_provider(
            f"google-{number}",
            api_base=fake.origin,
            provider_type="gemini",
            api_key=KEY,
            model_mapping={self.model: "gemini-3-flash-preview"},
        )
        if gateway.shared_key is None:
            gateway.shared_key = gateway.create_credential("everybody")
        self.sdk = gateway.sdk(gateway.shared_key)

    def ask(self, recording: str, **fields: Any) -> Any:
        """Ask with the SDK; the fake answers with `recording`."""
        self.fake.recordings.append(recording)
        given: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], **fields}
        return self.sdk.chat.completions.create(model=self.model, **given)

    @property
    def seen(self) -> Any:
        """Return the body that the fake saw last."""
        return self.fake.seen[-1][3]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeGemini]:
    with FakeGemini().serving() as started:
        yield started


@pytest.fixture
def counter(gateway: GatewayProcess, fake: FakeGemini) -> Iterator[Counter]:
    yield Counter(gateway, fake)
    gateway.close_clients()


def test_s3_1_a_chat(counter: Counter) -> None:
    answer = counter.ask("text", temperature=0.5)
    assert answer.choices[0].message.content.startswith("AI learns patterns")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 21
    method, path, headers, body = counter.fake.seen[-1]
    assert (method, path) == ("POST", "/v1beta/models/gemini-3-flash-preview:generateContent")
    assert headers["x-goog-api-key"] == KEY
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"temperature": 0.5},
    }


def test_a_streamed_chat_with_its_thoughts_is_metered(counter: Counter) -> None:
    stream = counter.ask("thinking", stream=True, reasoning_effort="high")
    request_id = stream.response.headers["x-request-id"]
    chunks = list(stream)
    thoughts = "".join(
        getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks if chunk.choices
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert thoughts.startswith("**Counting letters**")
    assert text == "There are **3** r's in strawberry."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert counter.seen["generationConfig"] == {
        "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True}
    }
    row = counter.gateway.usage_row(request_id)
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (9, 325, 334)
    assert row["outcome"] == "ok"


def test_json_that_answers_a_streamed_request_is_a_stream(counter: Counter) -> None:
    chunks = list(counter.ask("list:text", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "AI learns patterns from data and uses them on new data."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 21


def test_a_turn_of_calls_goes_there_and_back(counter: Counter) -> None:
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    messages: list[Any] = [{"role": "user", "content": "Paris and Tokyo?"}]
    # The SDK's own assembly of a stream: what agents give back.
    counter.fake.recordings.append("parallel-tool-calls")
    with counter.sdk.chat.completions.stream(model=counter.model, messages=messages, tools=tools) as stream:
        completion = stream.get_final_completion()
    assert isinstance(completion, ChatCompletion)
    message = completion.choices[0].message
    assert completion.choices[0].finish_reason == "tool_calls"
    assert [call.function.name for call in message.tool_calls or ()] == [
        "get_weather",
        "get_weather",
        "get_time",
    ]
    messages.append(message.model_dump(exclude_none=True))
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"n": index})}
        for index, call in enumerate(message.tool_calls or ())
    ]
    answer = counter.ask("text", messages=messages, tools=tools)
    assert answer.choices[0].finish_reason == "stop"
    turn, results = counter.seen["contents"][1:]
    assert [part["functionCall"]["args"] for part in turn["parts"][1:]] == [
        {"city": "Paris"},
        {"city": "Tōkyō"},
        {},
    ]
    assert turn["parts"][1]["thoughtSignature"].startswith("EpEgCo4g")
    assert [part["functionResponse"]["name"] for part in results["parts"]] == [
        "get_weather",
        "get_weather",
        "get_time",
    ]


class Answer(BaseModel):
    answer: int


def test_structured_output_is_parsed_by_the_sdk(counter: Counter) -> None:
    counter.fake.recordings.append("structured")
    parsed = counter.sdk.chat.completions.parse(
        model=counter.model, messages=[{"role": "user", "content": "?"}], response_format=Answer
    )
    assert parsed.choices[0].message.parsed == Answer(answer=42)
    config = counter.seen["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["answer"]["type"] == "integer"


def test_a_legacy_completion(counter: Counter) -> None:
    counter.fake.recordings.append("max-tokens")
    stream = counter.sdk.completions.create(
        model=counter.model, prompt="Once", max_tokens=3, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "Once upon a"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10


def test_a_blocked_prompt_is_filtered_content(counter: Counter) -> None:
    answer = counter.ask("blocked-prompt")
    assert answer.choices[0].finish_reason == "content_filter"
    assert "PROHIBITED_CONTENT" in answer.choices[0].message.refusal


def test_what_cannot_be_carried_is_the_clients_to_mend(counter: Counter) -> None:
    asked = len(counter.fake.seen)
    with pytest.raises(openai.BadRequestError) as caught:
        counter.ask("text", logit_bias={"1": 5})
    assert caught.value.code == "unsupported_by_provider"
    assert caught.value.param == "logit_bias"
    assert len(counter.fake.seen) == asked
    counter.fake.recordings.clear()


def test_a_refusal_is_told_in_googles_words(counter: Counter) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        counter.ask("error-too-long")
    assert caught.value.code == "context_length_exceeded"
    assert "exceeds the maximum number of tokens" in caught.value.message
    assert KEY not in str(caught.value)


def drain(counter: Counter, recording: str) -> None:
    """Read a stream to its end, which must not look like one."""
    for chunk in counter.ask(recording, stream=True):
        assert chunk.choices[0].finish_reason is None


@pytest.mark.parametrize("recording", ["cut", "failing-event", "failing-bare"])
def test_a_stream_that_breaks_never_ends_well(recording: str, counter: Counter) -> None:
    # Told before the commit if all of it came at once, in the stream otherwise.
    with pytest.raises(openai.APIError) as caught:
        drain(counter, recording)
    if recording != "cut":
        assert "overloaded" in caught.value.message


def test_a_cut_stream_is_metered_by_what_came(counter: Counter) -> None:
    stream = counter.ask("cut", stream=True)
    assert next(iter(stream)).choices[0].delta.content == "AI learns"
    stream.close()
    row = counter.gateway.usage_row(stream.response.headers["x-request-id"])
    assert row["outcome"] in {"error", "aborted"}
    assert row["completion_tokens"] in {2, 3}
