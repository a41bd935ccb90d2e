"""Usage at a deployment becomes a cost, or a reason why there is none; attempts add up."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.usage import Usage, UsageDetails, UsageSource
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.flow.accounting.pricing import (
    FREE,
    NO_COST,
    added,
    price_usage,
    quantities_of,
    requested_tier_of,
)
from llm_gateway.infra.price_book.shipped import FILE, shipped_price_book
from tests.fakes.prices import CHEAP, VERSION, overridden, prices_of, unknown

# After the price book was compiled, so that all that it has applies.
AT = 1_795_953_600_000_000
PLAIN = Usage(1000, 100, 1100)


def deployment(prices: DeploymentPrices | None) -> Deployment:
    return Deployment(
        provider_id=1,
        provider_key="a",
        kind="openai",
        base_url="https://a.test/v1",
        secret=None,
        upstream_model="up",
        weight=1,
        stream_usage=True,
        prices=prices,
    )


def test_plain_usage_costs_what_the_prices_say() -> None:
    assert price_usage(PLAIN, deployment(prices_of(CHEAP)), AT) == PricedUsage(
        1_200_000,
        "catalog",
        None,
        {"input_tokens": (1000, 1_000_000), "output_tokens": (100, 200_000)},
        VERSION,
    )


def test_an_administrators_price_says_so() -> None:
    cost = price_usage(PLAIN, deployment(overridden({"input_tokens": 3, "output_tokens": 0})), AT)
    assert (cost.cost_nano_usd, cost.source, cost.price_version) == (3_000_000, "override", "override-1")


def test_an_explicit_price_of_zero_is_a_cost_of_zero() -> None:
    cost = price_usage(PLAIN, deployment(overridden({"input_tokens": 0, "output_tokens": 0})), AT)
    assert (cost.cost_nano_usd, cost.source, cost.unpriced) == (0, "override", None)


@pytest.mark.parametrize(
    ("prices", "reason", "version"),
    [
        (None, "unknown_provider", None),
        (unknown(), "unknown_model", VERSION),
        (prices_of({}), "no_price", VERSION),
        (prices_of({"audio_seconds": 1}), "unreported_usage", VERSION),
    ],
)
def test_tokens_without_a_price_have_a_reason(
    prices: DeploymentPrices | None, reason: str, version: str | None
) -> None:
    assert price_usage(PLAIN, deployment(prices), AT) == PricedUsage(None, "none", reason, None, version)


def test_audio_is_not_billed_as_text() -> None:
    usage = msgspec.structs.replace(PLAIN, details=UsageDetails(quantities={"input_audio_tokens": 900}))
    cost = price_usage(usage, deployment(prices_of(CHEAP)), AT)
    assert (cost.cost_nano_usd, cost.unpriced) == (None, "audio_without_price")


@pytest.mark.parametrize(
    "usage", [Usage(0, 0, 0), Usage(0, 0, 0, source="estimated"), Usage(0, 0, 0, details=UsageDetails())]
)
def test_nothing_used_has_no_cost_and_no_reason(usage: Usage) -> None:
    for prices in (None, unknown(), prices_of(CHEAP)):
        assert price_usage(usage, deployment(prices), AT) == NO_COST


def test_pieces_without_tokens_are_priced() -> None:
    usage = Usage(0, 0, 0, details=UsageDetails(quantities={"input_characters": 2_000_000}))
    cost = price_usage(usage, deployment(prices_of({"input_characters": 15})), AT)
    assert cost.cost_nano_usd == 30_000_000_000


@pytest.mark.parametrize("source", ["counted", "estimated", "provider/counted"])
def test_tokens_that_the_gateway_counted_are_priced_too(source: UsageSource) -> None:
    usage = msgspec.structs.replace(PLAIN, source=source)
    assert price_usage(usage, deployment(prices_of(CHEAP)), AT).cost_nano_usd == 1_200_000


def test_what_the_provider_says_that_it_cost_wins() -> None:
    usage = msgspec.structs.replace(PLAIN, details=UsageDetails(cost_nano_usd=77))
    for prices in (None, unknown(), prices_of(CHEAP)):
        assert price_usage(usage, deployment(prices), AT) == PricedUsage(77, "provider")


def test_every_part_that_was_stated_is_a_quantity() -> None:
    assert quantities_of(PLAIN) == {"input_tokens": 1000, "output_tokens": 100}
    usage = Usage(
        1000,
        100,
        1100,
        cached_tokens=600,
        reasoning_tokens=60,
        cache_write_tokens=300,
        details=UsageDetails(quantities={"cache_write_1h_tokens": 200, "web_searches": 2}),
    )
    assert quantities_of(usage) == {
        "input_tokens": 1000,
        "output_tokens": 100,
        "cache_read_tokens": 600,
        "cache_write_tokens": 300,
        "output_reasoning_tokens": 60,
        "cache_write_1h_tokens": 200,
        "web_searches": 2,
    }


def test_the_tier_that_served_the_request_sets_the_price_else_the_one_that_was_asked_for() -> None:
    prices = prices_of(CHEAP, tiers={"flex": {"input_tokens": "0.5"}, "priority": {"input_tokens": 2}})

    def cost(served: str | None, requested: str | None, source: UsageSource = "provider") -> int | None:
        usage = msgspec.structs.replace(PLAIN, source=source, details=UsageDetails(served_tier=served))
        return price_usage(usage, deployment(prices), AT, requested).cost_nano_usd

    assert cost("flex", "priority") == 700_000
    # Served as an ordinary request, because there was no room for a better one.
    assert cost(None, "priority") == 1_200_000
    assert price_usage(PLAIN, deployment(prices), AT, "priority").cost_nano_usd == 1_200_000
    # The provider did not get to say anything of the tier.
    assert cost(None, "priority", "counted") == 2_200_000
    assert cost(None, "no such tier", "counted") == 1_200_000
    counted = msgspec.structs.replace(PLAIN, source="counted")
    assert price_usage(counted, deployment(prices), AT, "flex").cost_nano_usd == 700_000


@pytest.mark.parametrize(
    ("provider", "model", "tier"),
    [
        ("anthropic", "claude-opus-4-8", "fast"),
        ("anthropic", "claude-sonnet-4-5", "batch"),
        ("openai", "gpt-5.4", "flex"),
        ("google", "gemini-2.5-pro", "batch"),
    ],
)
def test_a_tier_is_found_whatever_the_price_book_calls_it(provider: str, model: str, tier: str) -> None:
    book = shipped_price_book()
    prices = DeploymentPrices(book.schedule(provider, model), book.version)
    usage = msgspec.structs.replace(PLAIN, details=UsageDetails(served_tier=tier))
    base = price_usage(PLAIN, deployment(prices), AT).cost_nano_usd
    assert base is not None
    assert price_usage(usage, deployment(prices), AT).cost_nano_usd not in {None, base}


FIRST = PricedUsage(5, "catalog", None, {"input_tokens": (2, 5)}, "v1")
SECOND = PricedUsage(7, "override", None, {"input_tokens": (1, 3), "output_tokens": (4, 4)}, "v2")
UNKNOWN = PricedUsage(None, "none", "unknown_model", None, "v2")
STATED = PricedUsage(9, "provider")


def test_costs_of_attempts_add_up_with_their_breakdowns() -> None:
    assert added(FIRST, SECOND) == PricedUsage(
        12, "override", None, {"input_tokens": (3, 8), "output_tokens": (4, 4)}, "v2"
    )
    assert FIRST.breakdown == {"input_tokens": (2, 5)}
    assert added(FIRST, NO_COST) == FIRST
    assert added(NO_COST, SECOND) == SECOND


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert added(FIRST, UNKNOWN) == UNKNOWN
    assert added(UNKNOWN, SECOND) == UNKNOWN
    assert added(UNKNOWN, NO_COST) == UNKNOWN


def test_a_sum_with_a_cost_that_the_provider_states_has_no_breakdown() -> None:
    assert added(FIRST, STATED) == PricedUsage(14, "provider", None, None, "v1")
    assert added(STATED, FIRST) == PricedUsage(14, "catalog", None, None, "v1")


def test_a_free_reply_costs_zero_and_is_not_unpriced() -> None:
    assert (FREE.cost_nano_usd, FREE.source, FREE.unpriced) == (0, "catalog", None)


@pytest.mark.parametrize(
    ("raw", "tier"),
    [
        (b'"flex"', "flex"),
        (b"null", None),
        (b"1", None),
        (b'""', None),
        (b'"%b"' % (b"x" * 65), None),
        (b'"a\\u0000b"', None),
        (b'"\xff"', None),
    ],
)
def test_a_requested_tier_is_a_short_word(raw: bytes, tier: str | None) -> None:
    assert requested_tier_of(msgspec.Raw(raw)) == tier


def test_no_model_of_the_price_book_fails_in_any_tier() -> None:
    """A fault in prices would otherwise cost a client its reply."""
    book = shipped_price_book()
    counted = msgspec.structs.replace(PLAIN, source="counted")
    priced = 0
    for provider, listed in msgspec.json.decode(FILE.read_bytes())["providers"].items():
        for name, *_ in listed["models"]:
            prices = DeploymentPrices(book.schedule(provider, name), book.version)
            for tier in (None, "flex", "priority", "fast", "batch", "no such tier"):
                cost = price_usage(counted, deployment(prices), AT, tier)
                assert (cost.cost_nano_usd is None) == (cost.source == "none")
                priced += cost.cost_nano_usd is not None
    assert priced > 10_000
