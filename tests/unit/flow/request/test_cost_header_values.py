"""Headers about costs are read as they are documented, and a bad value is named."""

from __future__ import annotations

import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.ports.dialect import CostHeaders
from llm_gateway.flow.request.cost_headers import CostOptions, read_cost_options


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        (CostHeaders(), CostOptions()),
        (CostHeaders(in_usage="on"), CostOptions(in_usage=True)),
        (CostHeaders(in_usage="off", dry_run="false"), CostOptions()),
        (CostHeaders(dry_run="true"), CostOptions(is_dry_run=True)),
        (CostHeaders(max_cost_usd="0.01"), CostOptions(max_cost_nano_usd=10_000_000)),
        (CostHeaders(max_cost_usd="0"), CostOptions(max_cost_nano_usd=0)),
        (CostHeaders(max_cost_usd="1e-9"), CostOptions(max_cost_nano_usd=1)),
    ],
)
def test_what_the_headers_ask_for(headers: CostHeaders, options: CostOptions) -> None:
    assert read_cost_options(headers) == options


@pytest.mark.parametrize(
    ("headers", "name", "says"),
    [
        (CostHeaders(in_usage="yes"), "x-llm-gateway-cost", "on or off"),
        (CostHeaders(in_usage=""), "x-llm-gateway-cost", "on or off"),
        (CostHeaders(dry_run="1"), "x-llm-gateway-dry-run", "true or false"),
        (CostHeaders(max_cost_usd="cheap"), "x-llm-gateway-max-cost-usd", "amount in USD"),
        (CostHeaders(max_cost_usd=""), "x-llm-gateway-max-cost-usd", "amount in USD"),
        (CostHeaders(max_cost_usd="nan"), "x-llm-gateway-max-cost-usd", "amount in USD"),
        (CostHeaders(max_cost_usd="-0.01"), "x-llm-gateway-max-cost-usd", "negative"),
        (CostHeaders(max_cost_usd="0.0000000001"), "x-llm-gateway-max-cost-usd", "nine decimals"),
        (CostHeaders(max_cost_usd="1e99"), "x-llm-gateway-max-cost-usd", "at most"),
    ],
)
def test_a_bad_value_is_a_400_that_names_the_header(headers: CostHeaders, name: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_cost_options(headers)
    assert (caught.value.status, caught.value.code) == (400, "invalid_header")
    assert name in caught.value.message
    assert says in caught.value.message
