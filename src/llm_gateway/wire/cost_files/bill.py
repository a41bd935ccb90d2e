"""A bill as lines of exact amounts, whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

import msgspec

BillFormat = Literal["openai", "anthropic", "focus"]
NANO_USD: Final = 1_000_000_000
_LARGEST: Final = Decimal(10) ** 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What bills call uses that are billed by the piece and not by the model's tokens: the price book's units.
TOOL_UNITS: Final[Mapping[str, str]] = {
    "web_search": "web_searches",
    "web search": "web_searches",
    "code_execution": "code_executions",
    "code execution": "code_executions",
}


class InvalidBill(ValueError):
    """The file is no bill that can be read; the message says where and what is wrong."""


class BillLine(msgspec.Struct, frozen=True):
    """One amount of a bill.

    `start` and `end` (exclusive) are Unix microseconds. `model` is the provider's name for the model; None for tools,
    whose `item` is a unit of the price book where it is known. `nano_usd` is exact: it may have a fraction.
    """

    start: int
    end: int
    model: str | None
    item: str
    nano_usd: Decimal


def amount_of(value: object, where: str, *, per_usd: int = 1) -> Decimal:
    """Return an amount in nano-USD; `per_usd` is 100 for amounts in cents. Raises InvalidBill.

    `value` is a Decimal, or text that holds one.
    """
    try:
        amount = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    except InvalidOperation:
        raise InvalidBill(f"{where}: {str(value)[:50]!r} is not an amount") from None
    if not amount.is_finite() or abs(amount) > _LARGEST:
        raise InvalidBill(f"{where}: {str(value)[:50]!r} is not an amount")
    return amount * NANO_USD / per_usd


def check_currency(value: object, where: str) -> None:
    """Raise InvalidBill for a currency other than USD."""
    if str(value).strip().lower() != "usd":
        raise InvalidBill(f"{where}: the currency is {str(value)[:20]!r}; only bills in USD can be compared")


def moment_of(value: object, where: str) -> int:
    """Return a time, ISO 8601 (UTC without an offset) or Unix seconds, as Unix microseconds; raise InvalidBill."""
    text = str(value).strip()
    try:
        if text.isdigit():
            return int(text) * 1_000_000 if len(text) <= 11 else _bad_moment(text, where)
        moment = datetime.fromisoformat(text.replace("Z", "+00:00") if text.endswith("Z") else text)
    except ValueError:
        return _bad_moment(text, where)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _bad_moment(text: str, where: str) -> int:
    raise InvalidBill(f"{where}: {text[:50]!r} is not a time")
