"""The fake provider speaks OpenAI's shapes, as the official SDK's types have them, and misbehaves as told."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pydantic
import pytest
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.fakes.calls import Lane
from tests.fakes.script import Script, Tool, error_script, script
from tests.fakes.upstream import FakeUpstream

TOOLS = (Tool(id="call_1", name="weather", arguments='{"city": "Zürich", "days": 3}'),)
MESSAGES = [{"role": "user", "content": "Grüezi mitenand"}]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    started = FakeUpstream().start()
    yield started
    started.stop()


@pytest.fixture
def lane(fake: FakeUpstream, request: pytest.FixtureRequest) -> Lane:
    return fake.lane(request.node.name.replace("[", "-").replace("]", ""))


def ask(lane: Lane, path: str = "/chat/completions", **body: Any) -> httpx.Response:
    content = {"model": "m", "messages": MESSAGES} | body
    return httpx.post(lane.base_url + path, json=content, trust_env=False, verify=False, timeout=5)


def events(response: httpx.Response) -> list[str]:
    blocks = response.text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n")
    assert blocks.pop() == ""
    return [block.removeprefix("data: ") for block in blocks]


def strictly(kind: type[pydantic.BaseModel], value: Any) -> Any:
    """Validate, and refuse fields that the SDK does not know."""
    made = kind.model_validate(value, strict=False)
    _no_extras(made)
    return made


def _no_extras(value: object) -> None:
    if isinstance(value, pydantic.BaseModel):
        assert not value.model_extra, f"{type(value).__name__} has unknown fields: {value.model_extra}"
        for part in vars(value).values():
            _no_extras(part)
    elif isinstance(value, list):
        for part in value:
            _no_extras(part)


@pytest.mark.parametrize("asked", [{}, {"n": 3}, {"logprobs": True}, {"fake": script(tools=TOOLS)}])
def test_a_chat_completion_is_one(lane: Lane, asked: dict[str, Any]) -> None:
    made = strictly(ChatCompletion, ask(lane, **asked).json())
    assert len(made.choices) == asked.get("n", 1)
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


@pytest.mark.parametrize("asked", [{}, {"n": 2}, {"logprobs": True}, {"fake": script(tools=TOOLS)}])
@pytest.mark.parametrize("usage", [True, False])
def test_a_streamed_chat_completion_is_one(lane: Lane, asked: dict[str, Any], usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    got = events(ask(lane, stream=True, **options, **asked))
    assert got.pop() == "[DONE]"
    chunks = [strictly(ChatCompletionChunk, json.loads(event)) for event in got]
    if usage:
        last = chunks.pop()
        assert last.choices == []
        assert last.usage.total_tokens == 13
        assert all('"usage":null' in event for event in got[:-1])
    assert all(chunk.usage is None for chunk in chunks)
    text = "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices if not choice.index
    )
    arguments = "".join(
        tool.function.arguments
        for chunk in chunks
        for choice in chunk.choices
        for tool in choice.delta.tool_calls or []
    )
    if "fake" in asked:
        assert (text, arguments) == ("", TOOLS[0].arguments)
    else:
        assert text == f"{lane.name} says: Grüezi mitenand"


@pytest.mark.parametrize("prompt", ["one", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
@pytest.mark.parametrize("logprobs", [None, 1])
def test_a_legacy_completion_is_one(lane: Lane, prompt: Any, logprobs: int | None) -> None:
    expected = 2 if isinstance(prompt[0], list) or len(prompt) == 2 else 1
    made = strictly(
        Completion, ask(lane, "/completions", prompt=prompt, messages=None, logprobs=logprobs).json()
    )
    assert len(made.choices) == expected
    got = events(ask(lane, "/completions", prompt=prompt, messages=None, stream=True))
    assert got.pop() == "[DONE]"
    for event in got:
        chunk = json.loads(event)
        # The SDK's type leaves out that finish_reason is null until the end.
        chunk["choices"] = [choice | {"finish_reason": "stop"} for choice in chunk["choices"]]
        strictly(Completion, chunk)


def test_models_are_listed(lane: Lane) -> None:
    lane.models = ("a", "b")
    listed = httpx.get(lane.base_url + "/models", trust_env=False, verify=False).json()
    assert [strictly(Model, model).id for model in listed["data"]] == ["a", "b"]
    assert listed["object"] == "list"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_errors_have_openais_shape(lane: Lane, status: int) -> None:
    lane.next.append(error_script(status, retry_after="7" if status == 429 else None))
    answer = ask(lane, stream=True)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("split", [0, -1, 1, 3])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_a_stream_is_the_same_under_every_split(lane: Lane, line_end: str, split: int, framing: str) -> None:
    lane.next.append(
        Script(text="naïve 🦜 text", split=split, line_end=line_end, framing=framing)  # type: ignore[arg-type]
    )
    answer = ask(lane, stream=True)
    chunks = [json.loads(event) for event in events(answer)[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == "naïve 🦜 text"
    assert answer.content == bytes(lane.last.sent)
    assert line_end in answer.text


@pytest.mark.parametrize("usage", ["last", "always", "none"])
def test_usage_can_come_in_other_places(lane: Lane, usage: str) -> None:
    got = events(ask(lane, stream=True, fake=script(usage=usage)))
    reports = [index for index, event in enumerate(got[:-1]) if json.loads(event).get("usage")]
    assert reports == ([] if usage == "none" else [len(got) - 2])
    if usage == "last":
        assert json.loads(got[-2])["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "at", "expected"),
    [
        ("reset", -1, httpx.ReadError),
        ("fin", -1, httpx.RemoteProtocolError),
        ("stall", -1, httpx.ReadTimeout),
        ("reset", 0, httpx.ReadError),
        ("fin", 0, httpx.RemoteProtocolError),
        ("reset", 2, httpx.ReadError),
        ("fin", 2, httpx.RemoteProtocolError),
        ("stall", 2, httpx.ReadTimeout),
    ],
)
def test_faults_come_where_asked(
    lane: Lane, stream: bool, fault: Any, at: int, expected: type[Exception]
) -> None:
    lane.next.append(Script(fault=fault, fault_at=at, gap=0.001))
    body = {"model": "m", "messages": MESSAGES, "stream": stream}
    url = lane.base_url + "/chat/completions"
    got = b""

    def read() -> None:
        nonlocal got
        with httpx.stream("POST", url, json=body, timeout=0.3, trust_env=False, verify=False) as response:
            for part in response.iter_raw():
                got += part

    with pytest.raises(expected):
        read()
    call = lane.last
    assert got == bytes(call.sent)
    assert (got != b"") == (at > 0)
    if fault == "stall":
        lane.wait(lambda calls: calls[-1].left)
    else:
        assert not call.left


def test_a_body_can_be_shorter_than_it_claims(lane: Lane) -> None:
    lane.next.append(Script(content_length=1000))
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(lane.base_url.split(":")[2].split("/")[0]), timeout=5
    )
    connection.request("POST", f"/{lane.name}/v1/chat/completions", json.dumps({"messages": MESSAGES}))
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()


def test_calls_are_remembered_and_can_be_asked_for(fake: FakeUpstream, lane: Lane) -> None:
    ask(lane, odd={"a": 1.0})
    call = lane.last
    assert call.json["odd"] == {"a": 1.0}
    assert call.header("content-type") == "application/json"
    listed = httpx.get(f"{fake.origin}/__calls?{lane.name}", trust_env=False, verify=False).json()
    assert [(item["number"], item["path"]) for item in listed] == [(call.number, "/v1/chat/completions")]
    plan = {"next": [script(text="set from outside")], "models": ["z"]}
    httpx.put(f"{fake.origin}/__lanes/{lane.name}", json=plan, trust_env=False, verify=False)
    assert ask(lane).json()["choices"][0]["message"]["content"] == "set from outside"


def test_a_caller_who_leaves_is_noticed(lane: Lane) -> None:
    lane.next.append(Script(delay=30))
    with socket.create_connection(("127.0.0.1", int(lane.base_url.split(":")[2].split("/")[0]))) as caller:
        caller.sendall(b"POST /%s/v1/chat/completions HTTP/1.1\r\n" % lane.name.encode())
        caller.sendall(b"content-length: 2\r\n\r\n{}")
        lane.wait(lambda calls: len(calls) == 1)
    lane.wait(lambda calls: calls[0].left)
