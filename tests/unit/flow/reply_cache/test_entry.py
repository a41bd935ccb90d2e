"""The stored form of a reply, and which replies may be stored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import ENDPOINTS, EndpointName
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.reply_cache.entry import (
    CachedReply,
    from_bytes,
    is_cacheable,
    make_cached_reply,
    to_bytes,
)
from tests.fakes.usage_records import record

USAGE = Usage(
    prompt_tokens=3,
    completion_tokens=2,
    total_tokens=5,
    cached_tokens=1,
    reasoning_tokens=1,
    source="counted",
    cache_write_tokens=2,
)
REPLY = CachedReply(
    body=b"\x00{}",
    status=200,
    headers=((b"x-llm-gateway-model", b"m"),),
    usage=USAGE,
    provider="a",
    upstream_model="up",
    stored_at=123_456_789,
)


@pytest.mark.parametrize("usage", [USAGE, None])
def test_an_entry_is_read_as_it_was_written(usage: Usage | None) -> None:
    reply = msgspec.structs.replace(REPLY, usage=usage)
    assert from_bytes(to_bytes(reply)) == reply


def test_an_entry_of_an_older_version_is_read() -> None:
    old = msgspec.msgpack.decode(to_bytes(REPLY))
    del old[3]["cache_write_tokens"]
    read = from_bytes(msgspec.msgpack.encode(old))
    assert read == msgspec.structs.replace(REPLY, usage=msgspec.structs.replace(USAGE, cache_write_tokens=0))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        b"junk",
        to_bytes(REPLY)[:-1],
        msgspec.msgpack.encode(["only", 2]),
        msgspec.msgpack.encode([b"", "200", [], None, "a", "up", 1]),
        msgspec.msgpack.encode({"body": b""}),
        b"\xa1\xff",
    ],
)
def test_other_bytes_are_no_entry(value: bytes) -> None:
    assert from_bytes(value) is None


def test_an_entry_has_the_facts_of_the_record_and_no_headers_of_the_request() -> None:
    headers = ((b"x-llm-gateway-model", b"m"), (b"x-llm-gateway-attempts", b"2"))
    made = make_cached_reply(
        b"body",
        headers,
        record(
            "id",
            status_code=200,
            provider="a",
            upstream_model="up",
            prompt_tokens=3,
            completion_tokens=2,
            total_tokens=5,
            cached_tokens=1,
            reasoning_tokens=1,
            usage_source="counted",
            cache_write_tokens=2,
            served_tier="flex",
            cost_nano_usd=5,
        ),
        123_456_789,
    )
    assert made == msgspec.structs.replace(REPLY, body=b"body")


def test_a_record_without_usage_gives_an_entry_without() -> None:
    unknown = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "usage_source"))
    assert make_cached_reply(b"", (), record("id", **unknown), 1).usage is None
    partial = record("id", **(unknown | {"usage_source": "counted", "cached_tokens": None}))
    usage = make_cached_reply(b"", (), partial, 1).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.total_tokens, usage.cached_tokens) == (0, 0, 0)


def check(body: Any, *, endpoint: EndpointName = "chat/completions", stream: bool = False) -> bool:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return is_cacheable(ENDPOINTS[endpoint], raw, stream=stream)


@pytest.mark.parametrize(
    ("ends", "cacheable"),
    [
        (["stop"], True),
        (["length"], True),
        (["tool_calls"], True),
        ([None], True),
        ([], True),
        (["content_filter"], False),
        (["error"], False),
        (["stop", "content_filter"], False),
    ],
)
def test_how_the_choices_ended_decides(ends: list[str | None], cacheable: bool) -> None:
    assert check({"choices": [{"finish_reason": end} for end in ends]}) is cacheable
    events = b"".join(
        b"data: " + msgspec.json.encode({"choices": [{"finish_reason": end}]}) + b"\n\n" for end in ends
    )
    assert check(events + b"data: [DONE]\n\n", stream=True) is cacheable


@pytest.mark.parametrize(("error", "cacheable"), [(None, True), ({"message": "no"}, False), ("no", False)])
def test_a_reply_with_an_error_is_not_cacheable(error: Any, cacheable: bool) -> None:
    body = {"choices": [{"finish_reason": "stop"}], "error": error}
    assert check(body) is cacheable
    assert check(b"data: " + msgspec.json.encode(body) + b"\n\n", stream=True) is cacheable


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"choices":"x"}', b'{"choices":[{"finish_reason":"\xff"}]}']
)
def test_an_unreadable_reply_is_not_cacheable(body: bytes) -> None:
    assert not check(body)
    if body:
        assert not check(b"data: " + body + b"\n\n", stream=True)


def test_comments_are_no_part_of_a_stream() -> None:
    assert check(b": ping\n\ndata: {}\n\n", stream=True)


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "in_progress", None])
def test_only_a_completed_response_is_cacheable(status: str | None) -> None:
    cacheable = status == "completed"
    assert check({"status": status, "error": None}, endpoint="responses") is cacheable
    events = [{"type": "response.created", "response": {"status": "in_progress"}}]
    events.append({"type": "response.done", "response": {"status": status}})
    stream = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
    assert check(stream, endpoint="responses", stream=True) is cacheable


def test_embeddings_are_cacheable() -> None:
    assert check({"object": "list", "data": []}, endpoint="embeddings")
