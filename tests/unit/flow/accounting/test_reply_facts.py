"""What a dialect may tell its client of a reply is what the usage record says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.dialect import ReplyFacts, StreamEncoder
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.openai.dialect import OpenAIDialect
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.caching_gateway import CachingGateway
from tests.fakes.chat_requests import CUT, DONE, HELLO, STOP, USAGE, consume, read, stream, whole
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, provider

TOLD = (
    "request_id",
    "model",
    "provider",
    "upstream_model",
    "attempts",
    "is_cached",
    "latency_ms",
    "cost_nano_usd",
)


def told(facts: ReplyFacts) -> dict[str, Any]:
    tokens = None if facts.usage is None else facts.usage.total_tokens
    return {**{name: getattr(facts, name) for name in TOLD}, "tokens": tokens}


class _Telling(StreamEncoder):
    def __init__(self, dialect: Telling) -> None:
        self._dialect = dialect

    def feed(self, events: bytes) -> bytes:
        del events
        return b""

    def end(self, facts: ReplyFacts) -> bytes:
        self._dialect.facts.append(told(facts))
        return b"end"

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        del error, tail
        self._dialect.facts.append(told(facts))
        return b"failed"


class Telling(OpenAIDialect):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(parse_chat)
        self.facts: list[dict[str, Any]] = []

    def encode_reply(self, request: ModelRequest, body: bytes, facts: ReplyFacts) -> bytes:  # type: ignore[override]
        del request, body
        self.facts.append(told(facts))
        return b"told"

    def open_stream(self, request: ModelRequest, deployment: object) -> StreamEncoder:  # type: ignore[override]
        del request, deployment
        return _Telling(self)


def bench_of(*answers: Any) -> FakeGateway:
    return FakeGateway(
        provider("a", 1, model_mapping={"m": "up"}),
        provider("b", 2, model_mapping={"m": "up"}),
        upstream=ScriptedUpstream(a=list(answers), b=list(answers)),
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_facts_are_those_of_the_record(streamed: bool) -> None:
    dialect = Telling()
    bench = bench_of(CUT, stream(HELLO, STOP, USAGE, DONE) if streamed else whole())
    bench.upstream.answers = {"a": [CUT], "b": [stream(HELLO, STOP, USAGE, DONE) if streamed else whole()]}
    reply = await handle(bench.gateway, bench.call(dialect=dialect), read(stream=streamed))
    if streamed:
        assert await consume(reply) == b"end"  # type: ignore[arg-type]
    record = bench.recorder.record
    assert dialect.facts == [
        {
            "request_id": record.request_id,
            "model": "m",
            "provider": record.provider,
            "upstream_model": "up",
            "attempts": record.attempts,
            "is_cached": False,
            "latency_ms": record.latency_ms,
            "cost_nano_usd": record.cost_nano_usd,
            "tokens": record.total_tokens,
        }
    ]


async def test_a_stream_that_fails_tells_the_facts_as_well() -> None:
    dialect = Telling()
    bench = bench_of(stream(HELLO, CUT))
    reply = await handle(bench.gateway, bench.call(dialect=dialect), read(stream=True))
    assert await consume(reply) == b"failed"  # type: ignore[arg-type]
    [facts] = dialect.facts
    assert (facts["provider"], facts["tokens"]) == (
        bench.recorder.record.provider,
        bench.recorder.record.total_tokens,
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cached_reply_has_the_facts_of_the_first_one_and_costs_nothing(streamed: bool) -> None:
    bench = CachingGateway(
        ScriptedUpstream(a=[stream(HELLO, STOP, USAGE, DONE) if streamed else whole()]),
    )
    dialect = Telling()
    for _ in range(2):
        call = bench.call(dialect=dialect)
        call.cache_directive = "on"
        reply = await handle(bench.gateway, call, read(stream=streamed))
        if streamed:
            assert await consume(reply) == b"end"  # type: ignore[arg-type]
    first, second = dialect.facts
    assert (first["is_cached"], second["is_cached"]) == (False, True)
    assert (second["attempts"], second["cost_nano_usd"]) == (0, 0)
    same = ("model", "provider", "upstream_model", "tokens")
    assert [second[name] for name in same] == [first[name] for name in same]
    assert msgspec.structs.asdict(bench.recorder.records[-1])["cache_hit"] is True
