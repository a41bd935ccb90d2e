"""Clients see what a request cost, ask what it would cost, and say what it may cost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest, CostRefused, GatewayError, RateLimited
from llm_gateway.flow.ports.dialect import CostHeaders
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from tests.fakes.chat_requests import (
    DONE,
    HELLO,
    ROLE,
    STOP,
    USAGE,
    WHOLE,
    ask,
    consume,
    one,
    read,
    stream,
    whole,
)
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, credential, provider
from tests.fakes.prices import CHEAP, VERSION, prices_of, unknown, with_prices

DRY_RUN = CostHeaders(dry_run="true")
HEADER = b"x-llm-gateway-cost-usd"


async def send(bench: FakeGateway, headers: CostHeaders | None, **fields: Any) -> WholeReply | StreamReply:
    call = bench.call()
    call.cost_headers = headers
    reply = await handle(bench.gateway, call, read(**fields))
    assert isinstance(reply, WholeReply | StreamReply)
    return reply


async def estimate(bench: FakeGateway, **fields: Any) -> dict[str, Any]:
    reply = await send(bench, DRY_RUN, **fields)
    assert isinstance(reply, WholeReply)
    found: dict[str, Any] = msgspec.json.decode(reply.body)
    return found


async def refused(bench: FakeGateway, limit: str, **fields: Any) -> CostRefused:
    with pytest.raises(CostRefused) as caught:
        await send(bench, CostHeaders(max_cost_usd=limit), **fields)
    assert bench.upstream.requests == []
    record = bench.recorder.records[-1]
    assert (record.outcome, record.status_code, record.attempts) == ("rejected", 402, 0)
    assert (record.error_type, record.cost_nano_usd) == (caught.value.code, None)
    # No SDK sends it again.
    assert caught.value.waiting_helps is False
    return caught.value


async def test_a_whole_reply_has_its_cost_in_a_header() -> None:
    reply = await ask(with_prices(one(whole()), a=prices_of(CHEAP)))
    assert (HEADER, b"0.000005") in reply.headers
    assert reply.body == WHOLE


async def test_an_unknown_cost_has_no_header() -> None:
    reply = await ask(with_prices(one(whole()), a=unknown()))
    assert HEADER not in dict(reply.headers)


async def test_a_free_model_costs_0() -> None:
    reply = await ask(with_prices(one(whole()), a=prices_of({"input_tokens": 0, "output_tokens": 0})))
    assert dict(reply.headers)[HEADER] == b"0"


@pytest.mark.parametrize("wants_usage", [True, False])
async def test_the_usage_chunk_has_the_cost_if_the_client_asked_for_both(wants_usage: bool) -> None:
    bench = with_prices(one(stream(ROLE, HELLO, STOP, USAGE, DONE)), a=prices_of(CHEAP))
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    reply = await send(bench, CostHeaders(in_usage="on"), stream=True, **options)
    assert isinstance(reply, StreamReply)
    assert HEADER not in dict(reply.headers)
    out = await consume(reply)
    priced = USAGE.replace(b":5}}", b':5,"cost_usd":"0.000007"}}')
    assert out == ROLE + HELLO + STOP + (priced if wants_usage else b"") + DONE
    assert bench.recorder.record.cost_nano_usd == 7000
    assert bench.recorder.record.response_bytes == len(out)


async def test_without_the_header_a_stream_passes_unchanged() -> None:
    bench = with_prices(one(stream(ROLE, HELLO, STOP, USAGE, DONE)), a=prices_of(CHEAP))
    reply = await send(bench, None, stream=True, stream_options={"include_usage": True})
    assert isinstance(reply, StreamReply)
    assert await consume(reply) == ROLE + HELLO + STOP + USAGE + DONE


async def test_a_stream_that_breaks_after_its_usage_has_the_cost() -> None:
    bench = with_prices(one(stream(ROLE, HELLO, USAGE)), a=prices_of(CHEAP))
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    reply = await send(bench, CostHeaders(in_usage="on"), **fields)
    assert isinstance(reply, StreamReply)
    out = await consume(reply)
    assert b'"cost_usd":"0.000007"}}\n\ndata: {"error":' in out


async def test_a_dry_run_answers_an_estimate_and_calls_nobody() -> None:
    bench = with_prices(one(whole()), a=prices_of(CHEAP))
    assert await estimate(bench, max_tokens=50) == {
        "object": "cost_estimate",
        "model": "m",
        "provider": "a",
        "upstream_model": "m",
        # The role and two words, 3 for the message, 3 for the reply.
        "prompt_tokens": 9,
        "prompt_tokens_source": "counted",
        "completion_tokens": 50,
        "completion_tokens_source": "limit",
        "max_completion_tokens": 50,
        "priced": True,
        "unpriced": None,
        "cost_usd": "0.000109",
        # The tokenizer of `m` is not known: twice the prompt and some.
        "max_cost_usd": "0.00015",
        "unbounded": None,
        "price_source": "catalog",
        "price_version": VERSION,
    }
    assert bench.upstream.requests == []
    assert bench.recorder.begun == []
    # It is no request of a model: it is logged and counted, and has no usage row.
    assert bench.recorder.journalled == []
    record = bench.recorder.record
    assert (record.outcome, record.status_code, record.error_type) == ("ok", 200, "dry_run")
    assert (record.credential, record.provider, record.cost_nano_usd) == ("tester", None, None)


async def test_a_dry_run_of_a_stream_is_answered_whole() -> None:
    found = await estimate(with_prices(one(whole()), a=prices_of(CHEAP)), stream=True)
    assert (found["completion_tokens"], found["completion_tokens_source"]) == (1024, "assumed")
    assert (found["max_cost_usd"], found["max_completion_tokens"]) == (None, None)
    assert "set max_tokens" in found["unbounded"]


async def test_a_dry_run_of_an_unpriced_model_says_so() -> None:
    found = await estimate(with_prices(one(whole()), a=unknown("no_price")), max_tokens=5)
    assert (found["priced"], found["unpriced"], found["cost_usd"]) == (False, "no_price", None)
    assert (found["price_source"], found["price_version"]) == (None, VERSION)
    assert found["unbounded"] == "the price of 'm' at 'a' is not known (no_price)"


async def test_a_dry_run_takes_nothing_from_limits_nor_from_routing() -> None:
    limited = credential(rate_limit=1)
    bench = FakeGateway(
        provider("a"),
        provider("b", 2),
        upstream=ScriptedUpstream(a=lambda _: whole(), b=lambda _: whole()),
        credentials=(limited,),
    )
    named = [(await estimate(bench))["provider"] for _ in range(5)]
    assert len(set(named)) == 1
    await ask(bench)
    assert bench.upstream.hosts == named[:1]
    # Counting tokens is work: at its limit a client gets none of it.
    with pytest.raises(RateLimited):
        await estimate(bench)


async def test_a_dry_run_is_refused_as_the_request_would_be() -> None:
    bench = one(whole())
    call = bench.call(api_key="sk-other")
    call.cost_headers = DRY_RUN
    with pytest.raises(GatewayError) as caught:
        await handle(bench.gateway, call, read())
    assert caught.value.status == 401


async def test_a_request_within_its_bound_is_sent() -> None:
    bench = with_prices(one(whole()), a=prices_of(CHEAP))
    reply = await send(bench, CostHeaders(max_cost_usd="0.00015"), max_tokens=50)
    assert isinstance(reply, WholeReply)
    assert reply.body == WHOLE


async def test_a_request_above_its_bound_is_refused_with_both_amounts() -> None:
    bench = with_prices(one(whole()), a=prices_of(CHEAP))
    error = await refused(bench, "0.000149", max_tokens=50)
    assert error.code == "max_cost_exceeded"
    assert "up to 0.00015 USD" in error.message
    assert "allows 0.000149 USD" in error.message


@pytest.mark.parametrize(
    ("priced", "fields", "says"),
    [
        (True, {}, "set max_tokens"),
        (True, {"max_tokens": -5}, "set max_tokens"),
        (True, {"max_tokens": 10**30}, "set max_tokens"),
        (False, {"max_tokens": 5}, "the price of 'm' at 'a' is not known (unknown_model)"),
    ],
)
async def test_a_bound_that_cannot_be_checked_is_refused_with_a_way_out(
    priced: bool, fields: dict[str, Any], says: str
) -> None:
    bench = with_prices(one(whole()), a=prices_of(CHEAP) if priced else unknown())
    error = await refused(bench, "100", **fields)
    assert error.code == "max_cost_unknown"
    assert says in error.message
    assert "without x-llm-gateway-max-cost-usd" in error.message


async def test_a_refused_request_gives_back_what_it_holds() -> None:
    bench = with_prices(one(whole()), a=prices_of(CHEAP))
    await refused(bench, "0", max_tokens=5)
    assert bench.recorder.record.attempts == 0


@pytest.mark.parametrize("headers", [CostHeaders(dry_run="x"), CostHeaders(in_usage="x")])
async def test_a_bad_header_ends_the_request(headers: CostHeaders) -> None:
    bench = one(whole())
    with pytest.raises(BadRequest):
        await send(bench, headers)
    assert bench.upstream.requests == []
    assert bench.recorder.record.error_type == "invalid_header"


async def test_a_completion_may_be_limited_to_what_the_ceiling_pays_for() -> None:
    upstream = ScriptedUpstream(a=lambda _: whole())
    bench = with_prices(FakeGateway(provider("a"), upstream=upstream), a=prices_of(CHEAP))
    headers = CostHeaders(max_cost_usd="0.001", may_shorten=True)
    await send(bench, headers, max_completion_tokens=4096)
    sent = msgspec.json.decode(bench.upstream.requests[-1].body or b"")
    # 2 USD for a million: 500 tokens, less what the prompt may cost.
    assert 400 < sent["max_completion_tokens"] < 500
    # What is affordable is left as it is, and so is what cannot be made affordable.
    await send(bench, headers, max_completion_tokens=300)
    assert msgspec.json.decode(bench.upstream.requests[-1].body or b"")["max_completion_tokens"] == 300
    with pytest.raises(CostRefused):
        await send(bench, CostHeaders(max_cost_usd="0.00001", may_shorten=True), max_completion_tokens=4096)
    with pytest.raises(CostRefused):
        await send(bench, CostHeaders(max_cost_usd="0.001"), max_completion_tokens=4096)
    assert len(bench.upstream.requests) == 2
