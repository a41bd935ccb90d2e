"""OpenAI's costs: pages of `GET /v1/organization/costs` grouped by line item, or the same as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from llm_gateway.wire.cost_files.bill import (
    TOOL_UNITS,
    BillLine,
    InvalidBill,
    amount_of,
    check_currency,
    moment_of,
)

# What follows the model's name in a line item: "gpt-4o-2024-08-06, cached input".
_METERS: Final = (
    "input",
    "output",
    "cached",
    "audio",
    "image",
    "text",
    "reasoning",
    "training",
    "batch",
    "tokens",
)


class _Amount(msgspec.Struct):
    # Not a float: 0.1 must stay 0.1.
    value: Decimal | None = None
    currency: str | None = None


class _Result(msgspec.Struct):
    amount: _Amount | None = None
    line_item: str | None = None


class _Bucket(msgspec.Struct):
    start_time: int
    end_time: int
    results: list[_Result]


class _Page(msgspec.Struct):
    data: list[_Bucket]


_PAGE: Final = msgspec.json.Decoder(_Page)


def read_openai_page(page: bytes, where: str) -> Iterator[BillLine]:
    """Yield the lines of one page; raise InvalidBill, which names the bucket."""
    try:
        decoded = _PAGE.decode(page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidBill(f"{where}: not a page of OpenAI's costs: {error}") from None
    for number, bucket in enumerate(decoded.data, 1):
        for result in bucket.results:
            place = f"{where}, bucket {number}"
            if result.amount is None or result.amount.value is None:
                raise InvalidBill(f"{place}: a result has no amount")
            check_currency(result.amount.currency or "usd", place)
            amount = amount_of(result.amount.value, place)
            model, item = _split(result.line_item, place)
            yield BillLine(bucket.start_time * 1_000_000, bucket.end_time * 1_000_000, model, item, amount)


def read_openai_csv(text: str) -> Iterator[BillLine]:
    """Yield the lines of a CSV with the fields of the API as columns; raise InvalidBill, which names the line."""
    rows = csv.DictReader(io.StringIO(text))
    columns = {name.strip().lower() for name in rows.fieldnames or ()}
    for name in ("start_time", "end_time", "line_item"):
        if name not in columns:
            raise InvalidBill(f"line 1: the column {name} is missing; export the costs grouped by line item")
    amount_column = next((name for name in ("amount_value", "amount", "cost") if name in columns), None)
    if amount_column is None:
        raise InvalidBill("line 1: no column holds an amount (amount_value)")
    for raw in rows:
        row: dict[str, Any] = {str(name).strip().lower(): value for name, value in raw.items()}
        where = f"line {rows.line_num}"
        check_currency(row.get("amount_currency") or "usd", where)
        model, item = _split(row["line_item"], where)
        yield BillLine(
            moment_of(row["start_time"], where),
            moment_of(row["end_time"], where),
            model,
            item,
            amount_of(row[amount_column], where),
        )


def _split(line_item: str | None, where: str) -> tuple[str | None, str]:
    """Return the model and the meter of a line item, or None and the unit of a tool."""
    if not line_item:
        raise InvalidBill(f"{where}: a result has no line item; export the costs with group_by=line_item")
    lowered = line_item.lower()
    for name, unit in TOOL_UNITS.items():
        if name in lowered:
            return None, unit
    model, comma, meter = line_item.rpartition(", ")
    if comma and any(word in meter.lower() for word in _METERS):
        return model.strip(), meter.strip().lower()
    return line_item.strip(), "total"
