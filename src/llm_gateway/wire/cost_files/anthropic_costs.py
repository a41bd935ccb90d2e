"""Anthropic's cost report: pages of `GET /v1/organizations/cost_report` grouped by description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from llm_gateway.wire.cost_files.bill import (
    TOOL_UNITS,
    BillLine,
    InvalidBill,
    amount_of,
    check_currency,
    moment_of,
)

_CENTS: Final = 100


class _Result(msgspec.Struct):
    # A decimal of cents.
    amount: str
    currency: str = "USD"
    cost_type: str | None = None
    model: str | None = None
    token_type: str | None = None
    description: str | None = None


class _Bucket(msgspec.Struct):
    starting_at: str
    ending_at: str
    results: list[_Result]


class _Page(msgspec.Struct):
    data: list[_Bucket]


_PAGE: Final = msgspec.json.Decoder(_Page)


def read_anthropic_page(page: bytes, where: str) -> Iterator[BillLine]:
    """Yield the lines of one page; raise InvalidBill, which names the bucket."""
    try:
        decoded = _PAGE.decode(page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidBill(f"{where}: not a page of Anthropic's cost report: {error}") from None
    for number, bucket in enumerate(decoded.data, 1):
        place = f"{where}, bucket {number}"
        start, end = moment_of(bucket.starting_at, place), moment_of(bucket.ending_at, place)
        for result in bucket.results:
            check_currency(result.currency, place)
            amount = amount_of(result.amount, place, per_usd=_CENTS)
            if result.model is not None:
                yield BillLine(start, end, result.model, result.token_type or "total", amount)
                continue
            name = result.cost_type or result.description
            if name is None:
                message = (
                    "a result names neither a model nor a type; export the report with group_by[]=description"
                )
                raise InvalidBill(f"{place}: {message}")
            yield BillLine(start, end, None, TOOL_UNITS.get(name.lower(), name), amount)
