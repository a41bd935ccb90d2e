"""What a request costs stands in its record, however it ends; each attempt's cost in the attempt's own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.ledger.records import UsageRecord, last_attempt
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply
from tests.fakes.chat_requests import (
    CUT,
    DONE,
    HELLO,
    ROLE,
    STOP,
    USAGE,
    WHOLE,
    ask,
    ask_stream,
    begin_stream,
    one,
    read,
    stream,
    whole,
)
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.prices import CHEAP, DEAR, VERSION, overridden, prices_of, unknown, with_prices

# A 200 that reports a failure, and what was used nevertheless.
FAILED = msgspec.json.encode(
    {
        "error": {"message": "overloaded", "type": "server_error"},
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
)


def cost(record: UsageRecord) -> tuple[int | None, str | None, str | None]:
    return record.cost_nano_usd, record.cost_source, record.unpriced


def failed() -> FakeReply:
    return FakeReply(FAILED)


def two(**answers: Any) -> FakeGateway:
    providers = [provider(key, number, weight=100 // number) for number, key in enumerate(answers, 1)]
    return FakeGateway(*providers, upstream=ScriptedUpstream(**answers))


async def test_a_whole_reply() -> None:
    bench = with_prices(one(whole()), a=prices_of(CHEAP))
    await ask(bench)
    record = bench.recorder.record
    assert cost(record) == (5000, "catalog", None)
    assert record.cost_breakdown == {"input_tokens": (3, 3000), "output_tokens": (1, 2000)}
    assert record.price_version == VERSION
    assert record.cached_in_prompt is True
    # One attempt, and its cost is the request's: it needs no line of its own.
    assert bench.recorder.ended_attempts == []


async def test_a_stream() -> None:
    bench = with_prices(one(stream(ROLE, HELLO, STOP, USAGE, DONE)), a=overridden(CHEAP))
    await ask_stream(bench)
    assert cost(bench.recorder.record) == (7000, "override", None)


async def test_tokens_without_a_price() -> None:
    bench = with_prices(one(whole()), a=unknown())
    await ask(bench)
    assert cost(bench.recorder.record) == (None, "none", "unknown_model")


async def test_a_stream_that_breaks_costs_what_was_sent() -> None:
    bench = with_prices(one(stream(ROLE, HELLO, CUT)), a=prices_of(CHEAP))
    await ask_stream(bench)
    record = bench.recorder.record
    assert (record.outcome, record.usage_source) == ("error", "counted")
    # Nine tokens of the prompt, two of the completion.
    assert cost(record) == (13_000, "catalog", None)


async def test_a_client_that_leaves_is_charged_for_what_was_generated() -> None:
    bench = with_prices(one([]), a=prices_of(CHEAP))
    reply = await begin_stream(bench, stream(ROLE, HELLO, HELLO, STOP, USAGE, DONE))
    await reply.next()
    reply.close()
    await bench.gateway.background.drain(1)
    record = bench.recorder.record
    assert (record.outcome, record.usage_source) == ("aborted", "counted")
    assert cost(record) == (13_000, "catalog", None)


async def test_a_shutdown_in_the_middle_of_a_stream() -> None:
    bench = with_prices(one([]), a=prices_of(CHEAP))
    reply = await begin_stream(bench, stream(ROLE, HELLO, HELLO, STOP, USAGE, DONE))
    await reply.next()
    bench.gateway.lifecycle.cutting = True
    reply.close()
    await bench.gateway.background.drain(1)
    record = bench.recorder.record
    assert record.outcome == "interrupted"
    assert cost(record) == (13_000, "catalog", None)


async def test_a_refusal_costs_nothing() -> None:
    bench = with_prices(one(whole()), a=prices_of(CHEAP))
    with pytest.raises(GatewayError):
        await handle(bench.gateway, bench.call(api_key="sk-other"), read())
    assert cost(bench.recorder.record) == (None, None, None)


async def test_a_failure_without_usage_costs_nothing_that_is_known() -> None:
    bench = with_prices(one(FakeReply(b"", status=400)), a=prices_of(CHEAP))
    with pytest.raises(GatewayError):
        await ask(bench)
    assert cost(bench.recorder.record) == (None, None, None)
    [ended] = bench.recorder.ended_attempts
    assert (ended.cost_nano_usd, ended.cost_source, ended.unpriced) == (None, None, None)


async def test_a_failover_costs_the_sum_and_shows_each_attempt() -> None:
    bench = with_prices(two(a=failed(), b=whole()), a=prices_of(DEAR), b=overridden(CHEAP))
    await ask(bench)
    record = bench.recorder.record
    assert (record.outcome, record.attempts, record.provider) == ("ok", 2, "b")
    # 7 x 10 + 2 x 20, and 3 x 1 + 1 x 2 USD per million.
    assert cost(record) == (110_000 + 5000, "override", None)
    assert record.cost_breakdown == {"input_tokens": (10, 73_000), "output_tokens": (3, 42_000)}
    first, second = bench.recorder.ended_attempts
    assert (first.attempt, first.provider, first.cost_nano_usd) == (1, "a", 110_000)
    assert (first.prompt_tokens, first.completion_tokens, first.usage_source) == (7, 2, "provider")
    assert (first.cost_source, first.price_version) == ("catalog", VERSION)
    assert (second.attempt, second.provider, second.cost_nano_usd) == (2, "b", 5000)
    assert (second.outcome, second.cost_source) == ("ok", "override")
    # But for the cost it is what would be made from the record.
    told = last_attempt(record)
    assert told is not None
    costs = ("cost_nano_usd", "cost_source", "unpriced", "cost_breakdown", "price_version")
    same = {name: getattr(told, name) for name in costs}
    assert msgspec.structs.replace(second, **same) == told


async def test_an_attempt_of_unknown_cost_makes_the_sum_unknown() -> None:
    bench = with_prices(two(a=failed(), b=whole()), a=unknown("no_price"), b=prices_of(CHEAP))
    await ask(bench)
    assert cost(bench.recorder.record) == (None, "none", "no_price")
    first, second = bench.recorder.ended_attempts
    assert (first.cost_nano_usd, first.unpriced) == (None, "no_price")
    assert (second.cost_nano_usd, second.unpriced) == (5000, None)


async def test_the_last_attempt_is_counted_once_when_all_fail() -> None:
    answers = {key: lambda _: failed() for key in ("a", "b")}
    bench = with_prices(two(**answers), a=prices_of(CHEAP), b=prices_of(DEAR))
    with pytest.raises(GatewayError):
        await ask(bench)
    record = bench.recorder.record
    ended = bench.recorder.ended_attempts
    assert len(ended) == record.attempts
    assert record.cost_nano_usd == sum(one.cost_nano_usd or 0 for one in ended)
    assert {one.cost_nano_usd for one in ended} == {11_000, 110_000}


async def test_a_client_that_leaves_during_the_second_attempt() -> None:
    waiting = asyncio.Event()

    class Silent(FakeReply):
        async def read_all(self, limit: int, timeout: float) -> bytes:
            del limit, timeout
            waiting.set()
            await asyncio.Event().wait()
            return b""

    bench = with_prices(two(a=failed(), b=Silent()), a=prices_of(CHEAP), b=prices_of(CHEAP))
    task = asyncio.create_task(ask(bench))
    await waiting.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    record = bench.recorder.record
    assert (record.outcome, record.prompt_tokens) == ("aborted", None)
    assert cost(record) == (11_000, "catalog", None)
    assert record.cost_breakdown == {"input_tokens": (7, 7000), "output_tokens": (2, 4000)}
    first, second = bench.recorder.ended_attempts
    assert (first.cost_nano_usd, second.cost_nano_usd, second.cost_source) == (11_000, None, None)


async def test_the_requested_tier_is_recorded_and_priced() -> None:
    prices = prices_of(CHEAP, tiers={"flex": {"input_tokens": "0.5", "output_tokens": 1}})
    bench = with_prices(one(stream(ROLE, HELLO, CUT)), a=prices)
    await ask_stream(bench, service_tier="flex")
    record = bench.recorder.record
    assert (record.requested_tier, record.served_tier) == ("flex", None)
    assert (record.prompt_tokens, record.completion_tokens, record.cost_nano_usd) == (9, 2, 6500)


async def test_the_tier_that_the_reply_names_is_recorded_and_priced() -> None:
    prices = prices_of(CHEAP, tiers={"flex": {"input_tokens": "0.5", "output_tokens": 1}})
    reply = msgspec.json.encode({**msgspec.json.decode(WHOLE), "service_tier": "flex"})
    bench = with_prices(one(FakeReply(reply)), a=prices)
    await ask(bench, service_tier="auto")
    record = bench.recorder.record
    assert (record.requested_tier, record.served_tier) == ("auto", "flex")
    assert record.cost_nano_usd == 2500


async def test_a_tier_that_no_provider_was_asked_for_sets_no_price() -> None:
    """The kind of this provider has no such field, so it is left out."""
    prices = prices_of(CHEAP, tiers={"flex": {"input_tokens": "0.5", "output_tokens": 1}})
    reply = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "Hi you"}],
        "stop_reason": "end_turn",
    }
    bench = FakeGateway(
        provider("a", provider_type="anthropic"),
        upstream=ScriptedUpstream(a=FakeReply(msgspec.json.encode(reply))),
    )
    await ask(with_prices(bench, a=prices), service_tier="flex")
    record = bench.recorder.record
    assert (record.requested_tier, record.usage_source) == ("flex", "counted")
    assert record.cost_nano_usd == 9000 + 2 * 2000


async def test_a_request_without_prices_is_as_it_was() -> None:
    bench = one(whole())
    reply = await handle(bench.gateway, bench.call(), read())
    assert not isinstance(reply, StreamReply)
    assert cost(bench.recorder.record) == (None, "none", "unknown_provider")
