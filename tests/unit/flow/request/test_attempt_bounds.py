"""Replies over a limit: bought once, named, and no deployment is blamed; hostile ones stop no other request."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.json_bounds import LARGE, MOST_EVENT_VALUES, MOST_VALUES, count_values
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.surfaces.openai.dialect import CHAT, EMBEDDING, RESPONSE
from tests.fakes.chat_requests import DONE, HELLO, STOP, consume, stream
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider

BIG = msgspec.json.encode(
    {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "a" * 500}, "finish_reason": "stop"}
        ]
    }
)
# An event that ends in another piece than it begins, as one over the limit of a read does.
LONG = (b'data: {"choices":[{"index":0,"delta":{"content":"', b"a" * 500, b'"}}]}\n\n')
SIZE = 60 * 1024 * 1024
DIALECTS = {"chat/completions": CHAT, "embeddings": EMBEDDING, "responses": RESPONSE}


def bench_of(*answers: Any, kind: str = "openai", **options: Any) -> FakeGateway:
    keys = [f"p{number}" for number in range(1, len(answers) + 1)]
    return FakeGateway(
        *(
            provider(key, number, provider_type=kind, model_mapping={"m": "up"})
            for number, key in enumerate(keys, 1)
        ),
        upstream=ScriptedUpstream(**dict(zip(keys, answers, strict=True))),
        options=Options(**options),
    )


async def send(bench: FakeGateway, endpoint: str = "chat/completions", **fields: Any) -> Any:
    asked = (
        {"messages": [{"role": "user", "content": "a"}]} if endpoint == "chat/completions" else {"input": "a"}
    )
    body = msgspec.json.encode({"model": "m", **asked, **fields})

    async def read_body() -> bytes:
        await asyncio.sleep(0)
        return body

    reply = await handle(bench.gateway, bench.call(dialect=DIALECTS[endpoint]), read_body)
    return await consume(reply) if isinstance(reply, StreamReply) else reply


async def told(bench: FakeGateway, endpoint: str = "chat/completions", **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await send(bench, endpoint, **fields)
    return caught.value


def nobody_is_blamed(bench: FakeGateway) -> None:
    for state in bench.gateway.selector._deployment_states.values():
        assert (state.in_flight, state.load(bench.clock.now), state.breaker.closed) == (0, 0, True)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_reply_over_the_limit_is_bought_once_and_the_setting_is_named(streamed: bool) -> None:
    def big(_: object) -> FakeReply:
        return FakeReply(BIG)

    bench = bench_of(big, big, max_reply_bytes=400)
    for _ in range(10):
        error = await told(bench, stream=streamed)
        assert (error.status, error.code) == (502, "upstream_bad_reply")
        assert "MAX_REPLY_BYTES" in error.message
    assert (len(bench.upstream.requests), bench.slept) == (10, [])
    ended = bench.recorder.ended_attempts
    assert {(each.reason, each.next_step) for each in ended} == {("too_large", "give_up")}
    assert all("MAX_REPLY_BYTES" in str(each.detail) for each in ended)
    assert len(bench.recorder.failed) == 10
    nobody_is_blamed(bench)


async def test_an_event_over_the_limit_before_the_commit_is_bought_once() -> None:
    bench = bench_of(lambda _: stream(*LONG), lambda _: stream(*LONG), max_event_bytes=400)
    for _ in range(10):
        error = await told(bench, stream=True)
        assert "MAX_EVENT_BYTES" in error.message
    assert len(bench.upstream.requests) == 10
    nobody_is_blamed(bench)


async def test_an_event_over_the_limit_after_the_commit_ends_the_stream_and_blames_nobody() -> None:
    bench = bench_of(lambda _: stream(HELLO, *LONG, STOP, DONE), max_event_bytes=400)
    for _ in range(10):
        out = await send(bench, stream=True)
        assert b"MAX_EVENT_BYTES" in out
        assert b"[DONE]" not in out
    nobody_is_blamed(bench)
    assert {record.error_type for record in bench.recorder.records} == {"upstream_bad_reply"}


@pytest.mark.parametrize("kind", ["anthropic", "gemini"])
async def test_other_kinds_bound_their_events_as_well(kind: str) -> None:
    bench = bench_of(lambda _: stream(*LONG), kind=kind, max_event_bytes=400)
    assert "MAX_EVENT_BYTES" in (await told(bench, stream=True)).message
    assert len(bench.upstream.requests) == 1


async def test_a_large_reply_below_the_limits_is_an_answer() -> None:
    text = "a, {b} [c] " * (LARGE // 4)
    message = {"role": "assistant", "content": text}
    body = msgspec.json.encode(
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    )
    assert len(body) > LARGE
    assert (await send(bench_of(lambda _: FakeReply(body)))).body == body
    assert text.encode() in await send(bench_of(lambda _: FakeReply(body)), stream=True)


async def test_a_large_list_of_vectors_is_an_answer() -> None:
    vector = b'{"object":"embedding","index":0,"embedding":[' + b",".join([b"0.0123456"] * 3000) + b"]}"
    body = (
        b'{"object":"list","data":['
        + b",".join([vector] * 800)
        + b'],"usage":{"prompt_tokens":1,"total_tokens":1}}'
    )
    assert body.count(b",") > MOST_VALUES
    assert (await send(bench_of(lambda _: FakeReply(body)), "embeddings")).body == body


# -- a hostile provider


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Return a function that returns the bytes by which Python's memory has grown at most."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# What a body begins with, what fills it, and what it ends with.
HOSTILE = {
    "choices": ("openai", (b'{"choices":[', b"{},", b"{}]}")),
    "numbers": ("openai", (b'{"choices":[', b"1,", b"1]}")),
    "keys": ("openai", (b'{"choices":[]', b',"abcdefghij":1', b"}")),
    "usage": ("openai", (b'{"choices":[{}],"usage":[', b"[],", b"0]}")),
    "nested": ("openai", (b"", b"[", b"")),
    "an error": ("openai", (b'{"error":{"message":[', b"{},", b"{}]}}")),
    "blocks": ("anthropic", (b'{"content":[', b'{"type":"text","text":""},', b"{}]}")),
    "parts": ("gemini", (b'{"candidates":[{"content":{"parts":[', b"{},", b"{}]}}]}")),
}


async def longest_pause(work: Awaitable[Any]) -> tuple[float, Any]:
    """Return the longest time for which `work` kept the loop from a heartbeat, and its result."""
    worst, done = 0.0, asyncio.Event()

    async def beat() -> None:
        nonlocal worst
        last = time.perf_counter()
        while not done.is_set():
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            worst, last = max(worst, now - last), now

    heart = asyncio.ensure_future(beat())
    await asyncio.sleep(0)
    try:
        result = await work
    finally:
        done.set()
        await heart
    return worst, result


def pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 262_144] for at in range(0, len(data), 262_144)]


class Arrived(FakeReply):
    """A reply whose body has arrived as one object, so that only the gateway's own work counts."""

    async def read_all(self, limit: int, timeout: float) -> bytes:
        del limit, timeout
        await asyncio.sleep(0)
        # Nothing is left of it if its first bytes were read before.
        body = self.pieces[0] if self.pieces else b""
        assert isinstance(body, bytes)
        return body


