"""Which requests are answered from the cache, which replies are stored, and for whom, with every port in memory."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import Model
from llm_gateway.core.errors import BadRequest, GatewayError, RateLimited
from llm_gateway.core.secret import Secret
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.dialect import CostHeaders
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.caching_gateway import LARGEST, CachingGateway, body, consume, said
from tests.fakes.in_memory import FakeReply, ScriptedUpstream, credential, provider

HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello you"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
CUT = TransportError("cut", "cut")
ENABLED = CacheRules()
SWITCHED_OFF = CacheRules(is_enabled=False)


def numbered() -> ScriptedUpstream:
    """Answer each request otherwise than the one before, and streams with a stream."""
    count = 0

    def answer(request: UpstreamRequest) -> FakeReply:
        nonlocal count
        count += 1
        if msgspec.json.decode(request.body).get("stream"):
            hello = HELLO.replace(b"you", b"%d" % count)
            return FakeReply(hello, STOP + USAGE + DONE, content_type="text/event-stream")
        return FakeReply(body(f"answer {count}"))

    return ScriptedUpstream(a=answer, b=answer, c=answer)


def model(rules: CacheRules | None) -> Model:
    return Model(id=1, name="m", cache=rules)


async def verdicts(bench: CachingGateway, *directives: str | None, **fields: Any) -> list[str | None]:
    found = []
    for directive in directives:
        reply = await bench.ask(directive, **fields)
        await consume(reply)
        found.append(said(reply))
    return found


async def test_c40_without_rules_or_a_header_caching_has_no_part() -> None:
    bench = CachingGateway(numbered())
    assert await verdicts(bench, None, None, temperature=0) == [None, None]
    assert len(bench.upstream.requests) == 2
    assert not bench.results


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hit_gives_the_bytes_of_the_miss_and_a_row_that_says_so(stream: bool) -> None:
    bench = CachingGateway(numbered())
    first = await bench.ask("on", stream=stream)
    sent = await consume(first)
    bench.clock.now += 12.7
    second = await bench.ask("on", stream=stream)
    assert await consume(second) == sent
    assert (said(first), said(second)) == ("miss", "hit")
    assert dict(second.headers) == {
        b"x-llm-gateway-cache": b"hit",
        b"age": b"12",
        b"x-llm-gateway-model": b"m",
        # The row says so, too. Of a stream the head has gone before its cost is known.
        **({} if stream else {b"x-llm-gateway-cost-usd": b"0"}),
    }
    assert len(bench.upstream.requests) == len(bench.recorder.begun) == 1
    made, hit = bench.recorder.records
    assert (made.cache_hit, made.attempts) == (False, 1)
    assert (hit.cache_hit, hit.attempts, hit.upstream_latency_ms) == (True, 0, None)
    same = (
        "provider", "upstream_model", "prompt_tokens", "completion_tokens", "total_tokens", "usage_source",
        "response_bytes", "outcome", "status_code", "credential", "stream",
    )  # fmt: skip
    assert [getattr(hit, name) for name in same] == [getattr(made, name) for name in same]
    assert (hit.outcome, hit.cost_nano_usd, hit.cost_source, hit.unpriced) == ("ok", 0, "catalog", None)
    assert bench.recorder.journalled == bench.recorder.records
    assert bench.results == {"miss": 1, "hit": 1}


async def test_a_stream_and_a_whole_reply_have_their_own_entries_and_so_has_the_usage_chunk() -> None:
    bench = CachingGateway(numbered())
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    seen = []
    for fields in ({}, {"stream": True}, usage):
        replies = [await consume(await bench.ask("on", **fields)) for _ in range(2)]
        assert replies[0] == replies[1]
        seen.append(replies[0])
    assert len(bench.upstream.requests) == 3
    assert [b"total_tokens" in one for one in seen] == [True, False, True]
    # The hidden chunk was read all the same.
    assert {record.total_tokens for record in bench.recorder.records if record.stream} == {5}


async def test_stream_options_of_a_request_that_is_no_stream_do_not_matter() -> None:
    bench = CachingGateway(numbered())
    await bench.ask("on", stream=False, stream_options=None)
    assert said(await bench.ask("on")) == "hit"


@pytest.mark.parametrize(("rules", "lives"), [(None, 300), (CacheRules(), 300), (CacheRules(ttl=20.0), 20)])
async def test_a_reply_is_cached_as_long_as_the_rules_say(rules: CacheRules | None, lives: int) -> None:
    bench = CachingGateway(numbered(), model=model(rules))
    assert await verdicts(bench, "on") == ["miss"]
    bench.clock.now += lives - 1
    assert await verdicts(bench, "on") == ["hit"]
    bench.clock.now += 1
    assert await verdicts(bench, "on") == ["miss"]


async def test_c40_the_gateways_ttl_is_a_setting() -> None:
    bench = CachingGateway(numbered(), options=Options(cache_ttl=5.0, cache_enabled=False))
    assert await verdicts(bench, "on", "on") == ["miss", "hit"]
    bench.clock.now += 5
    assert await verdicts(bench, "on") == ["miss"]


@pytest.mark.parametrize(
    ("of_model", "of_credential", "directive", "expected"),
    [
        (ENABLED, None, None, "hit"),
        (None, ENABLED, None, "hit"),
        (SWITCHED_OFF, ENABLED, None, "hit"),
        (ENABLED, SWITCHED_OFF, None, "bypass"),
        (SWITCHED_OFF, None, "on", "bypass"),
        (None, SWITCHED_OFF, "refresh", "bypass"),
        (None, None, "on", "hit"),
        (ENABLED, None, "off", "bypass"),
        (ENABLED, None, "bypass", "bypass"),
        (None, None, "off", "bypass"),
        (ENABLED, None, "refresh", "miss"),
        (None, None, None, None),
    ],
)
async def test_c40_rules_and_directives_decide_together(
    of_model: CacheRules | None, of_credential: CacheRules | None, directive: str | None, expected: str | None
) -> None:
    bench = CachingGateway(numbered(), model=model(of_model), credentials=(credential(cache=of_credential),))
    assert (await verdicts(bench, directive, directive, temperature=0))[1] == expected
    if expected is not None:
        assert bench.results[expected] >= 1


async def test_refresh_puts_a_new_reply_in_the_place_of_the_old() -> None:
    bench = CachingGateway(numbered())
    assert await verdicts(bench, "on", "refresh", "on") == ["miss", "miss", "hit"]
    assert b"answer 2" in await consume(await bench.ask("on"))


@pytest.mark.parametrize("directive", ["", "yes", "on,off"])
async def test_another_word_in_the_header_is_a_bad_request(directive: str) -> None:
    bench = CachingGateway(numbered())
    with pytest.raises(BadRequest, match="on, refresh, off or bypass"):
        await bench.ask(directive)
    assert bench.upstream.requests == []
    assert bench.recorder.record.outcome == "rejected"


async def test_credentials_share_nothing_unless_the_rules_say_so() -> None:
    both = (credential("one", 1), credential("two", 2))
    bench = CachingGateway(numbered(), credentials=both)
    for key in ("one", "two"):
        assert [said(await bench.ask("on", key=key)) for _ in range(2)] == ["miss", "hit"]
    bench.configure((provider("a"),), both, model(CacheRules(is_shared=True)))
    assert [said(await bench.ask("on", key=key)) for key in ("one", "two")] == ["miss", "hit"]


async def test_a_key_that_may_not_use_the_model_gets_no_shared_reply() -> None:
    rules = model(CacheRules(is_shared=True))
    both = (credential("one", 1), credential("two", 2, allowed_models=("other",)))
    bench = CachingGateway(numbered(), credentials=both, model=rules)
    await bench.ask("on", key="one")
    with pytest.raises(GatewayError, match="may not use"):
        await bench.ask("on", key="two")


async def test_a_changed_mapping_is_not_answered_with_old_replies_and_other_changes_do_not_matter() -> None:
    mine = (credential(),)
    bench = CachingGateway(numbered())
    first = provider("a", model_mapping={"m": "up"})
    bench.configure((first,), mine)
    assert await verdicts(bench, "on", "on") == ["miss", "hit"]
    unrelated = (
        msgspec.structs.replace(first, weight=7, secret=Secret("sk-rotated")),
        provider("b", 2, model_mapping={"other": "up"}),
    )
    bench.configure(unrelated, (*mine, credential("new", 9)))
    assert await verdicts(bench, "on") == ["hit"]
    for changes in (
        {"model_mapping": {"m": "up-2"}},
        {"api_base": "https://b.test"},
        {"api_version": "2"},
        {"id": 5},
    ):
        bench.configure((msgspec.structs.replace(first, **changes),), mine)
        assert await verdicts(bench, "on") == ["miss"], changes
    bench.configure((first, provider("c", 3)), mine)
    assert await verdicts(bench, "on") == ["miss"]


async def test_headers_that_go_to_the_provider_count_unless_they_change_nothing() -> None:
    bench = CachingGateway(numbered())
    steps = [
        ({"traceparent": "1"}, "miss"),
        ({"idempotency-key": "k"}, "hit"),
        ({"openai-beta": "x"}, "miss"),
    ]
    for headers, expected in steps:
        assert said(await bench.ask("on", headers=headers)) == expected


async def test_the_rate_limit_holds_for_hits() -> None:
    bench = CachingGateway(numbered(), credentials=(credential(rate_limit=2),))
    assert await verdicts(bench, "on", "on") == ["miss", "hit"]
    with pytest.raises(RateLimited):
        await bench.ask("on")


async def test_a_hit_needs_no_provider() -> None:
    bench = CachingGateway(ScriptedUpstream(a=[FakeReply(body()), TransportError("connect", "refused")]))
    assert await verdicts(bench, "on", "on") == ["miss", "hit"]
    assert len(bench.upstream.requests) == 1


BAD_STREAMS: list[tuple[bytes | TransportError, ...]] = [
    (HELLO, CUT),
    (HELLO, b""),
    (HELLO, b'data: {"error":{"message":"no"}}\n\n'),
    (HELLO, STOP.replace(b"stop", b"content_filter"), DONE),
    (HELLO * 200, STOP, DONE),
]


@pytest.mark.parametrize("pieces", BAD_STREAMS)
async def test_a_stream_that_is_incomplete_or_failed_is_not_cached(
    pieces: tuple[bytes | TransportError, ...],
) -> None:
    def answer(_: UpstreamRequest) -> FakeReply:
        return FakeReply(*pieces, content_type="text/event-stream")

    bench = CachingGateway(ScriptedUpstream(a=answer))
    assert await verdicts(bench, "on", "on", stream=True) == ["miss", "miss"]


async def test_a_stream_whose_client_leaves_is_not_cached() -> None:
    bench = CachingGateway(numbered())
    reply = await bench.ask("on", stream=True)
    assert not isinstance(reply, WholeReply)
    await reply.next()
    reply.close()
    await bench.gateway.background.drain(5)
    assert [record.outcome for record in bench.recorder.records] == ["aborted"]
    assert await verdicts(bench, "on", stream=True) == ["miss"]


@pytest.mark.parametrize(
    "reply",
    [
        body(end="content_filter"),
        body(error={"message": "half an answer"}),
        body("x" * LARGEST),
    ],
)
async def test_a_reply_that_is_incomplete_or_failed_is_not_cached(reply: bytes) -> None:
    bench = CachingGateway(ScriptedUpstream(a=lambda _: FakeReply(reply)))
    assert await verdicts(bench, "on", "on") == ["miss", "miss"]


@pytest.mark.parametrize("end", ["length", "tool_calls"])
async def test_a_reply_that_ended_as_requested_is_cached(end: str) -> None:
    bench = CachingGateway(ScriptedUpstream(a=lambda _: FakeReply(body(end=end))))
    assert await verdicts(bench, "on", "on") == ["miss", "hit"]


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_errors_are_not_cached(status: int) -> None:
    upstream = ScriptedUpstream(a=[FakeReply(b"{}", status=status), FakeReply(body())])
    bench = CachingGateway(upstream, options=Options(max_retries=0))
    with pytest.raises(GatewayError):
        await bench.ask("on")
    assert await verdicts(bench, "on", "on") == ["miss", "hit"]


async def test_an_unreadable_entry_is_a_miss() -> None:
    bench = CachingGateway(numbered())
    await bench.ask("on")
    put = bench.store._cache.put
    (key,) = bench.store._cache._entries  # type: ignore[attr-defined]
    for value in (b"", b"\x01", b"junk", msgspec.msgpack.encode(["only", 2])):
        await put(key, value, 60.0)
        assert await verdicts(bench, "on") == ["miss"]


async def test_a_client_that_leaves_before_a_cached_stream_is_sent_is_a_row_too() -> None:
    bench = CachingGateway(numbered())
    await consume(await bench.ask("on", stream=True))
    reply = await bench.ask("on", stream=True)
    assert not isinstance(reply, WholeReply)
    reply.close()
    left = bench.recorder.records[-1]
    assert (left.outcome, left.status_code, left.cache_hit) == ("aborted", 499, True)


async def test_names_twice_in_an_object_bypass_the_cache() -> None:
    bench = CachingGateway(numbered())
    twice = b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}'
    assert [said(await bench.ask_raw(twice, "on")) for _ in range(2)] == ["bypass", "bypass"]


async def test_a_prefix_that_is_stripped_makes_no_difference() -> None:
    bench = CachingGateway(numbered(), options=Options(provider_suffix="Proxy"))
    assert await verdicts(bench, "on", model="Proxy/m") == ["miss"]
    assert await verdicts(bench, "on", model="m") == ["hit"]


@pytest.mark.parametrize(
    "reply",
    [
        b"{}",
        b'{"choices":[]}',
        b'{"code":401,"msg":"insufficient balance"}',
        body(end="error"),
        b"data: [DONE]\n\n",
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_2xx_without_an_answer_is_not_cached(reply: bytes, stream: bool) -> None:
    good = b"".join((HELLO, STOP, DONE)) if stream else body()
    upstream = ScriptedUpstream(a=[FakeReply(reply), FakeReply(good)])
    bench = CachingGateway(upstream, options=Options(max_retries=0))
    with pytest.raises(GatewayError):
        await bench.ask("on", stream=stream)
    assert await verdicts(bench, "on", stream=stream) == ["miss"]


async def test_a_cached_stream_says_that_it_cost_nothing() -> None:
    bench = CachingGateway(numbered())
    usage: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    await consume(await bench.ask("on", **usage))
    replayed = await consume(await bench.ask("on", costs=CostHeaders(in_usage="on"), **usage))
    assert b'"total_tokens":5,"cost_usd":"0"}' in replayed


async def test_what_a_cached_stream_cost_its_first_client_is_not_in_it() -> None:
    bench = CachingGateway(numbered())
    usage: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    told = await consume(await bench.ask("on", costs=CostHeaders(in_usage="on"), **usage))
    replayed = await consume(await bench.ask("on", **usage))
    assert told.replace(b',"cost_usd":null', b"") == replayed != told
