"""What a provider states of its tokens reaches the usage row through a running gateway; only the rest is counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

import httpx
import pytest

from tests.e2e.conftest import Desk
from tests.fakes.replay_server import Answered, Asked, replaying

STORE_MATTERS = False

WORDS = "one two three four five six seven eight"
End = Literal["whole", "cut", "left", "errored"]


def data(value: Any, name: str | None = None) -> bytes:
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + json.dumps(value).encode() + b"\n\n"


def chat_piece(text: str | None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    return data({"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more})


def anthropic(name: str, **fields: Any) -> bytes:
    return data({"type": name, **fields}, name)


def gemini(text: str, **more: Any) -> bytes:
    return data({"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0}], **more})


# The events up to the text, and an error event.
STREAMS: dict[str, tuple[list[bytes], bytes]] = {
    "openai": (
        [chat_piece(None, usage={"prompt_tokens": 100_025}), chat_piece(WORDS)],
        data({"error": {"message": "broke", "type": "server_error"}}),
    ),
    "anthropic": (
        [
            anthropic(
                "message_start",
                message={
                    "id": "m",
                    "model": "c",
                    "usage": {"input_tokens": 25, "cache_read_input_tokens": 100_000, "output_tokens": 1},
                },
            ),
            anthropic("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": WORDS}),
        ],
        anthropic("error", error={"type": "overloaded_error", "message": "broke"}),
    ),
    "gemini": (
        [
            gemini("", usageMetadata={"promptTokenCount": 100_025, "totalTokenCount": 100_025}),
            gemini(WORDS),
        ],
        data({"error": {"code": 503, "message": "broke", "status": "UNAVAILABLE"}}),
    ),
}
WHOLE = {
    "openai": [
        data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        b"data: [DONE]\n\n",
    ],
    "anthropic": [
        anthropic("content_block_stop", index=0),
        anthropic("message_delta", delta={"stop_reason": "end_turn"}),
        anthropic("message_stop"),
    ],
    "gemini": [data({"candidates": [{"finishReason": "STOP", "index": 0}]})],
}


@pytest.mark.parametrize("end", ["whole", "cut", "left", "errored"])
@pytest.mark.parametrize("kind", list(STREAMS))
def test_a_stated_prompt_is_kept_however_the_stream_ends(desk: Desk, kind: str, end: End) -> None:
    started, error = STREAMS[kind]
    heard = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield from started
        if end in {"left", "errored"}:
            heard.wait(10)
        yield from {"whole": WHOLE[kind], "errored": [error]}.get(end, [])

    def answer(_: Asked) -> Answered:
        return Answered(200, pieces(), "text/event-stream")

    with replaying(answer) as server:
        desk.provider(provider_type=kind, api_base=server.origin, api_key="secret")
        body = {"model": desk.model, "messages": [{"role": "user", "content": "a b"}], "stream": True}
        headers = {"authorization": f"Bearer {desk.key}"}
        url = f"{desk.gateway.origin}/v1/chat/completions"
        got = b""
        with (
            httpx.Client(trust_env=False, timeout=10) as client,
            client.stream("POST", url, json=body, headers=headers) as reply,
            suppress(httpx.HTTPError),
        ):
            for chunk in reply.iter_raw():
                got += chunk
                if end == "left" and b"eight" in got:
                    break
                if b"eight" in got:
                    heard.set()
        row = desk.gateway.usage_row(reply.headers["x-request-id"])
        heard.set()
    assert b"eight" in got
    assert row["outcome"] == {"whole": "ok", "left": "aborted"}.get(end, "error")
    assert row["prompt_tokens"] == 100_025
    assert row["usage_source"] in {"provider/counted", "provider/estimated"}
    assert 8 <= row["completion_tokens"] <= 12
    assert row["total_tokens"] == row["prompt_tokens"] + row["completion_tokens"]


CHAT = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}]
}
LEGACY = {"choices": [{"index": 0, "text": WORDS, "finish_reason": "stop"}]}
RESPONSE = {
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": WORDS}]}],
}
VECTORS = {"object": "list", "data": [{"embedding": [0.5], "index": 0}]}
ASKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat/completions": ({"messages": [{"role": "user", "content": "a b"}]}, CHAT),
    "completions": ({"prompt": "a b"}, LEGACY),
    "responses": ({"input": "a b"}, RESPONSE),
    "embeddings": ({"input": "a b"}, VECTORS),
}


def _counted(source: str) -> set[str]:
    """Return the sources that stand for a count, with or without a vocabulary on this machine."""
    return {source.replace("counted", word) for word in ("counted", "estimated")}


@pytest.mark.parametrize("endpoint", list(ASKED))
@pytest.mark.parametrize(
    ("prompt", "completion", "source"),
    [
        (50, 25, "provider"),
        (50.0, "25", "provider"),
        (50, None, "provider/counted"),
        (None, 25, "counted/provider"),
        (0, 0, "counted"),
        (-1, True, "counted"),
        (10**18, [], "counted"),
    ],
)
def test_s3_26_each_number_of_a_whole_reply_is_judged_by_itself(
    desk: Desk, endpoint: str, prompt: Any, completion: Any, source: str
) -> None:
    asked, reply = ASKED[endpoint]
    if endpoint == "embeddings":
        # They have no completion.
        completion, source = None, source.partition("/")[0]
    names = (
        ("input_tokens", "output_tokens")
        if endpoint == "responses"
        else ("prompt_tokens", "completion_tokens")
    )
    usage = {names[0]: prompt, names[1]: completion, "prompt_tokens_details": [], "input_tokens_details": []}
    with replaying(lambda _: Answered(200, [json.dumps(reply | {"usage": usage}).encode()])) as server:
        desk.provider(provider_type="openai", api_base=server.origin, api_key="secret")
        headers = {"authorization": f"Bearer {desk.key}"}
        url = f"{desk.gateway.origin}/v1/{endpoint}"
        got = httpx.post(url, json={"model": desk.model, **asked}, headers=headers, trust_env=False)
    assert got.json()["usage"] == usage
    row = desk.gateway.usage_row(got.headers["x-request-id"])
    assert row["usage_source"] in _counted(source)
    if source.startswith("provider"):
        assert row["prompt_tokens"] == 50
    else:
        assert 1 <= row["prompt_tokens"] <= 15
    if endpoint == "embeddings":
        assert row["completion_tokens"] == 0
    elif source.endswith("provider"):
        assert row["completion_tokens"] == 25
    else:
        assert 8 <= row["completion_tokens"] <= 12


TOOL = {"name": "f", "description": "word " * 2000, "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("endpoint", "more"),
    [
        ("chat/completions", {"tools": [{"type": "function", "function": TOOL}]}),
        ("chat/completions", {"functions": [TOOL]}),
        (
            "chat/completions",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": TOOL}}},
        ),
        ("responses", {"tools": [{"type": "function", **TOOL}]}),
        ("responses", {"text": {"format": {"type": "json_schema", "name": "s", "schema": TOOL}}}),
    ],
)
def test_a_counted_prompt_includes_tools_and_schemas(desk: Desk, endpoint: str, more: dict[str, Any]) -> None:
    asked, reply = ASKED[endpoint]
    with replaying(lambda _: Answered(200, [json.dumps(reply).encode()])) as server:
        desk.provider(provider_type="openai", api_base=server.origin, api_key="secret")
        headers = {"authorization": f"Bearer {desk.key}"}
        url = f"{desk.gateway.origin}/v1/{endpoint}"
        ids = [
            httpx.post(
                url, json={"model": desk.model, **asked, **extra}, headers=headers, trust_env=False
            ).headers["x-request-id"]
            for extra in ({}, more)
        ]
    without, with_tools = (desk.gateway.usage_row(one)["prompt_tokens"] for one in ids)
    assert without < 20
    assert 2000 <= with_tools <= 2700
