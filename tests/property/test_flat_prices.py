"""Plain text costs the same whether it is computed directly or by the whole table, to the nano-dollar."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from genai_prices.data import providers
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.core.pricing.flat_price import flat_amount, flat_breakdown
from llm_gateway.core.pricing.price_table import PriceTable, price, price_table
from llm_gateway.flow.accounting.pricing import price_quantities, price_usage, quantities_of
from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.fakes.prices import CHEAP, DEAR, PARTS, TIERED, overridden, prices_of
from tests.property.test_price_overrides import PRICES

BOOK = shipped_price_book()
AT = 1_795_953_600_000_000
CONTEXTS: tuple[dict[str, str], ...] = (
    {},
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"processing": "batch"},
)
SCHEDULES = [BOOK.schedule(provider.id, model.id) for provider in providers for model in provider.models]
TABLES = [schedule.table(AT, context) for schedule in SCHEDULES for context in CONTEXTS]
COUNTS = st.integers(0, 3_000_000) | st.sampled_from(
    [0, 1, 99, 100, 101, 128_000, 200_000, 200_001, 272_000, 10**12]
)


def check(table: PriceTable, prompt: int, completion: int) -> None:
    flat = table.flat
    assert flat is not None
    cost = price(table, {"input_tokens": prompt, "output_tokens": completion})
    assert cost.unknown is None
    amount = flat_amount(flat, prompt, completion)
    assert amount == cost.nano_usd
    breakdown = flat_breakdown(flat, prompt, completion, amount)
    # The same bytes: rows have them in this order.
    assert msgspec.json.encode(breakdown) == msgspec.json.encode(cost.breakdown)


@given(COUNTS, COUNTS)
@example(0, 0)
def test_all_shipped_prices(prompt: int, completion: int) -> None:
    for table in TABLES:
        if table.flat is not None:
            check(table, min(prompt, table.flat.most_input), completion)


def test_most_shipped_prices_of_text_are_flat() -> None:
    priced = [table for table in TABLES if table.unknown is None]
    assert sum(table.flat is not None for table in priced) > 0.8 * len(priced)


@given(PRICES, COUNTS, COUNTS)
def test_any_prices(prices: dict[str, Decimal], prompt: int, completion: int) -> None:
    table = price_table(BOOK.units, prices)
    if table.flat is not None:
        check(table, prompt, completion)


PRICED = [DeploymentPrices(schedule, BOOK.version) for schedule in SCHEDULES] + [overridden(DEAR)]
# Whole nano-USD a token, which is priced without a table; of one, long prompts cost more.
WHOLE = [prices_of(CHEAP), prices_of(PARTS), prices_of(TIERED), overridden(TIERED)]
PRICED_ONES = st.sampled_from(PRICED) | st.sampled_from(WHOLE)
FEW = st.sampled_from([0, 0, 0, 1, 500])


@given(
    PRICED_ONES,
    COUNTS,
    COUNTS,
    FEW,
    FEW,
    FEW,
    st.sampled_from([None, "flex"]),
)
def test_a_usage_costs_what_its_quantities_cost(
    prices: DeploymentPrices,
    prompt: int,
    completion: int,
    cached: int,
    reasoning: int,
    written: int,
    tier: str | None,
) -> None:
    usage = Usage(prompt, completion, prompt + completion, cached, reasoning, "counted", written)
    deployment = Deployment(
        provider_id=1,
        provider_key="p",
        kind="openai",
        base_url="https://example.test",
        secret=None,
        upstream_model="u",
        weight=1,
        stream_usage=True,
        prices=prices,
    )
    cost = price_usage(usage, deployment, AT, tier)
    if not usage.total_tokens:
        assert cost.source is None
        return
    # The same bytes: rows have the breakdown in this order.
    whole = price_quantities(quantities_of(usage), prices, AT, tier)
    assert msgspec.json.encode(cost) == msgspec.json.encode(whole)
