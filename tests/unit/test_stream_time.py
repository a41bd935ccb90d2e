"""How long a stream may take for its next content: comments, floods and slow clients change nothing about it."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import UpstreamTimedOut
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.in_memory import FakeClock, FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.virtual_time import VirtualTime

PING = b": ping\n\n"
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Pinging(FakeReply):
    """Gives its pieces, then `endless` for ever, each after `seconds`, and heeds no timeout."""

    def __init__(
        self, clock: FakeClock | VirtualTime, *pieces: bytes, endless: bytes = PING, seconds: float
    ) -> None:
        super().__init__(content_type="text/event-stream")
        self._clock = clock
        self._seconds = seconds
        self._pieces = itertools.chain(pieces, itertools.repeat(endless))

    async def read(self, timeout: float) -> bytes:
        self._clock.now += self._seconds
        return next(self._pieces)


def bench(**options: Any) -> FakeGateway:
    return FakeGateway(provider("a"), upstream=ScriptedUpstream(), options=Options(max_retries=0, **options))


async def begin(bench: FakeGateway, reply: FakeReply) -> StreamReply:
    bench.upstream.answers["a"] = [reply]

    async def read_request(call: Call) -> ModelRequest:
        messages = [{"role": "user", "content": "x"}]
        return parse_chat(msgspec.json.encode({"model": "m", "messages": messages, "stream": True}))

    got = await handle(bench.gateway, bench.call(), read_request)
    assert isinstance(got, StreamReply)
    return got


async def consume(bench: FakeGateway, reply: StreamReply, *, client_seconds: float = 0.0) -> bytes:
    """Read to the end, as a client that takes its time over each piece."""
    out, last = b"", False
    while not last:
        data, last = await reply.next()
        out += data
        bench.clock.now += client_seconds
    reply.close()
    return out


async def test_comments_after_content_are_no_sign_of_life() -> None:
    desk = bench(llm_timeout=10.0)
    reply = Pinging(desk.clock, HELLO, HELLO, seconds=3.0)
    out = await consume(desk, await begin(desk, reply))
    assert out.startswith(HELLO + HELLO + PING)
    assert out.count(PING) <= 4
    assert b"upstream_timeout" in out
    assert reply.closed
    record = desk.recorder.record
    assert (record.outcome, record.error_type) == ("error", "upstream_timeout")
    assert desk.clock.now <= 1000.0 + 6.0 + 13.0


async def test_bytes_of_an_event_that_never_ends_are_no_content() -> None:
    desk = bench(llm_timeout=10.0)
    reply = Pinging(desk.clock, HELLO, b"data: {", endless=b" ", seconds=3.0)
    out = await consume(desk, await begin(desk, reply))
    assert out.startswith(HELLO + b'data: {"error"')
    assert b"upstream_timeout" in out


async def test_every_content_has_the_whole_time_again() -> None:
    desk = bench(llm_timeout=10.0)
    pieces = [piece for _ in range(5) for piece in (9.0, PING, HELLO)]
    reply = FakeReply(*pieces, STOP, DONE, content_type="text/event-stream", clock=desk.clock)
    assert (await consume(desk, await begin(desk, reply))).endswith(STOP + DONE)


async def test_a_clients_own_time_is_not_the_providers() -> None:
    desk = bench(llm_timeout=10.0)
    pieces = [piece for _ in range(5) for piece in (9.0, HELLO)]
    reply = FakeReply(*pieces, STOP, DONE, content_type="text/event-stream", clock=desk.clock)
    out = await consume(desk, await begin(desk, reply), client_seconds=100.0)
    assert out.endswith(STOP + DONE)


async def test_held_comments_are_let_go_when_their_time_is_up_however_fast_they_come() -> None:
    desk = bench(llm_timeout=10.0, commit_hold=2.0)
    reply = await begin(desk, Pinging(desk.clock, seconds=0.5))
    assert desk.clock.now == 1002.5
    out = await consume(desk, reply)
    assert out.startswith(PING)
    assert b"upstream_timeout" in out
    assert desk.clock.now <= 1011.0


async def test_a_flood_of_comments_that_are_held_ends_with_the_first_contents_time() -> None:
    desk = bench(llm_timeout=10.0, commit_hold=60.0)
    with pytest.raises(UpstreamTimedOut):
        await begin(desk, Pinging(desk.clock, seconds=0.5))
    assert desk.clock.now <= 1011.0
