"""OpenAI's costs as its API and its dashboard export them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from openai.types.admin.organization import UsageCostsResponse

from llm_gateway.wire.cost_files.bill import InvalidBill
from llm_gateway.wire.cost_files.openai_costs import read_openai_csv, read_openai_page


def page(*results: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "object": "page",
            "data": [
                {
                    "object": "bucket",
                    "start_time": 1_730_419_200,
                    "end_time": 1_730_505_600,
                    "results": [{"object": "organization.costs.result", **result} for result in results],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
    )


def result(value: object, line_item: str | None, currency: str = "usd") -> dict[str, Any]:
    return {"amount": {"value": value, "currency": currency}, "line_item": line_item, "project_id": None}


def test_the_pages_of_these_tests_are_those_of_the_official_client() -> None:
    UsageCostsResponse.model_validate_json(page(result(0.06, "gpt-4o, input")), strict=True)


@pytest.mark.parametrize(
    ("line_item", "model", "item"),
    [
        ("gpt-4o-2024-08-06, input", "gpt-4o-2024-08-06", "input"),
        ("gpt-4o-2024-08-06, cached input", "gpt-4o-2024-08-06", "cached input"),
        ("gpt-4o-audio-preview, audio output", "gpt-4o-audio-preview", "audio output"),
        ("text-embedding-3-small", "text-embedding-3-small", "total"),
        ("web search tool calls, gpt-4o", None, "web_searches"),
    ],
)
def test_line_items_name_a_model_and_a_meter(line_item: str, model: str | None, item: str) -> None:
    [line] = read_openai_page(page(result(0.06, line_item)), "page 1")
    assert (line.model, line.item, int(line.nano_usd)) == (model, item, 60_000_000)
    assert (line.start, line.end) == (1_730_419_200_000_000, 1_730_505_600_000_000)


def test_amounts_are_the_decimals_that_the_file_says() -> None:
    [line] = read_openai_page(
        page(result(0.1, "m, input")).replace(b"0.1", b"0.10000000000000000001"), "page 1"
    )
    assert line.nano_usd == Decimal("100000000.00000000001")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (page(result(1, None)), "page 1, bucket 1: a result has no line item"),
        (page(result(1, "m, input", "eur")), "page 1, bucket 1: the currency is 'eur'"),
        (page({"amount": None, "line_item": "m"}), "page 1, bucket 1: a result has no amount"),
        (page(result(1e300, "m, input")), "page 1, bucket 1: .* is not an amount"),
        (b'{"data": 1}', "page 1: not a page of OpenAI's costs"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(body: bytes, words: str) -> None:
    with pytest.raises(InvalidBill, match=words):
        list(read_openai_page(body, "page 1"))


CSV = """start_time,end_time,amount_value,amount_currency,line_item
1730419200,1730505600,0.06,usd,"gpt-4o-2024-08-06, input"
2024-11-01T00:00:00Z,2024-11-02T00:00:00+00:00,0.5,usd,"gpt-4o-2024-08-06, output"
"""


def test_a_csv_says_the_same() -> None:
    first, second = read_openai_csv(CSV)
    assert (first.model, first.item, int(first.nano_usd)) == ("gpt-4o-2024-08-06", "input", 60_000_000)
    assert (second.start, second.end) == (first.start, first.end)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CSV.replace("line_item", "thing"), "line 1: the column line_item is missing"),
        (CSV.replace("amount_value", "thing"), "line 1: no column holds an amount"),
        (CSV.replace("0.5", "half"), "line 3: 'half' is not an amount"),
        (CSV.replace("1730505600", "tomorrow"), "line 2: 'tomorrow' is not a time"),
    ],
)
def test_a_bad_csv_is_named_by_its_line(text: str, words: str) -> None:
    with pytest.raises(InvalidBill, match=words):
        list(read_openai_csv(text))
