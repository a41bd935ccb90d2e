"""Identical requests that come at the same time: one asks, the others have its reply, and nobody is stuck."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import pytest

from llm_gateway.core.errors import UpstreamFailed
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.cached_answer import answer_with_cache
from llm_gateway.flow.request.dispatch import dispatch
from llm_gateway.flow.request.handling import Handling
from llm_gateway.flow.request.reply import Reply
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.caching_gateway import CachingGateway, GatedUpstream, body, consume, said
from tests.fakes.in_memory import FakeReply, credential, provider

CROWD = 50


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def crowd(bench: CachingGateway, size: int = CROWD, **fields: Any) -> list[asyncio.Task[Reply]]:
    return [asyncio.create_task(bench.ask("on", **fields)) for _ in range(size)]


async def test_identical_requests_share_one_call() -> None:
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(body())))
    asked = crowd(bench)
    await settle()
    assert len(bench.upstream.requests) == 1
    bench.gate.set()
    replies = await asyncio.gather(*asked)
    assert {await consume(reply) for reply in replies} == {body()}
    assert Counter(map(said, replies)) == bench.results == {"miss": 1, "hit": CROWD - 1}
    assert len(bench.upstream.requests) == 1
    assert sum(record.cache_hit for record in bench.recorder.records) == CROWD - 1
    assert {record.total_tokens for record in bench.recorder.records} == {4}
    assert bench.store.in_flight == {}


async def test_requests_that_differ_do_not_wait_for_one_another() -> None:
    both = (credential("one", 1), credential("two", 2))
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(body())), credentials=both)
    asked = [
        asyncio.create_task(bench.ask("on", key=key, seed=seed)) for key in ("one", "two") for seed in (1, 2)
    ]
    await settle()
    assert len(bench.upstream.requests) == 4
    bench.gate.set()
    await asyncio.gather(*asked)


async def test_streams_and_refreshes_wait_for_nobody() -> None:
    def answer(_: UpstreamRequest) -> FakeReply:
        return FakeReply(body())

    bench = CachingGateway(GatedUpstream(a=answer))
    asked = crowd(bench, 3, stream=True) + [asyncio.create_task(bench.ask("refresh")) for _ in range(3)]
    await settle()
    assert len(bench.upstream.requests) == 6
    bench.gate.set()
    for reply in await asyncio.gather(*asked):
        await consume(reply)


async def test_when_the_first_client_leaves_another_asks_again_and_the_rest_wait_for_it() -> None:
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(body())))
    asked = crowd(bench)
    await settle()
    for gone in range(3):
        asked[gone].cancel()
        await settle()
        assert len(bench.upstream.requests) == gone + 2
    bench.gate.set()
    replies = await asyncio.gather(*asked[3:])
    assert Counter(map(said, replies)) == {"miss": 1, "hit": CROWD - 4}
    outcomes = Counter(record.outcome for record in bench.recorder.records)
    assert outcomes == {"aborted": 3, "ok": CROWD - 3}
    assert bench.store.in_flight == {}


async def test_one_who_waits_may_leave_without_disturbing_anybody() -> None:
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(body())))
    asked = crowd(bench, 4)
    await settle()
    asked[2].cancel()
    await settle()
    bench.gate.set()
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(reply, asyncio.CancelledError) for reply in replies] == [False, False, True, False]
    assert len(bench.upstream.requests) == 1


async def test_when_two_have_failed_the_others_go_on_their_own() -> None:
    upstream = GatedUpstream(a=TransportError("connect", "refused"))
    bench = CachingGateway(upstream, options=Options(max_retries=0))
    bench.gate.set()
    replies = await asyncio.gather(*crowd(bench), return_exceptions=True)
    assert all(isinstance(reply, UpstreamFailed) for reply in replies)
    # As many as without a cache, and no more.
    assert len(bench.upstream.requests) == CROWD
    assert {record.outcome for record in bench.recorder.records} == {"error"}
    assert len(bench.recorder.records) == CROWD
    assert bench.store.in_flight == {}


async def test_when_the_first_fails_the_second_answers_for_all() -> None:
    upstream = GatedUpstream(a=[TransportError("connect", "refused"), FakeReply(body())])
    bench = CachingGateway(upstream, options=Options(max_retries=0))
    bench.gate.set()
    replies = await asyncio.gather(*crowd(bench), return_exceptions=True)
    assert [isinstance(reply, UpstreamFailed) for reply in replies].count(True) == 1
    assert len(bench.upstream.requests) == 2


async def test_a_reply_that_is_too_large_to_keep_is_shared_all_the_same() -> None:
    large = body("x" * 20_000)
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(large)))
    asked = crowd(bench, 5)
    await settle()
    bench.gate.set()
    assert {await consume(reply) for reply in await asyncio.gather(*asked)} == {large}
    assert len(bench.upstream.requests) == 1
    assert said(await bench.ask("on")) == "miss"


async def test_nobody_waits_for_others_longer_than_for_a_provider() -> None:
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(body())), options=Options(llm_timeout=0.0))
    asked = crowd(bench, 4)
    await settle()
    assert len(bench.upstream.requests) == 4
    bench.gate.set()
    assert Counter(map(said, await asyncio.gather(*asked))) == {"miss": 4}


async def test_an_answer_of_another_model_is_not_kept() -> None:
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(body()), b=lambda _: FakeReply(body())))
    bench.gate.set()
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    bench.configure((provider("b", 2, model_mapping={"m": "other"}),), (credential(),))
    fallback = bench.gateway.snapshots.current
    assert fallback is not None

    other = fallback.route("m")
    assert other is not None
    request = parse_chat(b'{"model":"m","messages":[]}')
    route = snapshot.route("m")
    assert route is not None
    account = next(iter(snapshot.accounts.values()))
    for _ in range(2):
        call = bench.call()
        call.cache_directive = "on"
        handling = Handling(bench.gateway, call)
        handling.admitted(fallback, account)
        handling.request, handling.route = request, other
        ask = partial(dispatch, handling)
        reply = await answer_with_cache(bench.gateway, call, request, account, route, handling.meter, ask)
        assert said(reply) == "miss"


@pytest.mark.parametrize("count", [2, 3])
async def test_what_comes_after_the_landing_is_a_hit(count: int) -> None:
    bench = CachingGateway(GatedUpstream(a=lambda _: FakeReply(body())))
    bench.gate.set()
    assert [said(await bench.ask("on")) for _ in range(count)] == ["miss"] + ["hit"] * (count - 1)
