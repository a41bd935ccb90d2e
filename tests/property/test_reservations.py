"""Limits are reserved together or not at all, and what is reserved ends exactly once, however the request ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Literal

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.errors import GatewayError, RateLimited
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.flow.ports.limits import NOT_LIMITED, Demand, Limit, Reservation, Verdict
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, credential, provider
from tests.fakes.routing import DONE, HELLO, STOP, WHOLE, refusing

Answer = Literal["grant", "nothing to hold", "does not apply", "refuse", "crash"]
Ending = Literal[
    "whole", "stream", "abandoned stream", "refused upstream", "cut stream", "client gone", "crash"
]


class Hold(Reservation):
    def __init__(self) -> None:
        self.ends: list[SettledRequest | None] = []

    def settle(self, record: SettledRequest) -> None:
        self.ends.append(record)

    def release(self) -> None:
        self.ends.append(None)


class ScriptedLimit(Limit):
    """Answers every request alike, after `waits` turns of the event loop."""

    def __init__(self, answer: Answer, waits: int) -> None:
        self.answer = answer
        self.waits = waits
        self.asked = 0
        self.holds: list[Hold] = []

    def check(self, account: Principal, /) -> None:
        raise AssertionError("the body is small")

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        self.asked += 1
        return self._later() if self.waits else self._now()

    async def _later(self) -> Verdict:
        for _ in range(self.waits):
            await asyncio.sleep(0)
        return self._now()

    def _now(self) -> Verdict:
        if self.answer == "refuse":
            raise RateLimited("over the limit", retry_after=1.0)
        if self.answer == "crash":
            raise RuntimeError("a bug in a limit")
        if self.answer == "does not apply":
            return NOT_LIMITED
        verdict = Verdict(True, 5, 4, 0.0, 1.0)
        if self.answer == "nothing to hold":
            return verdict
        self.holds.append(Hold())
        return msgspec.structs.replace(verdict, reservation=self.holds[-1])


# What each limit answers, and after how many turns of the event loop. Mostly granted, so that requests get somewhere.
ANSWERS: tuple[Answer, ...] = (
    "grant",
    "grant",
    "grant",
    "nothing to hold",
    "does not apply",
    "refuse",
    "crash",
)
LIMITS = st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from((0, 0, 0, 1, 2))), max_size=5)
ENDINGS = st.sampled_from(
    ("whole", "stream", "abandoned stream", "refused upstream", "cut stream", "client gone", "crash")
)


def _stream(*pieces: bytes | TransportError) -> Any:
    return lambda _: FakeReply(*pieces, content_type="text/event-stream")


def _crash(_: object) -> FakeReply:
    raise RuntimeError("a bug in a transport")


UPSTREAMS: dict[Ending, Any] = {
    "whole": lambda _: FakeReply(WHOLE),
    "stream": _stream(HELLO, STOP, DONE),
    "abandoned stream": _stream(HELLO, STOP, DONE),
    "refused upstream": refusing(400),
    "cut stream": _stream(HELLO, TransportError("cut", "cut")),
    "client gone": lambda _: FakeReply(WHOLE),
    "crash": _crash,
}


async def _request(bench: FakeGateway, ending: Ending) -> None:
    """Make one request, and read or abandon its reply as a client does."""
    stream = "stream" in ending
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": stream}

    def read() -> bytes:
        if ending == "client gone":
            raise ClientDisconnected
        return msgspec.json.encode(body)

    reply = await handle(bench.gateway, bench.call(), read)
    if isinstance(reply, WholeReply):
        return
    try:
        last = ending == "abandoned stream"
        while not last:
            _, last = await reply.next()
    finally:
        reply.close()


def _bench(limits: list[ScriptedLimit], ending: Ending) -> FakeGateway:
    return FakeGateway(
        provider("a", model_mapping={"m": "up"}),
        upstream=ScriptedUpstream(a=UPSTREAMS[ending]),
        credentials=(credential(rate_limit=1000),),
        limits=tuple(limits),
    )


async def _outcome(bench: FakeGateway, ending: Ending, cancelled_after: int | None) -> BaseException | None:
    task = asyncio.ensure_future(_request(bench, ending))
    if cancelled_after is not None:
        for _ in range(cancelled_after):
            await asyncio.sleep(0)
        task.cancel()
    [outcome] = await asyncio.gather(task, return_exceptions=True)
    await bench.gateway.background.drain(5)
    return outcome


@given(LIMITS, ENDINGS, st.none() | st.integers(0, 14))
@example([("grant", 0), ("refuse", 0)], "whole", None)
@example([("grant", 0), ("crash", 0)], "whole", None)
@example([("grant", 0), ("grant", 1), ("refuse", 0)], "whole", None)
@example([("grant", 0), ("grant", 2)], "whole", 1)
@example([("grant", 0), ("grant", 0)], "abandoned stream", None)
def test_all_or_nothing_and_exactly_once(
    answers: list[tuple[Answer, int]], ending: Ending, cancelled_after: int | None
) -> None:
    limits = [ScriptedLimit(*answer) for answer in answers]
    bench = _bench(limits, ending)
    outcome = asyncio.run(_outcome(bench, ending, cancelled_after))
    holds = [hold for limit in limits for hold in limit.holds]
    assert all(limit.asked <= 1 for limit in limits)
    assert [len(hold.ends) for hold in holds] == [1] * len(holds)
    ends = [hold.ends[0] for hold in holds]
    if not bench.recorder.records:
        # Cancelled before it began.
        assert not holds
        return
    record = bench.recorder.record
    if record.attempts:
        # The request was admitted: every limit was asked, and each learns what was used.
        assert [limit.asked for limit in limits] == [1] * len(limits)
        assert len(holds) == sum(limit.answer == "grant" for limit in limits)
        assert ends == [record] * len(holds)
    else:
        assert ends == [None] * len(holds)
    refusals = [limit for limit in limits if limit.answer in {"refuse", "crash"}]
    if refusals and ending != "client gone":
        assert record.attempts == 0
        assert not any(limit.asked for limit in limits[limits.index(refusals[0]) + 1 :])
        if cancelled_after is None:
            assert isinstance(outcome, GatewayError if refusals[0].answer == "refuse" else RuntimeError)
    elif cancelled_after is None and ending in {"whole", "stream", "abandoned stream"}:
        assert outcome is None
        assert record.attempts == 1
