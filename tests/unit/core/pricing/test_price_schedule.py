"""Prices change with time, and with what a request asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from llm_gateway.core.pricing.price_schedule import (
    DatedPrices,
    PricePeriod,
    PriceSchedule,
    PriceVariant,
    UnknownSchedule,
)
from llm_gateway.core.pricing.price_table import InvalidPrices, Prices, price
from tests.unit.core.pricing.conftest import make_units

UNITS = make_units()
ALWAYS = PricePeriod()
HOUR = 3_600_000_000


def micros(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def prices(input_price: int, output_price: int = 0) -> Prices:
    return {"input_tokens": Decimal(input_price), "output_tokens": Decimal(output_price)}


def input_price(schedule: PriceSchedule, at: int, **context: str) -> int | None:
    """Return the price of an input token in thousands of nano-USD, which is that of a million in USD."""
    cost = price(schedule.table(at, context), {"input_tokens": 1, "output_tokens": 0}).nano_usd
    return None if cost is None else cost // 1000


def test_a_start_is_an_instant_in_utc() -> None:
    start = micros("2026-03-01")
    schedule = PriceSchedule(
        "m", UNITS, [DatedPrices(ALWAYS, prices(1)), DatedPrices(PricePeriod(since=start), prices(2))]
    )
    assert [input_price(schedule, at) for at in (0, start - 1, start, start + 1)] == [1, 1, 2, 2]


def test_the_last_prices_that_apply_count_and_the_first_if_none_do() -> None:
    dates = [micros("2026-03-01"), micros("2026-02-01")]
    schedule = PriceSchedule(
        "m", UNITS, [DatedPrices(PricePeriod(since=date), prices(n)) for n, date in enumerate(dates, 1)]
    )
    assert [input_price(schedule, at) for at in (0, dates[1], dates[0])] == [1, 2, 2]


@pytest.mark.parametrize(
    ("time", "expected"),
    [("00:29:59.999999", 1), ("00:30", 2), ("16:29:59.999999", 2), ("16:30", 1), ("23:59", 1)],
)
def test_a_time_of_day_includes_its_first_instant_and_not_its_last(time: str, expected: int) -> None:
    period = PricePeriod(first=HOUR // 2, last=16 * HOUR + HOUR // 2)
    schedule = PriceSchedule("m", UNITS, [DatedPrices(ALWAYS, prices(1)), DatedPrices(period, prices(2))])
    assert input_price(schedule, micros(f"2026-11-29T{time}")) == expected
    # Before 1970, too: what is stored may be anything.
    assert input_price(schedule, micros(f"1969-11-29T{time}")) == expected


@pytest.mark.parametrize(
    ("time", "expected"), [("21:59", 1), ("22:00", 2), ("23:59", 2), ("00:00", 2), ("06:00", 1)]
)
def test_a_time_of_day_may_pass_midnight(time: str, expected: int) -> None:
    night = PricePeriod(first=22 * HOUR, last=6 * HOUR)
    schedule = PriceSchedule("m", UNITS, [DatedPrices(ALWAYS, prices(1)), DatedPrices(night, prices(2))])
    assert input_price(schedule, micros(f"2026-11-29T{time}")) == expected


def test_a_variant_replaces_the_prices_that_it_has() -> None:
    variants = [
        PriceVariant({"service_tier": "flex"}, ALWAYS, {"input_tokens": Decimal(5)}),
        PriceVariant({"service_tier": "flex", "processing": "batch"}, ALWAYS, prices(4, 9)),
    ]
    schedule = PriceSchedule("m", UNITS, [DatedPrices(ALWAYS, prices(10, 20))], variants)
    assert input_price(schedule, 0) == 10
    assert input_price(schedule, 0, service_tier="Flex") == 10
    assert input_price(schedule, 0, service_tier="flex") == 5
    assert input_price(schedule, 0, processing="batch") == 10
    # The first variant decides for each unit.
    table = schedule.table(0, {"service_tier": "flex", "processing": "batch", "speed": "fast"})
    assert price(table, {"input_tokens": 1, "output_tokens": 1}).nano_usd == 5000 + 9000


def test_a_variant_may_start_later_than_its_model() -> None:
    start = micros("2026-10-14")
    variants = [PriceVariant({"processing": "batch"}, PricePeriod(since=start), prices(1))]
    schedule = PriceSchedule("m", UNITS, [DatedPrices(ALWAYS, prices(2))], variants)
    assert [input_price(schedule, at, processing="batch") for at in (start - 1, start)] == [2, 1]


def test_any_number_of_tiers_that_a_provider_names_costs_no_memory() -> None:
    variants = [PriceVariant({"service_tier": "flex"}, ALWAYS, prices(5))]
    schedule = PriceSchedule("m", UNITS, [DatedPrices(ALWAYS, prices(10))], variants)
    for number in range(1000):
        assert input_price(schedule, 0, service_tier=str(number)) == 10
    assert input_price(schedule, 0, service_tier="flex") == 5
    assert len(schedule._found) < 300


def test_without_prices_the_cost_is_unknown() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1}
    assert price(PriceSchedule("m", UNITS, []).table(0), usage).unknown == "no_price"
    assert (
        price(UnknownSchedule("unknown_model").table(0, {"service_tier": "flex"}), usage).unknown
        == "unknown_model"
    )
    assert UnknownSchedule("unknown_model").model is None


def test_prices_that_do_not_fit_are_refused_at_once() -> None:
    with pytest.raises(InvalidPrices):
        PriceSchedule("m", UNITS, [DatedPrices(ALWAYS, {"cache_read_tokens": Decimal(1)})])
