"""The prices of a deployment: an override that applies wins as a whole, the price book has the rest."""

from __future__ import annotations

from decimal import Decimal

from llm_gateway.core.pricing.deployment_prices import DeploymentPrices, OverridePeriod, PricesInForce
from llm_gateway.core.pricing.price_schedule import (
    DatedPrices,
    PricePeriod,
    PriceSchedule,
    PriceVariant,
    UnknownSchedule,
)
from llm_gateway.core.pricing.price_table import price, price_table
from tests.unit.core.pricing.conftest import make_units

UNITS = make_units()
USAGE = {"input_tokens": 1_000_000, "output_tokens": 0}
TODAY, TOMORROW, LATER = 1_000, 2_000, 3_000


def schedule(*variants: PriceVariant, since: int | None = None) -> PriceSchedule:
    base = DatedPrices(PricePeriod(), {"input_tokens": Decimal(1), "output_tokens": Decimal(1)})
    dated = [base]
    if since is not None:
        dated.append(DatedPrices(PricePeriod(since=since), {**base.prices, "input_tokens": Decimal(2)}))
    return PriceSchedule("m", UNITS, dated, variants)


FLEX = PriceVariant({"service_tier": "flex"}, PricePeriod(), {"input_tokens": Decimal("0.5")})


def override(amount: int, valid_from: int | None = None, valid_until: int | None = None) -> OverridePeriod:
    table = price_table(UNITS, {"input_tokens": Decimal(amount), "output_tokens": Decimal(amount)})
    return OverridePeriod(PricesInForce(table, "override", f"override-{amount}"), valid_from, valid_until)


def shown(prices: DeploymentPrices, at: int, **context: str) -> tuple[str, str, int | None]:
    """Return source and version, and what a million input tokens cost, in cents."""
    found = prices.at(at, context)
    nano_usd = price(found.table, USAGE).nano_usd
    return found.source, found.version, None if nano_usd is None else nano_usd // 10_000_000


def test_without_overrides_the_price_book_applies_at_its_dates_and_in_its_contexts() -> None:
    prices = DeploymentPrices(schedule(FLEX, since=TOMORROW), "book-1")
    assert shown(prices, TODAY) == ("catalog", "book-1", 100)
    assert shown(prices, TOMORROW) == ("catalog", "book-1", 200)
    assert shown(prices, TOMORROW, service_tier="flex") == ("catalog", "book-1", 50)


def test_prices_that_never_change_are_one_value() -> None:
    prices = DeploymentPrices(schedule(), "book-1")
    assert prices.at(TODAY) is prices.at(LATER, {"service_tier": "flex"})


def test_an_override_wins_as_a_whole_while_it_applies() -> None:
    prices = DeploymentPrices(schedule(FLEX), "book-1", [override(7, TODAY, LATER)])
    assert shown(prices, TODAY - 1) == ("catalog", "book-1", 100)
    assert shown(prices, TODAY) == ("override", "override-7", 700)
    # Not the price book's variant.
    assert shown(prices, LATER - 1, service_tier="flex") == ("override", "override-7", 700)
    assert shown(prices, LATER, service_tier="flex") == ("catalog", "book-1", 50)


def test_an_override_without_dates_always_applies() -> None:
    prices = DeploymentPrices(UnknownSchedule("unknown_model"), "book-1", [override(0)])
    assert shown(prices, TODAY) == ("override", "override-0", 0)
    assert prices.at(TODAY) is prices.at(LATER)


def test_of_overrides_that_overlap_the_one_that_began_last_wins() -> None:
    always, later = override(1), override(2, TOMORROW)
    for overrides in ([always, later], [later, always]):
        prices = DeploymentPrices(schedule(), "book-1", [*overrides, override(3, LATER, LATER + 1)])
        assert [shown(prices, at)[1] for at in (TODAY, TOMORROW, LATER, LATER + 1)] == [
            "override-1",
            "override-2",
            "override-3",
            "override-2",
        ]


def test_of_overrides_that_began_together_the_last_one_given_wins() -> None:
    prices = DeploymentPrices(schedule(), "book-1", [override(2, TODAY), override(1, TODAY, TOMORROW)])
    assert shown(prices, TODAY)[1] == "override-1"
    assert shown(prices, TOMORROW)[1] == "override-2"


def test_a_higher_rank_wins_whenever_it_began() -> None:
    exact = OverridePeriod(override(1).prices, valid_until=LATER, rank=1)
    prices = DeploymentPrices(schedule(), "book-1", [exact, override(2, TODAY)])
    assert [shown(prices, at)[1] for at in (0, TODAY, LATER)] == ["override-1", "override-1", "override-2"]


def test_prices_that_nobody_knows_say_why() -> None:
    prices = DeploymentPrices(UnknownSchedule("unknown_provider"), "book-1", [override(1, TOMORROW)])
    found = prices.at(TODAY)
    assert not found.are_known
    assert found.table.unknown == "unknown_provider"
    assert prices.at(TOMORROW).are_known


def test_only_whole_prices_that_always_apply_are_plain() -> None:
    plain = DeploymentPrices(schedule(FLEX), "book-1").plain
    assert plain is not None
    assert (plain.input, plain.output, plain.source, plain.version) == (1000, 1000, "catalog", "book-1")
    plain = DeploymentPrices(schedule(), "book-1", [override(7)]).plain
    assert plain is not None
    assert (plain.input, plain.source, plain.version) == (7000, "override", "override-7")
    fraction = PriceSchedule(
        "m",
        UNITS,
        [DatedPrices(PricePeriod(), {"input_tokens": Decimal("0.0005"), "output_tokens": Decimal(1)})],
        (),
    )
    assert DeploymentPrices(fraction, "book-1").plain is None
    assert DeploymentPrices(schedule(since=TOMORROW), "book-1").plain is None
    assert DeploymentPrices(schedule(), "book-1", [override(7, TODAY)]).plain is None
    assert DeploymentPrices(UnknownSchedule("unknown_model"), "book-1").plain is None
