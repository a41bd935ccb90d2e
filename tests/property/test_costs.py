"""Whatever a reply states, its request costs the same streamed and not, and attempts add up to their request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.config.accounts import Principal
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, last_attempt
from llm_gateway.core.ledger.usage import Usage, UsageDetails
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.flow.accounting.cost_estimate import RoutedRequest, estimate_cost
from llm_gateway.flow.accounting.pricing import price_usage
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.chat_requests import DONE, HELLO, STOP, ask, ask_stream, one, stream
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, credential, provider
from tests.fakes.prices import CHEAP, DEAR, overridden, prices_of, unknown, with_prices

BOOK = shipped_price_book()
COUNTS = st.integers(0, 400_000)
TIERS = st.sampled_from([None, "default", "flex", "priority", "auto"])
MODELS = st.sampled_from(
    ["gpt-4o-mini", "gpt-5.4", "gpt-4o-audio-preview", "o4-mini", "text-embedding-3-small", "none-such"]
)


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """Return a usage as OpenAI states it, now and then one that cannot be right."""
    prompt, completion = draw(COUNTS), draw(COUNTS)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if draw(st.booleans()):
        usage["prompt_tokens_details"] = {
            "cached_tokens": draw(st.integers(0, prompt)),
            "audio_tokens": draw(st.sampled_from([0, 0, 5, 10**6])),
        }
    if draw(st.booleans()):
        usage["completion_tokens_details"] = {
            "reasoning_tokens": draw(st.integers(0, completion)),
            "audio_tokens": draw(st.sampled_from([0, 0, 7])),
        }
    return usage


def book_prices(model: str) -> DeploymentPrices:
    return DeploymentPrices(BOOK.schedule("openai", model), BOOK.version)


def costs(record: UsageRecord) -> tuple[Any, ...]:
    return (
        record.cost_nano_usd,
        record.cost_source,
        record.unpriced,
        record.cost_breakdown,
        record.price_version,
    )


@given(usages(), MODELS, TIERS, TIERS)
def test_a_stream_costs_what_the_whole_reply_costs(
    usage: dict[str, Any], model: str, served: str | None, requested: str | None
) -> None:
    prices = book_prices(model)
    tier = {} if served is None else {"service_tier": served}
    fields = {} if requested is None else {"service_tier": requested}
    message = {"role": "assistant", "content": "Hello you"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = msgspec.json.encode({"choices": [choice], "usage": usage, **tier})
    chunk = b"data: %b\n\n" % msgspec.json.encode({"choices": [], "usage": usage, **tier})
    whole = with_prices(one(FakeReply(body)), a=prices)
    streamed = with_prices(one(stream(HELLO, STOP, chunk, DONE)), a=prices)

    async def send() -> None:
        await ask(whole, **fields)
        await ask_stream(streamed, **fields)

    asyncio.run(send())
    first, second = whole.recorder.record, streamed.recorder.record
    assert costs(first) == costs(second)
    assert first.requested_tier == second.requested_tier
    for record in (first, second):
        # There are tokens, so there is a cost or a reason, and a cost adds up.
        assert (record.cost_nano_usd is None) == (record.unpriced is not None)
        assert record.cost_source is not None
        if record.cost_breakdown is not None:
            assert sum(nano for _, nano in record.cost_breakdown.values()) == record.cost_nano_usd


BOUNDED = st.sampled_from(
    [
        ("openai", model)
        for model in ("gpt-4o", "gpt-5.4", "o4-mini", "gpt-4o-mini-search-preview", "gpt-3.5-turbo")
    ]
    + [("anthropic", model) for model in ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-8")]
    + [("google", model) for model in ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-flash-preview")]
    + [("deepseek", "deepseek-chat"), ("x-ai", "grok-4"), ("mistral", "mistral-large-latest")]
)


@given(BOUNDED, st.integers(1, 250_000), st.integers(1, 100_000), st.booleans(), st.data())
def test_no_usage_within_the_limit_costs_more_than_the_upper_bound(
    named: tuple[str, str], words: int, limit: int, caches: bool, data: st.DataObject
) -> None:
    owner, model = named
    prices = DeploymentPrices(BOOK.schedule(owner, model), BOOK.version)
    bench = with_prices(one([]), a=prices)
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    route = snapshot.route("m")
    assert route is not None
    part = {
        "type": "text",
        "text": "a " * words,
        **({"cache_control": {"type": "ephemeral"}} if caches else {}),
    }
    fields = {
        "messages": msgspec.Raw(msgspec.json.encode([{"role": "user", "content": [part]}])),
        "max_tokens": msgspec.Raw(b"%d" % limit),
    }
    request = ModelRequest("chat/completions", "m", False, False, fields)
    at = bench.clock.unix_us()
    routed = RoutedRequest(request, snapshot, Principal(credential()), route, at)
    estimate = asyncio.run(estimate_cost(bench.gateway, routed))
    assert estimate.max_cost_nano_usd is not None, estimate.unbounded
    prompt = data.draw(st.integers(0, estimate.prompt_tokens))
    completion = data.draw(st.integers(0, limit))
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached)) if caches else 0
    reasoning = data.draw(st.integers(0, completion))
    details = UsageDetails(quantities={"cache_write_1h_tokens": written} if written else {})
    usage = Usage(prompt, completion, prompt + completion, cached, reasoning, "provider", written, details)
    cost = price_usage(usage, route.deployments[0], at).cost_nano_usd
    if prompt + completion:
        assert cost is not None
        assert cost <= estimate.max_cost_nano_usd


PRICES = st.sampled_from(
    [
        prices_of(CHEAP),
        prices_of(DEAR),
        overridden(CHEAP),
        unknown("no_price"),
        overridden({"input_tokens": 0}),
    ]
)
# What each attempt states: nothing, or some usage; and whether it is a reply.
ATTEMPTS = st.lists(
    st.tuples(st.sampled_from([None, (0, 0), (7, 2), (1000, 1)]), PRICES), min_size=1, max_size=4
)


def attempts_of(bench: FakeGateway, record: UsageRecord) -> list[AttemptEnded]:
    """Return the attempts as the usage tables have them."""
    ended = {attempt.attempt: attempt for attempt in bench.recorder.ended_attempts}
    last = last_attempt(record)
    if last is not None:
        ended.setdefault(last.attempt, last)
    return [ended[number] for number in sorted(ended)]


def answering(body: bytes) -> Callable[[UpstreamRequest], FakeReply]:
    return lambda _: FakeReply(body)


@given(ATTEMPTS, st.booleans())
def test_attempts_add_up_to_their_request(attempts: list[tuple[Any, Any]], succeeds: bool) -> None:
    names = [f"p{number}" for number in range(len(attempts))]
    answers: dict[str, Any] = {}
    for name, (stated, _) in zip(names, attempts, strict=True):
        reply: dict[str, Any] = {"error": {"message": "overloaded", "type": "server_error"}}
        if name == names[-1] and succeeds:
            message = {"role": "assistant", "content": "Hi"}
            reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        if stated is not None:
            prompt, completion = stated
            reply["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        answers[name] = answering(msgspec.json.encode(reply))
    providers = [provider(name, number, weight=10 ** (6 - number)) for number, name in enumerate(names, 1)]
    bench = FakeGateway(*providers, upstream=ScriptedUpstream(**answers))
    with_prices(bench, **{name: prices for name, (_, prices) in zip(names, attempts, strict=True)})

    async def send() -> None:
        with suppress(GatewayError):
            await ask(bench)

    asyncio.run(send())
    record = bench.recorder.record
    found = attempts_of(bench, record)
    assert len(found) == record.attempts
    used = [attempt for attempt in found if attempt.cost_source is not None]
    if not used:
        assert costs(record) == (None, None, None, None, None)
    elif any(attempt.cost_nano_usd is None for attempt in used):
        assert (record.cost_nano_usd, record.cost_source) == (None, "none")
        assert record.unpriced in {attempt.unpriced for attempt in used}
    else:
        assert record.cost_nano_usd == sum(attempt.cost_nano_usd or 0 for attempt in used)
        assert record.cost_source == used[-1].cost_source
        assert record.cost_breakdown is not None
        assert sum(nano for _, nano in record.cost_breakdown.values()) == record.cost_nano_usd
    assert all(bool(attempt.total_tokens) == (attempt.cost_source is not None) for attempt in found)
