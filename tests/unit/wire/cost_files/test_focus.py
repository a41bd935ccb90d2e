"""FOCUS files as they are written, and as others write them."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import msgspec
import pytest

from llm_gateway.wire.cost_files.bill import InvalidBill
from llm_gateway.wire.cost_files.focus import FOCUS_COLUMNS, FocusCharge, focus_row, read_focus

# The columns that FOCUS 1.2 calls mandatory, and those of 1.0 that must not be null for a charge of usage.
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription",
    "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip
DAY = 86_400_000_000

CHARGE = FocusCharge(
    start=DAY, end=2 * DAY, month_start=0, month_end=31 * DAY, provider="main", model="gpt-4o", meter="input_tokens",
    credential="team", tenant="acme", project=None, quantity=3000, nano_usd=7_500_000, requests=2, account="gateway",
)  # fmt: skip


def written(*charges: FocusCharge) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, FOCUS_COLUMNS)
    writer.writeheader()
    writer.writerows(map(focus_row, charges))
    return text.getvalue()


def test_a_row_has_the_mandatory_columns_and_their_values() -> None:
    row = focus_row(CHARGE)
    assert set(row) == set(FOCUS_COLUMNS) >= MANDATORY
    # Only a correction of an earlier bill has a class.
    assert {name for name in MANDATORY if not row[name]} == {"ChargeClass"}
    assert (row["BilledCost"], row["BillingCurrency"], row["ChargeCategory"]) == ("0.0075", "USD", "Usage")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"], row["ListUnitPrice"]) == (
        "3000",
        "Tokens",
        "0.0000025",
    )
    assert row["ChargePeriodStart"] == "1970-01-02T00:00:00Z"
    assert (row["SkuId"], row["SubAccountId"]) == ("gpt-4o/input_tokens", "acme")
    assert row["ServiceCategory"] == "AI and Machine Learning"
    assert msgspec.json.decode(row["Tags"]) == {"credential": "team"}


def test_the_unit_price_times_the_quantity_is_the_cost() -> None:
    row = focus_row(msgspec.structs.replace(CHARGE, quantity=10_000_000_000, nano_usd=12_345_678_901_234_567))
    cost = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
    assert abs(cost - Decimal(row["BilledCost"])) < Decimal("0.00001")


def test_what_is_written_is_read_back() -> None:
    [line] = read_focus(written(CHARGE))
    assert (line.model, line.item, int(line.nano_usd)) == ("gpt-4o", "input_tokens", 7_500_000)
    assert (line.start, line.end) == (DAY, 2 * DAY)


def test_tools_are_read_as_items_of_their_own() -> None:
    [line] = read_focus(written(msgspec.structs.replace(CHARGE, meter="web_searches")))
    assert (line.model, line.item) == (None, "web_searches")


def test_a_name_that_was_kept_from_being_a_formula_is_read_as_it_was() -> None:
    [line] = read_focus(written(msgspec.structs.replace(CHARGE, model="'@cf/meta/llama")))
    assert line.model == "@cf/meta/llama"


def test_quantities_have_all_their_digits() -> None:
    cells = [
        focus_row(msgspec.structs.replace(CHARGE, meter="audio_seconds", quantity=quantity))[
            "ConsumedQuantity"
        ]
        for quantity in (1234567.5, 3.0, 0.0000123, 10**15)
    ]
    assert cells == ["1234567.5", "3", "0.0000123", "1000000000000000"]


def test_other_files_name_the_model_elsewhere() -> None:
    text = (
        "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ChargeDescription\n"
        "1.5,USD,2025-01-01T00:00:00Z,2025-01-02T00:00:00Z,Usage,gpt-4o\n"
        "-2,USD,2025-01-01T00:00:00Z,2025-01-02T00:00:00Z,Credit,a gift\n"
    )
    [line] = read_focus(text)
    assert (line.model, line.item, int(line.nano_usd)) == ("gpt-4o", "total", 1_500_000_000)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("BilledCost", "Costs", "line 1: the columns BilledCost are missing"),
        ("0.0075", "much", "line 2: 'much' is not an amount"),
        ("USD", "EUR", "line 2: the currency is 'EUR'"),
        ("1970-01-02T00:00:00Z", "today", "line 2: 'today' is not a time"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, words: str) -> None:
    with pytest.raises(InvalidBill, match=words):
        list(read_focus(written(CHARGE).replace(old, new)))
