"""What providers say that a request cost: exact, and not believed if it cannot be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from llm_gateway.wire.openai_chat.usage import BilledUsage
from llm_gateway.wire.stated_costs import member, openrouter_cost, perplexity_cost, xai_cost

ODD: tuple[Any, ...] = (0, -1, 10**14 + 10, 1.5, "5", True, None, [], {})
decode = msgspec.json.Decoder(BilledUsage, float_hook=Decimal).decode


@pytest.mark.parametrize(
    ("text", "nano_usd"),
    [
        (b"0", 0),
        (b"0.0", 0),
        (b"1", 10**9),
        (b"0.95", 950_000_000),
        (b"4.1400000000000003e-05", 41_400),
        # As floats, these would be off.
        (b"0.1000000005", 100_000_000),
        (b"0.1000000015", 100_000_002),
        (b"0.10000000050000000000000000001", 100_000_001),
        (b"9007.199254741", 9_007_199_254_741),
        (b"1e-30", 0),
        (b"1e-999999", 0),
        (b"10000", 10**13),
        (b'"0.25"', 250_000_000),
        (b'"2.5e-3"', 2_500_000),
    ],
)
def test_a_cost_in_usd_is_read_exactly_and_rounded_once(text: bytes, nano_usd: int) -> None:
    assert openrouter_cost(decode(b'{"cost":' + text + b"}")) == nano_usd
    assert perplexity_cost(decode(b'{"cost":{"total_cost":' + text + b"}}")) == nano_usd


@pytest.mark.parametrize(
    "text",
    [
        *(b"-1", b"-0.000001", b"10000.000001", b"1e30", b"1e999999", b"1" * 400, b"null", b"true", b"[]"),
        *(b'"free"', b'"nan"', b'"-1"', b'"Infinity"', b'"1_0"', b'""', b"{}", b'"' + b"1" * 5000 + b'"'),
        b"0." + b"1" * 70,
    ],
)
def test_a_cost_that_cannot_be_is_not_believed(text: bytes) -> None:
    assert openrouter_cost(decode(b'{"cost":' + text + b"}")) is None
    assert perplexity_cost(decode(b'{"cost":{"total_cost":' + text + b"}}")) is None


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -1.0, Decimal("nan"), Decimal("snan"), object()]
)
def test_a_number_that_is_none_is_not_believed(value: Any) -> None:
    assert openrouter_cost(BilledUsage(cost=value)) is None


def test_a_float_is_taken_for_the_text_that_it_was_read_from() -> None:
    assert openrouter_cost(BilledUsage(cost=0.1000000005)) == 100_000_000
    assert openrouter_cost(BilledUsage(cost=5e-324)) == 0


@pytest.mark.parametrize(
    ("usage", "nano_usd"),
    [
        # The upstream's cost is part of OpenRouter's, or of an unknown account of its own.
        (b'{"cost":0.5,"is_byok":false,"cost_details":{"upstream_inference_cost":0.5}}', 500_000_000),
        (b'{"cost":0.5,"cost_details":{"upstream_inference_cost":19}}', 500_000_000),
        # OpenRouter charges its fee, the upstream provider the rest.
        (b'{"cost":0.05,"is_byok":true,"cost_details":{"upstream_inference_cost":1}}', 1_050_000_000),
        (b'{"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.0003253}}', 325_300),
        # The fee is not the cost.
        (b'{"cost":0.05,"is_byok":true,"cost_details":{"upstream_inference_cost":null}}', None),
        (b'{"cost":0.05,"is_byok":true,"cost_details":[]}', None),
        (b'{"cost":0.05,"is_byok":true}', None),
        (b'{"cost":9000,"is_byok":true,"cost_details":{"upstream_inference_cost":9000}}', None),
        (b'{"is_byok":true,"cost_details":{"upstream_inference_cost":1}}', None),
        (b"{}", None),
    ],
)
def test_with_a_key_of_ones_own_the_upstreams_cost_is_added_to_openrouters_fee(
    usage: bytes, nano_usd: int | None
) -> None:
    assert openrouter_cost(decode(usage)) == nano_usd


@pytest.mark.parametrize(
    ("ticks", "nano_usd"),
    [
        (37_756_000, 3_775_600),
        (1, 0),
        (5, 0),
        (15, 2),
        (10**14, 10**13),
        *((odd, None) for odd in ODD),
    ],
)
def test_ticks_are_ten_billionths_of_a_dollar(ticks: Any, nano_usd: int | None) -> None:
    assert xai_cost(BilledUsage(cost_in_usd_ticks=ticks)) == nano_usd


def test_a_cost_in_another_currency_is_not_believed() -> None:
    assert perplexity_cost(BilledUsage(cost={"total_cost": 1, "currency": "USD"})) == 10**9
    assert perplexity_cost(BilledUsage(cost={"total_cost": 1, "currency": "EUR"})) is None
    assert perplexity_cost(BilledUsage(cost={"total_cost": 1, "currency": {}})) is None


@pytest.mark.parametrize("value", [None, [], "a", 5, {}, {"b": 1}])
def test_what_is_no_object_has_no_members(value: Any) -> None:
    assert member(value, "a") is None
