"""Prices as integers, and what a request costs by them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.pricing.cost import Cost, Quantities
from llm_gateway.core.pricing.price_table import (
    InvalidPrices,
    PriceTable,
    TieredPrice,
    price,
    price_table,
    unknown_price,
)
from tests.unit.core.pricing.conftest import make_units

UNITS = make_units()
TIERED = TieredPrice(Decimal(3), ((200_000, Decimal(6)),))


def table(**prices: str | TieredPrice) -> PriceTable:
    return price_table(
        UNITS, {name: Decimal(value) if isinstance(value, str) else value for name, value in prices.items()}
    )


TEXT = table(input_tokens="2.5", output_tokens="10", cache_read_tokens="1.25")


def test_a_unit_is_billed_without_the_parts_that_have_prices() -> None:
    cost = price(TEXT, {"input_tokens": 1200, "output_tokens": 300, "cache_read_tokens": 100})
    assert cost == Cost(
        1100 * 2500 + 100 * 1250 + 300 * 10_000,
        {
            "cache_read_tokens": (100, 125_000),
            "input_tokens": (1100, 2_750_000),
            "output_tokens": (300, 3_000_000),
        },
    )


def test_a_part_without_a_price_is_billed_as_what_contains_it() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 300,
        "output_reasoning_tokens": 200,
        "cache_write_tokens": 4,
    }
    assert price(TEXT, usage).breakdown == {"input_tokens": (10, 25_000), "output_tokens": (300, 3_000_000)}


def test_parts_of_parts_are_billed_once() -> None:
    nested = table(input_tokens="4", cache_write_tokens="5", cache_write_1h_tokens="8", output_tokens="1")
    usage = {"input_tokens": 100, "cache_write_tokens": 60, "cache_write_1h_tokens": 20, "output_tokens": 0}
    assert price(nested, usage).nano_usd == 40 * 4000 + 40 * 5000 + 20 * 8000


@pytest.mark.parametrize(("total", "nano_usd"), [(0, 0), (200_000, 3000), (200_001, 6000), (900_000, 6000)])
def test_a_tier_prices_every_token(total: int, nano_usd: int) -> None:
    tiered = table(input_tokens=TIERED, output_tokens="10")
    assert price(tiered, {"input_tokens": total, "output_tokens": 1}).nano_usd == total * nano_usd + 10_000


def test_costs_of_tiers_do_not_add_up() -> None:
    tiered = table(input_tokens=TIERED, output_tokens="15")
    half = price(tiered, {"input_tokens": 150_000, "output_tokens": 0}).nano_usd
    whole = price(tiered, {"input_tokens": 300_000, "output_tokens": 0}).nano_usd
    assert (half, whole) == (450_000_000, 1_800_000_000)


def test_each_price_has_its_own_tiers() -> None:
    tiered = table(
        input_tokens=TieredPrice(Decimal(1), ((20, Decimal(3)), (10, Decimal(2)))),
        output_tokens=TieredPrice(Decimal(1), ((15, Decimal(5)),)),
    )
    costs = [
        price(tiered, {"input_tokens": total, "output_tokens": 1}).nano_usd for total in (10, 11, 16, 21)
    ]
    assert costs == [10 * 1000 + 1000, 11 * 2000 + 1000, 16 * 2000 + 5000, 21 * 3000 + 5000]


def test_a_request_is_billed_once_whatever_the_reply_says() -> None:
    searching = table(input_tokens="1", output_tokens="1", requests="12")
    cost = price(searching, {"input_tokens": 1, "output_tokens": 0, "requests": 5})
    assert cost == Cost(12_001_000, {"requests": (1, 12_000_000), "input_tokens": (1, 1000)})


def test_tools_that_a_reply_does_not_mention_were_not_used() -> None:
    tools = table(input_tokens="1", output_tokens="1", web_searches="10")
    usage = {"input_tokens": 1, "output_tokens": 0}
    assert price(tools, usage).nano_usd == 1000
    assert price(tools, {**usage, "web_searches": 2}).nano_usd == 20_001_000


def test_a_model_that_is_billed_only_by_tools_must_mention_them() -> None:
    assert price(table(web_searches="10"), {"input_tokens": 1}).unknown == "unreported_usage"


@pytest.mark.parametrize(("input_tokens", "nano_usd"), [(1, 38), (3, 112), (5, 188), (2, 75)])
def test_half_a_nano_dollar_is_rounded_to_the_even_one(input_tokens: int, nano_usd: int) -> None:
    assert price(table(input_tokens="0.0375"), {"input_tokens": input_tokens}).nano_usd == nano_usd


def test_the_sum_is_rounded_and_not_its_parts() -> None:
    thirds = table(input_tokens="0.0004", output_tokens="0.0004")
    cost = price(thirds, {"input_tokens": 1, "output_tokens": 1})
    assert cost == Cost(1, {"input_tokens": (1, 0), "output_tokens": (1, 1)})


@pytest.mark.parametrize(
    "usage", [{}, {"output_tokens": 5}, {"input_tokens": 5}, {"cache_read_tokens": 5, "output_tokens": 1}]
)
def test_a_cost_is_unknown_if_a_unit_is_not_reported(usage: Quantities) -> None:
    assert price(TEXT, usage) == Cost(None, {}, "unreported_usage")


@pytest.mark.parametrize("unit", ["audio_seconds", "input_characters"])
def test_tokens_alone_do_not_price_a_model_that_is_billed_otherwise(unit: str) -> None:
    media = table(**{unit: "15"})
    assert price(media, {"input_tokens": 10, "output_tokens": 10}).unknown == "unreported_usage"
    assert price(media, {unit: 0}).nano_usd == 0


def test_audio_without_a_price_is_not_billed_as_text() -> None:
    usage = {"input_tokens": 10, "output_tokens": 10}
    for unit in ("input_audio_tokens", "output_audio_tokens"):
        assert price(TEXT, {**usage, unit: 1}) == Cost(None, {}, "audio_without_price")
        assert price(TEXT, {**usage, unit: 0}).nano_usd == 125_000


def test_audio_with_a_price_is_billed_by_it() -> None:
    audio = table(input_tokens="1", input_audio_tokens="5", output_tokens="1")
    usage = {"input_tokens": 10, "input_audio_tokens": 4, "output_tokens": 10}
    assert price(audio, usage).nano_usd == 6 * 1000 + 4 * 5000 + 10 * 1000
    assert price(audio, {**usage, "output_audio_tokens": 1}).unknown == "audio_without_price"


def test_cached_audio_must_be_reported_if_audio_and_cached_tokens_are() -> None:
    audio = table(
        input_tokens="4",
        input_audio_tokens="40",
        cache_read_tokens="1",
        cache_audio_read_tokens="2",
        output_tokens="1",
    )
    usage = {"input_tokens": 10, "input_audio_tokens": 4, "cache_read_tokens": 3, "output_tokens": 0}
    assert price(audio, usage).unknown == "unreported_usage"
    assert price(audio, {**usage, "input_audio_tokens": 0}).nano_usd == 7 * 4000 + 3 * 1000
    both = {**usage, "cache_audio_read_tokens": 2}
    assert price(audio, both).nano_usd == 5 * 4000 + 2 * 40_000 + 1 * 1000 + 2 * 2000


def test_a_part_is_not_enough_to_know_an_optional_unit() -> None:
    writes = table(input_tokens="3", cache_write_tokens="4", output_tokens="1")
    usage = {"input_tokens": 10, "output_tokens": 1, "cache_write_1h_tokens": 5}
    assert price(writes, usage).unknown == "unreported_usage"
    assert price(writes, {**usage, "cache_write_tokens": 5}).nano_usd == 5 * 3000 + 5 * 4000 + 1000


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 5, "cache_read_tokens": 6, "output_tokens": 1},
        {"input_tokens": -5, "output_tokens": 1},
        {"input_tokens": 5, "cache_read_tokens": -1, "output_tokens": 1},
        {"input_tokens": float("nan"), "output_tokens": 1},
        {"input_tokens": float("inf"), "output_tokens": 1},
        {"input_tokens": -0.5, "output_tokens": 1},
    ],
)
def test_a_usage_that_cannot_be_has_no_cost(usage: Quantities) -> None:
    assert price(TEXT, usage) == Cost(None, {}, "inconsistent_usage")


def test_a_model_without_prices_has_no_cost() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1}
    assert price(table(), usage) == Cost(None, {}, "no_price")
    assert price(unknown_price("unknown_model"), usage) == Cost(None, {}, "unknown_model")


@pytest.mark.parametrize("usage", [{}, {"input_tokens": 5, "output_tokens": 5}, {"input_audio_tokens": 1}])
def test_an_explicit_price_of_nothing_is_known(usage: Quantities) -> None:
    free = table(input_tokens="0", output_tokens="0")
    cost = price(free, usage)
    assert (cost.nano_usd, cost.unknown) == (0, None)


def test_a_unit_that_costs_nothing_need_not_be_reported() -> None:
    assert price(table(input_tokens="1", output_tokens="0"), {"input_tokens": 2}).nano_usd == 2000


def test_fractions_are_billed_as_the_decimals_that_they_show() -> None:
    audio = table(audio_seconds="0.36")
    assert price(audio, {"audio_seconds": 3.47}) == Cost(347_000, {"audio_seconds": (3.47, 347_000)})
    with_request = table(audio_seconds="0.36", requests="1")
    assert price(with_request, {"audio_seconds": 0.1}).breakdown == {
        "requests": (1, 1_000_000),
        "audio_seconds": (0.1, 10_000),
    }


def test_fractions_reach_tiers() -> None:
    tiered = table(input_tokens=TieredPrice(Decimal(1), ((10, Decimal(2)),)))
    assert [price(tiered, {"input_tokens": count}).nano_usd for count in (10.0, 10.5)] == [10_000, 21_000]


@pytest.mark.parametrize(("seconds", "billed"), [(0, 0), (0.5, 10), (3, 10), (10, 10), (11, 11)])
def test_short_audio_is_billed_as_the_least(seconds: float, billed: int) -> None:
    prices = {"audio_seconds": Decimal("0.36"), "input_audio_seconds": Decimal("0.36")}
    audio = price_table(UNITS, prices, least_audio_seconds=10)
    assert price(audio, {"audio_seconds": seconds}).nano_usd == billed * 100_000
    assert (
        price(audio, {"audio_seconds": seconds, "input_audio_seconds": seconds}).nano_usd == billed * 100_000
    )


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"inputs": "1"}, "there is no unit 'inputs'"),
        ({"cache_read_tokens": "1"}, "a price for cache_read_tokens needs one for input_tokens"),
        ({"input_tokens": "-1"}, "must be a number from 0 to"),
        ({"input_tokens": "NaN"}, "must be a number from 0 to"),
        ({"input_tokens": "Infinity"}, "must be a number from 0 to"),
        ({"input_tokens": "1000000000.1"}, "must be a number from 0 to 1000000000"),
        ({"input_tokens": "1e999999"}, "must be a number from 0 to"),
        ({"input_tokens": "1e-999999"}, "must have at most 18 decimals"),
        ({"input_tokens": "0.1234567890123456789"}, "must have at most 18 decimals"),
        ({"requests": TieredPrice(Decimal(1), ((1, Decimal(1)),))}, "requests cannot have tiers"),
        ({"input_tokens": TieredPrice(Decimal(1), ((-1, Decimal(1)),))}, "a tier of input_tokens must start"),
        ({"input_tokens": TieredPrice(Decimal(1), ((1, Decimal(-1)),))}, "must be a number from 0 to"),
        (
            {"input_tokens": "1", "input_audio_tokens": "1", "cache_read_tokens": "1"},
            "prices for cache_read_tokens and input_audio_tokens need one for cache_audio_read_tokens",
        ),
        (
            {"output_tokens": "1", "output_audio_tokens": "1", "output_reasoning_tokens": "1"},
            "output_audio_tokens and output_reasoning_tokens can count the same",
        ),
    ],
)
def test_prices_that_leave_a_cost_undefined_are_refused(
    prices: dict[str, str | TieredPrice], message: str
) -> None:
    with pytest.raises(InvalidPrices, match=message):
        table(**prices)


COUNTS = st.integers(0, 10**9)
AMOUNTS = st.decimals(0, 1000, places=9)


@given(
    prices=st.fixed_dictionaries(
        dict.fromkeys(("input_tokens", "cache_read_tokens", "output_tokens"), AMOUNTS)
    ),
    cached=COUNTS,
    fresh=COUNTS,
    output=COUNTS,
)
def test_a_cost_is_the_nearest_nano_dollar_and_its_parts_add_up(
    prices: dict[str, Decimal], cached: int, fresh: int, output: int
) -> None:
    usage = {"input_tokens": cached + fresh, "cache_read_tokens": cached, "output_tokens": output}
    cost = price(price_table(UNITS, prices), usage)
    billed = {"input_tokens": fresh, "cache_read_tokens": cached, "output_tokens": output}
    exact = sum((Fraction(prices[name]) * count * 1000 for name, count in billed.items()), Fraction(0))
    assert cost.nano_usd == round(exact)
    assert sum(nano_usd for _, nano_usd in cost.breakdown.values()) == cost.nano_usd
    for name, (count, nano_usd) in cost.breakdown.items():
        assert count == billed[name]
        assert abs(nano_usd - Fraction(prices[name]) * count * 1000) <= 1


@pytest.mark.parametrize(
    ("priced", "other"), [("input_tokens", "output_tokens"), ("output_tokens", "input_tokens")]
)
@pytest.mark.parametrize("amount", ["0", "2"])
def test_what_an_administrator_gives_no_price_for_is_not_free(priced: str, other: str, amount: str) -> None:
    one_sided = price_table(UNITS, {priced: Decimal(amount)}, is_free_if_absent=False)
    assert price(one_sided, {priced: 10, other: 5}) == Cost(None, {}, "no_price")
    assert price(one_sided, {priced: 10, other: 0}).nano_usd == 10_000 * int(amount)
    # The price book leaves out what a model does not have, such as the output of embeddings.
    assert price(price_table(UNITS, {priced: Decimal(amount)}), {priced: 10, other: 5}).nano_usd is not None
