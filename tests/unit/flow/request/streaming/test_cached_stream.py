"""A stream recorded for the cache, and a cached stream sent again."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.accounting.reply_facts import MeteredReply
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.reply_cache.entry import CachedReply
from llm_gateway.flow.request.streaming.cached_stream import RecordingStream, ReplayedStream
from llm_gateway.surfaces.openai.dialect import CHAT
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.chat_requests import DONE, HELLO, ROLE, STOP, begin_stream, consume, one, stream
from tests.fakes.in_memory import FakeGateway, FakeReply
from tests.fakes.shouting_surface import SHOUTING

EVENTS = HELLO + STOP
USAGE = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)


class Recording:
    """A stream over fakes, and what was stored of it."""

    def __init__(self, *pieces: bytes, limit: int = 10_000) -> None:
        self.bench = one(FakeReply())
        self.upstream = stream(*pieces)
        self.limit = limit
        self.stored: list[bytes] = []

    async def begin(self) -> RecordingStream:
        async def store(body: bytes) -> None:
            self.stored.append(body)

        return RecordingStream(await begin_stream(self.bench, self.upstream), store, self.limit)


@pytest.mark.parametrize("relays", [True, False])
async def test_the_canonical_events_are_stored_without_the_end(
    relays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeReply, "relays", relays)
    recording = Recording(ROLE, HELLO, HELLO, STOP, DONE)
    assert await consume(await recording.begin()) == ROLE + HELLO * 2 + STOP + DONE
    assert recording.stored == [ROLE + HELLO * 2 + STOP]


@pytest.mark.parametrize(("room", "stored"), [(0, [EVENTS]), (-1, [])])
async def test_a_stream_is_stored_up_to_the_limit(room: int, stored: list[bytes]) -> None:
    recording = Recording(HELLO, STOP, DONE, limit=len(EVENTS) + room)
    assert await consume(await recording.begin()) == EVENTS + DONE
    assert recording.stored == stored


async def test_it_is_stored_before_the_client_sees_the_end() -> None:
    recording = Recording(HELLO, STOP, DONE)
    reply = await recording.begin()
    last = False
    while not last:
        assert recording.stored == []
        _, last = await reply.next()
    assert recording.stored == [EVENTS]
    reply.close()


async def test_a_stream_that_is_closed_early_is_not_stored() -> None:
    recording = Recording(HELLO, STOP, DONE)
    reply = await recording.begin()
    await reply.next()
    reply.close()
    assert recording.upstream.closed
    assert recording.stored == []


async def test_a_bug_ends_the_inner_stream() -> None:
    recording = Recording(HELLO, STOP, DONE)
    reply = await recording.begin()
    await reply.next()
    assert b'"bug"' in await reply.fail(BadRequest("a bug", code="bug"), begun=True)
    assert recording.bench.recorder.record.error_type == "bug"
    assert recording.stored == []


class Replay:
    """A cached stream on its way to another client."""

    def __init__(self, dialect: Dialect = CHAT) -> None:
        self.bench: FakeGateway = one(FakeReply())
        call = self.bench.call(dialect=dialect)
        self.meter = Meter(self.bench.gateway, call)
        self.meter.credential = "tester"
        request: ModelRequest = parse_chat(
            msgspec.json.encode({"model": "m", "messages": [], "stream": True})
        )
        cached = CachedReply(
            body=EVENTS,
            status=200,
            headers=(),
            usage=USAGE,
            provider="a",
            upstream_model="up",
            stored_at=0,
        )
        self.stream = ReplayedStream(
            cached, request, dialect, self.meter, MeteredReply(self.meter, USAGE, None, "m", 0.0)
        )


@pytest.mark.parametrize(
    ("dialect", "body"), [(CHAT, EVENTS + DONE), (SHOUTING, b"<HELLO YOU>THE END")], ids=["openai", "other"]
)
async def test_a_cached_stream_is_sent_in_one_piece_in_the_clients_dialect(
    dialect: Dialect, body: bytes
) -> None:
    replay = Replay(dialect)
    assert await replay.stream.next() == (body, True)
    replay.stream.close()
    record = replay.bench.recorder.record
    assert (record.outcome, record.status_code, record.response_bytes) == ("ok", 200, len(body))
    assert (record.total_tokens, record.ttft_ms) == (5, 0.0)


async def test_nothing_is_relayed() -> None:
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    replay = Replay()
    await replay.stream.relay(take)
    assert taken == []
    assert (await replay.stream.next())[1]


async def test_a_client_that_leaves_before_the_stream_is_aborted() -> None:
    replay = Replay()
    replay.stream.close()
    record = replay.bench.recorder.record
    assert (record.outcome, record.status_code, record.error_type) == ("aborted", 499, "client_left")


async def test_a_stream_that_cannot_be_encoded_is_an_error() -> None:
    replay = Replay()
    error = BadRequest("no", code="bug")
    assert await replay.stream.fail(error, begun=False) == b""
    replay.stream.close()
    record = replay.bench.recorder.record
    assert (record.outcome, record.status_code, record.error_type) == ("rejected", 400, "bug")


async def test_a_stream_that_was_reported_stays_as_it_is() -> None:
    replay = Replay()
    await replay.stream.next()
    assert await replay.stream.fail(BadRequest("late"), begun=True) == b""
    assert replay.bench.recorder.record.outcome == "ok"
