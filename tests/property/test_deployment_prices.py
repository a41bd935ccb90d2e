"""For any overrides and any instant: the one in force applies, and no other that applies began later."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.pricing.deployment_prices import DeploymentPrices, OverridePeriod, PricesInForce
from llm_gateway.core.pricing.price_schedule import UnknownSchedule
from llm_gateway.core.pricing.price_table import PriceTable

TIMES = st.integers(-3, 12)


@st.composite
def overrides(draw: st.DrawFn) -> list[OverridePeriod]:
    edges = draw(st.lists(st.tuples(st.none() | TIMES, st.none() | TIMES), max_size=6))
    return [
        OverridePeriod(PricesInForce(PriceTable(), "override", str(number)), *edge, draw(st.integers(0, 1)))
        for number, edge in enumerate(edges)
    ]


@given(overrides(), st.integers(-5, 15))
def test_the_override_in_force_applies_and_none_that_applies_began_later(
    given_: list[OverridePeriod], at: int
) -> None:
    applying = [one for one in given_ if one.includes(at)]
    found = DeploymentPrices(UnknownSchedule("no_price"), "book", given_).at(at)
    if not applying:
        assert (found.source, found.version, found.table.unknown) == ("catalog", "book", "no_price")
        return
    winner = given_[int(found.version)]
    assert winner in applying

    def order(one: OverridePeriod) -> tuple[int, float]:
        return one.rank, float("-inf") if one.valid_from is None else one.valid_from

    assert order(winner) == max(map(order, applying))
    assert winner is [one for one in applying if order(one) == order(winner)][-1]
