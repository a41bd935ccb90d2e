"""Anthropic's cost report, whose amounts are decimals of cents."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from llm_gateway.wire.cost_files.anthropic_costs import read_anthropic_page
from llm_gateway.wire.cost_files.bill import InvalidBill


def page(*results: dict[str, Any]) -> bytes:
    filled = [
        {
            "currency": "USD", "amount": "123.45", "workspace_id": None, "description": None, "cost_type": "tokens",
            "context_window": "0-200k", "model": "claude-sonnet-4-20250514", "service_tier": "standard",
            "token_type": "uncached_input_tokens", "inference_geo": None, **result,
        }
        for result in results
    ]  # fmt: skip
    bucket = {"starting_at": "2025-08-01T00:00:00Z", "ending_at": "2025-08-02T00:00:00Z", "results": filled}
    return msgspec.json.encode({"data": [bucket], "has_more": False, "next_page": None})


def test_amounts_are_cents() -> None:
    [line] = read_anthropic_page(page({}), "page 1")
    assert (line.model, line.item) == ("claude-sonnet-4-20250514", "uncached_input_tokens")
    assert line.nano_usd == Decimal(1_234_500_000)
    assert line.end - line.start == 86_400_000_000


def test_tools_have_the_units_of_the_price_book() -> None:
    lines = read_anthropic_page(
        page(
            {"model": None, "cost_type": "web_search", "token_type": None},
            {"model": None, "cost_type": "session_usage", "token_type": None},
        ),
        "page 1",
    )
    assert [(line.model, line.item) for line in lines] == [(None, "web_searches"), (None, "session_usage")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount": "a lot"}, "page 1, bucket 1: 'a lot' is not an amount"),
        ({"amount": "NaN"}, "page 1, bucket 1: 'NaN' is not an amount"),
        ({"currency": "EUR"}, "the currency is 'EUR'"),
        ({"model": None, "cost_type": None}, "names neither a model nor a type"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidBill, match=words):
        list(read_anthropic_page(page(changes), "page 1"))


def test_another_shape_is_no_report() -> None:
    with pytest.raises(InvalidBill, match="not a page of Anthropic's cost report"):
        list(read_anthropic_page(b'{"data": [{"starting_at": 1}]}', "page 1"))
