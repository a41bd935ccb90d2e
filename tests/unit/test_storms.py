"""Thousands of requests against providers that fail, on a simulated clock: what an outage costs, and what is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import GatewayError
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream
from tests.fakes.routing import DONE, HELLO, STOP, WHOLE, model, weighted
from tests.fakes.virtual_time import VirtualTime

Behave = Callable[[str, float], tuple[float, Any]]


class Provider(ScriptedUpstream):
    """Answers after a while: `behave(host, now)` gives the seconds, and a reply or a fault."""

    def __init__(self, time: VirtualTime, behave: Behave) -> None:
        super().__init__()
        self.time = time
        self.behave = behave
        self.asked: dict[str, int] = {}
        self.open = self.most_open = 0

    async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
        host = request.url.split("/")[2].split(".")[0]
        self.asked[host] = self.asked.get(host, 0) + 1
        seconds, answer = self.behave(host, self.time.now)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self.time.sleep(min(seconds, timeout))
        finally:
            self.open -= 1
        if seconds > timeout:
            raise TransportError("timeout", "late")
        if isinstance(answer, TransportError):
            raise answer
        made: FakeReply = answer()
        return made


def ok() -> FakeReply:
    return FakeReply(WHOLE)


def down() -> FakeReply:
    return FakeReply(b"{}", status=500)


def streamed() -> FakeReply:
    return FakeReply(HELLO, STOP, DONE, content_type="text/event-stream")


def cut() -> FakeReply:
    return FakeReply(HELLO, TransportError("cut", "cut"), content_type="text/event-stream")


class Storm:
    """A gateway of fakes under `rate` requests a second."""

    def __init__(self, behave: Behave, *, weights: dict[str, int] | None = None, **rules: Any) -> None:
        self.time = VirtualTime()
        self.random = random.Random(7)
        self.upstream = Provider(self.time, behave)
        self.bench = FakeGateway(
            *weighted(weights or {"a": 1}),
            upstream=self.upstream,
            models=(model(**rules),),
            selector=Selector(draw=self.random.random),
            time=self.time,
        )

    async def request(self, at: float, *, stream: bool = False, patience: float | None = None) -> str:
        """Make one request at a moment; return "ok", "failed" or "left"."""
        await self.time.sleep(at)
        task = asyncio.ensure_future(self._request(stream))
        if patience is None:
            return await task
        leaving = asyncio.ensure_future(self.time.sleep(patience))
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not task.done():
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return "left"

    async def _request(self, stream: bool) -> str:
        body = msgspec.json.encode({"model": "m", "stream": stream, "messages": []})

        async def read() -> bytes:
            await asyncio.sleep(0)
            return body

        try:
            reply = await handle(self.bench.gateway, self.bench.call(), read)
        except GatewayError:
            return "failed"
        if isinstance(reply, StreamReply):
            try:
                while not (await reply.next())[1]:
                    await self.time.sleep(0.01)
            finally:
                reply.close()
        return "ok"

    async def run(self, count: int, rate: float, **more: Any) -> list[str]:
        """Make `count` requests at `rate` a second."""
        return await self.time.run(*(self.request(number / rate, **more) for number in range(count)))

    @property
    def attempts(self) -> int:
        return sum(self.upstream.asked.values())

    def nothing_is_left(self) -> None:
        selector = self.bench.gateway.selector
        assert {state.in_flight for state in selector._deployment_states.values()} == {0}
        assert {route_state.budget.in_use for route_state in selector._explicit.values()} == {0}
        assert len(self.bench.recorder.begun) == self.attempts
        assert sum(record.attempts for record in self.bench.recorder.records) == self.attempts


OUTAGES: dict[str, Behave] = {
    "it refuses connections": lambda *_: (0.001, TransportError("connect", "refused")),
    "it fails fast": lambda *_: (0.01, down),
    "it fails slowly": lambda *_: (8.0, down),
    "it is silent": lambda *_: (1e9, down),
    "it is overloaded": lambda *_: (0.02, lambda: FakeReply(b"{}", status=429)),
    "it asks for a second": lambda *_: (
        0.02,
        lambda: FakeReply(b"{}", status=429, headers={"retry-after": "1"}),
    ),
}


@pytest.mark.parametrize(("rate", "count"), [(2, 300), (20, 500), (2000, 2000)])
@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_of_the_only_provider_costs_at_most_1_2_attempts_a_request(
    outage: str, rate: float, count: int, soak: bool
) -> None:
    storm = Storm(OUTAGES[outage])
    count *= 10 if soak else 1
    outcomes = await storm.run(count, rate)
    assert set(outcomes) == {"failed"}
    assert count <= storm.attempts <= 1.2 * count
    storm.nothing_is_left()


async def test_a_few_requests_during_an_outage_are_tried_again_as_the_settings_say() -> None:
    storm = Storm(OUTAGES["it fails fast"])
    assert await storm.run(1, 1) == ["failed"]
    assert storm.attempts == 4


async def test_of_three_providers_two_that_fail_are_left_alone_and_nobody_notices_after_the_first() -> None:
    storm = Storm(lambda host, _: (0.05, ok if host == "c" else down), weights={"a": 1, "b": 1, "c": 4})
    outcomes = await storm.run(3000, 100)
    assert outcomes.count("ok") == 3000
    # Five each until they open, one trial at a time from then on, and requests that were on their way.
    assert storm.upstream.asked["a"] + storm.upstream.asked["b"] < 60
    storm.nothing_is_left()


async def test_a_provider_that_comes_back_gets_its_share_again() -> None:
    def behave(host: str, now: float) -> tuple[float, Any]:
        return 0.05, down if host == "a" and now < 1020 else ok

    storm = Storm(behave, weights={"a": 1, "b": 1})
    assert set(await storm.run(4500, 50)) == {"ok"}
    # Down for 20 of 90 seconds, and found out at most 60 seconds later, here after 5 + 10 + 20.
    assert 0.25 < storm.upstream.asked["a"] / storm.attempts < 0.5
    assert storm.bench.gateway.selector.open_breakers() == {}
    storm.nothing_is_left()


async def test_an_outage_that_ends_costs_nobody_more_than_a_moment() -> None:
    storm = Storm(lambda _, now: (0.05, down if now < 1030 else ok))
    outcomes = await storm.run(2400, 40)
    assert set(outcomes[1240:]) == {"ok"}
    assert storm.attempts <= 1.2 * 2400
    assert storm.bench.gateway.selector.open_breakers() == {}


@pytest.mark.parametrize("strategy", ["weighted_round_robin", "weighted_random", "least_busy"])
async def test_after_any_storm_all_counts_are_nought(strategy: str) -> None:
    """Good replies, failures, cut streams, silence, and clients that leave at any moment."""
    chance = random.Random(11)

    def behave(host: str, _: float) -> tuple[float, Any]:
        kinds = [ok, down, streamed, cut, TransportError("connect", "no"), TransportError("cut", "cut")]
        return chance.choice([0.001, 0.05, 0.5, 3.0]), chance.choice(kinds)

    storm = Storm(behave, weights={"a": 3, "b": 2, "c": 1}, strategy=strategy)
    work = [
        storm.request(
            chance.uniform(0, 20),
            stream=chance.random() < 0.5,
            patience=chance.choice([None, 0.0, 0.01, 0.4, 2.0]),
        )
        for _ in range(3000)
    ]
    outcomes = await storm.time.run(*work)
    assert set(outcomes) == {"ok", "failed", "left"}
    await storm.bench.gateway.background.drain(1)
    assert len(storm.bench.recorder.records) == 3000
    storm.nothing_is_left()


async def test_least_busy_does_not_rush_to_one_that_refuses_at_once() -> None:
    """A good provider takes five seconds; a bad one answers 429 within a hundredth of one."""
    storm = Storm(
        lambda host, _: (0.01, lambda: FakeReply(b"{}", status=429)) if host == "bad" else (5.0, ok),
        weights={"bad": 1, "good": 1},
        strategy="least_busy",
    )
    assert set(await storm.run(2000, 100)) == {"ok"}
    assert storm.upstream.asked["bad"] < 40
    storm.nothing_is_left()
