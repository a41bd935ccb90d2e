"""Streams tell the truth: usage only for who asked, no clean end after a cut, a clean end where it was one."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Desk
from tests.fakes.script import Script, Tokens, script

STORE_MATTERS = False

MESSAGES: Any = [{"role": "user", "content": "hello"}]
ASKED: Any = {"stream_options": {"include_usage": True}}


def events(answer: Any) -> list[str]:
    """Return the payloads of a finished stream."""
    assert answer.status_code == 200, answer.text
    blocks = answer.text.replace("\r\n", "\n").split("\n\n")
    assert blocks.pop() == "", "the stream ends in the middle of an event"
    return [
        line.removeprefix("data: ") for block in blocks for line in block.split("\n") if line[:5] == "data:"
    ]


def words(payloads: list[str]) -> str:
    chunks = [json.loads(payload) for payload in payloads if payload != "[DONE]"]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())
    )


def row_of(desk: Desk, answer: Any) -> dict[str, Any]:
    return desk.gateway.usage_row(answer.headers["x-request-id"])


@pytest.mark.parametrize("split", [0, -1, 1])
def test_usage_is_asked_for_and_kept_from_who_did_not_ask(desk: Desk, split: int) -> None:
    lane = desk.provider()
    answer = desk.chat(stream=True, fake=script(split=split, text="a b c"))
    payloads = events(answer)
    assert lane.last.json["stream_options"] == {"include_usage": True}
    assert payloads[-1] == "[DONE]"
    assert words(payloads) == "a b c"
    assert all(json.loads(payload)["choices"] for payload in payloads[:-1])
    row = row_of(desk, answer)
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (9, 4, 13)
    assert (row["cached_tokens"], row["reasoning_tokens"], row["usage_source"]) == (2, 1, "provider")


def test_usage_is_shown_to_who_asked(desk: Desk) -> None:
    lane = desk.provider()
    answer = desk.chat(stream=True, **ASKED)
    assert answer.content == bytes(lane.last.sent)
    last = json.loads(events(answer)[-2])
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 13)
    assert row_of(desk, answer)["total_tokens"] == 13


def test_the_clients_other_stream_options_stay(desk: Desk) -> None:
    lane = desk.provider()
    desk.chat(stream=True, stream_options={"include_obfuscation": False})
    assert lane.last.json["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    desk.chat(stream=True, stream_options={"include_usage": False, "x": 1.50})
    assert lane.last.json["stream_options"] == {"include_usage": True, "x": 1.5}
    desk.chat(stream=True, stream_options=None)
    assert lane.last.json["stream_options"] == {"include_usage": True}


def test_unary_requests_get_no_stream_options(desk: Desk) -> None:
    lane = desk.provider()
    desk.chat()
    assert "stream_options" not in lane.last.json


@pytest.mark.parametrize("usage", ["last", "always"])
@pytest.mark.parametrize("asked", [False, True])
def test_usage_where_other_providers_put_it(desk: Desk, usage: Any, asked: bool) -> None:
    desk.provider()
    plan = script(usage=usage, tokens=Tokens(prompt=21, completion=7, cached=0, reasoning=0), text="x y")
    answer = desk.chat(stream=True, fake=plan, **(ASKED if asked else {}))
    payloads = events(answer)
    assert payloads[-1] == "[DONE]"
    assert words(payloads) == "x y"
    finishes = [
        chunk["choices"][0]["finish_reason"] for chunk in map(json.loads, payloads[:-1]) if chunk["choices"]
    ]
    assert finishes[-1] == "stop", "the chunk that carries both is not swallowed"
    row = row_of(desk, answer)
    assert (row["prompt_tokens"], row["completion_tokens"], row["usage_source"]) == (21, 7, "provider")


@pytest.mark.parametrize("stream", [False, True])
def test_s4_7_no_usage_is_counted(desk: Desk, stream: bool) -> None:
    desk.provider()
    answer = desk.chat(stream=stream, fake=script(usage="none", text="one two three four five"))
    row = row_of(desk, answer)
    assert row["usage_source"] in {"counted", "estimated"}
    assert row["completion_tokens"] in range(4, 9)
    # "hello" and the overhead of one message: 3 a message, 1 for its role, 3 for the reply.
    assert row["prompt_tokens"] in range(5, 12)
    assert row["total_tokens"] == row["prompt_tokens"] + row["completion_tokens"]


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_a_finish_without_done_is_complete(desk: Desk, framing: Any) -> None:
    desk.provider()
    answer = desk.chat(stream=True, fake=script(done=False, framing=framing, text="whole"))
    payloads = events(answer)
    assert payloads[-1] == "[DONE]"
    assert payloads.count("[DONE]") == 1
    assert words(payloads) == "whole"
    assert row_of(desk, answer)["outcome"] == "ok"


def test_every_choice_has_to_finish(desk: Desk) -> None:
    desk.provider()
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def part(index: int, content: str | None, finish: str | None) -> str:
        delta = {"content": content} if content else {}
        return json.dumps(chunk | {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]})

    half = [part(0, "a", None), part(1, "b", None), part(0, None, "stop")]
    answer = desk.chat(stream=True, n=2, fake=script(events=half, done=False))
    assert "[DONE]" not in answer.text
    assert row_of(desk, answer)["outcome"] == "error"
    both = [*half, part(1, None, "length")]
    assert events(desk.chat(stream=True, n=2, fake=script(events=both, done=False)))[-1] == "[DONE]"


CUTS = {
    "reset": script(fault="reset", fault_at=4, gap=0.03),
    "FIN within the chunked body": script(fault="fin", fault_at=4),
    "end by close before a finish": script(framing="close", finish_reason=None, done=False),
    "clean end before a finish": script(finish_reason=None, done=False),
    "reset between finish and [DONE]": script(text="a", usage="none", fault="reset", fault_at=4),
}


@pytest.mark.parametrize("plan", CUTS.values(), ids=CUTS.keys())
def test_a_cut_stream_ends_in_an_error_and_never_in_done(desk: Desk, plan: dict[str, Any]) -> None:
    lane = desk.provider()
    answer = desk.chat(stream=True, fake=plan)
    payloads = events(answer)
    assert "[DONE]" not in payloads
    error = json.loads(payloads[-1])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_cut")
    assert lane.name not in answer.text
    row = row_of(desk, answer)
    assert (row["outcome"], row["error_type"], row["status_code"]) == ("error", "upstream_cut", 200)
    assert row["completion_tokens"] > 0, "what came is counted"
    assert len(lane.chats) == 1


def test_the_sdk_raises_at_a_cut(desk: Desk) -> None:
    desk.provider()
    stream = desk.sdk.chat.completions.create(
        model=desk.model, messages=MESSAGES, stream=True, extra_body={"fake": script(fault="fin", fault_at=4)}
    )
    got: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        got.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert caught.value.code == "upstream_cut"


def test_an_event_cut_in_the_middle_is_not_passed_on(desk: Desk) -> None:
    """A broken half of an event never comes before our error event."""
    desk.provider()
    whole = json.dumps({"choices": [{"index": 0, "delta": {"content": "abc"}, "finish_reason": None}]})
    half = f"data: {whole}\n\ndata: {whole[:30]}".encode()
    payloads = events(desk.chat(stream=True, fake=script(body=half, content_type="text/event-stream")))
    assert words(payloads[:-1]) == "abc"
    for payload in payloads:
        json.loads(payload)
    assert json.loads(payloads[-1])["error"]["code"]


def test_a_providers_own_error_event_is_relayed_redacted(desk: Desk) -> None:
    secret = f"sk-in-band-secret-{desk.number}"
    desk.provider(api_key=secret)
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "abc"}, "finish_reason": None}]})
    error = {
        "error": {
            "message": f"engine died with {secret}",
            "type": "server_error",
            "code": "died",
            "param": None,
        }
    }
    answer = desk.chat(stream=True, fake=script(events=[chunk, json.dumps(error)], gap=0.05))
    payloads = events(answer)
    assert "[DONE]" not in payloads
    assert "engine died" in json.loads(payloads[-1])["error"]["message"]
    assert secret not in answer.text
    row = row_of(desk, answer)
    assert row["outcome"] == "error"


def test_tool_calls_and_refusals_are_content(desk: Desk) -> None:
    """A stream whose only content is a tool call commits, finishes and is counted."""
    desk.provider()
    tool = {"id": "c", "name": "f", "arguments": '{"a": 1}'}
    answer = desk.chat(stream=True, fake=script(tools=[tool], usage="none"))
    assert events(answer)[-1] == "[DONE]"
    row = row_of(desk, answer)
    assert row["outcome"] == "ok"
    assert row["ttft_ms"] is not None


def test_pings_and_comments_do_not_break_a_stream(desk: Desk) -> None:
    desk.provider()
    plan = script(preamble=": OPENROUTER PROCESSING\n\n: ping\n\nevent: ping\ndata: {}\n\n", text="a b")
    payloads = events(desk.chat(stream=True, fake=plan))
    assert payloads[-1] == "[DONE]"
    assert words(payloads) == "a b"


def test_nothing_after_done_is_passed_on(desk: Desk) -> None:
    desk.provider()
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "abc"}, "finish_reason": "stop"}]})
    payloads = events(desk.chat(stream=True, fake=script(events=[chunk, "[DONE]", chunk], done=False)))
    assert payloads == [chunk, "[DONE]"]


def test_a_slow_reader_gets_everything(desk: Desk) -> None:
    """10 MB that the client takes its time over: nothing is lost, and the gateway's memory is bounded."""
    desk.failing(Script(pieces=("q" * 20_000,) * 500))
    headers = {"authorization": f"Bearer {desk.key}"}
    body = desk.body(stream=True)
    total = 0
    with desk.gateway.http.stream("POST", "/v1/chat/completions", headers=headers, json=body) as answer:
        for data in answer.iter_bytes(chunk_size=1_000_000):
            total += data.count(b"q")
    assert total == 500 * 20_000