@pytest.mark.parametrize("how", ["whole", "json for a stream", "one event"])
@pytest.mark.parametrize("name", HOSTILE)
async def test_sixty_megabytes_of_json_cost_little_memory_and_stop_nobody(
    name: str, how: str, memory: Callable[[], int]
) -> None:
    kind, (head, unit, tail) = HOSTILE[name]
    body = head + unit * (SIZE // len(unit)) + tail

    def answer(_: object) -> FakeReply:
        if how == "one event":
            return stream(*pieces(b"data: " + body + b"\n\n"))
        return Arrived(body)

    bench = bench_of(answer, answer, kind=kind)
    before = memory()
    pause, error = await longest_pause(told(bench, stream=how != "whole"))
    assert (error.status, error.code) == (502, "upstream_bad_reply")
    assert len(bench.upstream.requests) == 1
    # Before there were bounds: seconds, and gigabytes.
    assert pause < 2
    assert memory() - before < 4 * SIZE
    nobody_is_blamed(bench)


@pytest.mark.parametrize("how", ["whole", "json for a stream", "one event"])
@pytest.mark.parametrize("name", ["choices", "numbers", "keys", "blocks", "parts"])
async def test_as_many_values_as_are_decoded_stop_nobody_for_long(name: str, how: str) -> None:
    kind, (head, unit, tail) = HOSTILE[name]
    most = MOST_EVENT_VALUES if how == "one event" else MOST_VALUES
    body = head + unit * (most // count_values(unit) - 100) + tail

    def answer(_: object) -> FakeReply:
        if how == "one event":
            return stream(*pieces(b"data: " + body + b"\n\n"))
        return Arrived(body)

    async def outcome() -> None:
        with contextlib.suppress(GatewayError):
            await send(bench_of(answer, kind=kind, max_retries=0), stream=how != "whole")

    pause, _ = await longest_pause(outcome())
    assert pause < 3
