"""The recordings are what Anthropic's SDK understands, and what we ask and answer is what the SDKs' types allow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest
from anthropic.types import Message, ModelInfo
from anthropic.types.shared import ErrorResponse
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from llm_gateway.core.sse import event_data, split_events
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from tests.fakes.anthropic_wire import (
    ERRORS,
    FOLDER,
    RECORDINGS,
    SECRET,
    WHOLE,
    Recording,
    chat,
    deployment,
    invented,
    play,
    request_faults,
)
from tests.fakes.replay_server import replaying
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = AnthropicAdapter()
every = pytest.mark.parametrize("one", RECORDINGS, ids=lambda one: one.name)
every_whole = pytest.mark.parametrize("one", WHOLE, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def sdk() -> Iterator[anthropic.Anthropic]:
    """Return Anthropic's own client, pointed at the provider that replays the recordings."""
    transport = anthropic.DefaultHttpxClient(verify=False, trust_env=False)
    with (
        replaying(play) as server,
        anthropic.Anthropic(
            api_key=SECRET, base_url=server.origin, max_retries=0, timeout=15, http_client=transport
        ) as client,
    ):
        yield client


def whole(one: Recording) -> bytes:
    assert one.response is not None
    return one.response


def sampling(one: Recording) -> dict[str, Any]:
    """Split off what the SDK's newer API version has no parameter for."""
    return {name: one.request[name] for name in ("temperature",) if name in one.request}


def create(client: anthropic.Anthropic, one: Recording) -> Message:
    extra = sampling(one)
    given = {name: value for name, value in one.request.items() if name not in extra}
    message = client.messages.create(**given, extra_body=extra)
    assert isinstance(message, Message)
    return message


def plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json", exclude_none=True)


@every
def test_recorded_requests_are_requests_to_the_sdk(one: Recording) -> None:
    assert request_faults(one.request) == []


@every_whole
def test_recorded_replies_are_messages_to_the_sdk(one: Recording, sdk: anthropic.Anthropic) -> None:
    strict = Message.model_validate_json(whole(one))
    assert invented(strict) == []
    assert plain(create(sdk, one)) == plain(strict)


@every_whole
def test_recorded_streams_add_up_to_the_replies_in_the_sdk(one: Recording, sdk: anthropic.Anthropic) -> None:
    extra = sampling(one)
    given = {name: value for name, value in one.request.items() if name not in extra}
    with sdk.messages.stream(**given, extra_body=extra) as stream:
        made = stream.get_final_message()
    wanted = plain(Message.model_validate_json(whole(one)))
    assert plain(made) | {"usage": None} == wanted | {"usage": None}
    assert plain(made)["usage"].items() >= {
        (name, value) for name, value in wanted["usage"].items() if not isinstance(value, dict)
    }


def test_a_recorded_stream_that_breaks_off_is_an_error_in_the_sdk(sdk: anthropic.Anthropic) -> None:
    (broken,) = [one for one in RECORDINGS if one.response is None]
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        sdk.messages.stream(**broken.request) as stream,
    ):
        stream.until_done()


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.stem)
def test_recorded_errors_are_errors_to_the_sdk(path: Path) -> None:
    assert invented(ErrorResponse.model_validate_json(path.read_bytes())) == []


def test_the_recorded_list_of_models_is_one_to_the_sdk(sdk: anthropic.Anthropic) -> None:
    listed = [model.id for model in sdk.models.list()]
    for entry in json.loads((FOLDER / "models.json").read_text())["data"]:
        assert invented(ModelInfo.model_validate(entry)) == []
    assert ADAPTER.decode_models((FOLDER / "models.json").read_bytes()) == listed


@every
def test_requests_go_out_as_recorded(one: Recording) -> None:
    sent = ADAPTER.encode(chat(one.client), deployment(one.request["model"]), {"x-request-id": "r"})
    assert json.loads(sent.body) == one.request
    assert sent.ignored_fields == ()
    assert sent.url == "https://api.anthropic.com/v1/messages"
    streamed = ADAPTER.encode(chat(one.client | {"stream": True}), deployment(one.request["model"]), {})
    assert json.loads(streamed.body) == one.request | {"stream": True}


@every_whole
def test_replies_are_completions_to_openais_sdk(one: Recording) -> None:
    done = ADAPTER.decode(whole(one), chat(one.client))
    made = ChatCompletion.model_validate_json(done.body, strict=True)
    assert made.usage is not None
    assert done.usage is not None
    assert made.usage.total_tokens == done.usage.total_tokens
    # What OpenAI has no field for, and its clients know all the same.
    assert {name.rpartition(".")[2] for name in invented(made)} <= {"reasoning_content", "reasoning_details"}


def chunks_of(events: bytes) -> list[ChatCompletionChunk]:
    found = [data for event in split_events(events) if (data := event_data(event)) is not None]
    return [ChatCompletionChunk.model_validate_json(data, strict=True) for data in found]


@every_whole
def test_streams_are_chunks_to_openais_sdk_and_add_up_to_the_completion(one: Recording) -> None:
    request = chat(one.client | {"stream": True})
    reader = ADAPTER.stream(request, event_limit=1 << 20)
    streamed = reader.feed(one.stream) + reader.end()
    assert reader.done
    assert reader.finished
    at_once, usage = read_whole_reply(ADAPTER, whole(one), request)
    done = ADAPTER.decode(whole(one), request)
    assert usage == reader.usage == done.usage
    for events in (streamed, at_once):
        assert settled(added_up(events)) == settled(json.loads(done.body))


def added_up(events: bytes) -> Any:
    """Let OpenAI's SDK add a stream up as it does for its users."""
    state = ChatCompletionStreamState()
    for chunk in chunks_of(events):
        state.handle_chunk(chunk)
    return json.loads(state.current_completion_snapshot.model_dump_json())


def settled(completion: dict[str, Any]) -> dict[str, Any]:
    """Leave out what has no counterpart: the two kinds' names, empty fields, the spelling of arguments."""
    (choice,) = completion["choices"]
    message = {name: value for name, value in choice["message"].items() if value is not None}
    message.pop("parsed", None)
    for call in message.get("tool_calls", ()):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
        call["function"]["arguments"] = msgspec.json.decode(call["function"]["arguments"])
    usage = {name: value for name, value in completion["usage"].items() if isinstance(value, int)}
    named = {name: completion[name] for name in ("id", "model", "created")}
    return named | {"message": message, "finish_reason": choice["finish_reason"], "usage": usage}
