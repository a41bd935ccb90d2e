"""Stored price overrides, what an admin may set on them, and whether their prices are plausible."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.core.config.prices import read_price
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.pricing.magnitude import magnitude_doubt
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.core.pricing.price_list import price_list
from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow

# The newest prices of the price book are what others are compared with.
_LATEST = 1 << 60


class StoredPrice(StoredRow, frozen=True, kw_only=True):
    """A price override as it is stored."""

    resource: ClassVar[str] = "price"

    # A provider_key.
    provider: str
    upstream_model: str
    prices: dict[str, str] | UnsetType
    valid_from: int | UnsetType | None = None
    valid_until: int | UnsetType | None = None

    @property
    def name_or_key(self) -> str:
        return f"{self.provider}/{self.upstream_model}"

    @property
    def label(self) -> str:
        # A model may have several, for different times.
        return f"price {self.id} {self.name_or_key!r}"


class PriceUpdate(RowUpdate[StoredPrice], frozen=True, kw_only=True):
    """What an admin may set on a price override."""

    stored: ClassVar[type[StoredRow]] = StoredPrice

    provider: str | UnsetType = UNSET
    upstream_model: str | UnsetType = UNSET
    prices: dict[str, str] | UnsetType = UNSET
    # None = since, or until, always.
    valid_from: int | UnsetType | None = UNSET
    valid_until: int | UnsetType | None = UNSET
    # Not stored: the admin means prices that look like a mistake.
    confirm_magnitude: bool | UnsetType = UNSET


def check_magnitude(
    update: PriceUpdate, before: StoredPrice | None, snapshot: Snapshot | None, book: PriceBook | None
) -> PriceUpdate:
    """Return `update` to be stored; raise Unprocessable if its prices look like a mistake and are not confirmed.

    `before` is the row that it changes.
    """
    stored = msgspec.structs.replace(update, confirm_magnitude=UNSET)
    prices, provider, model = (
        getattr(before, name, None) if value is UNSET else value
        for name, value in (
            ("prices", update.prices),
            ("provider", update.provider),
            ("upstream_model", update.upstream_model),
        )
    )
    is_new = before is None or (prices, provider, model) != (
        before.prices,
        before.provider,
        before.upstream_model,
    )
    if book is None or update.confirm_magnitude is True or not is_new or not isinstance(prices, dict):
        return stored
    doubts = price_doubts(prices, str(provider), str(model), snapshot, book)
    if doubts:
        sentences = "; ".join(doubt for _, doubt in doubts)
        end = "" if sentences.endswith("?") else "."
        message = (
            f"{sentences}{end} Send confirm_magnitude: true to keep {'it' if len(doubts) == 1 else 'them'}."
        )
        raise Unprocessable(message, param=f"prices.{doubts[0][0]}")
    return stored


def price_doubts(
    prices: Mapping[str, str], provider: str, model: str, snapshot: Snapshot | None, book: PriceBook
) -> list[tuple[str, str]]:
    """Return (unit, reason) for each of the prices that looks like a mistake."""
    usual = _usual_prices(snapshot, book, provider, model)
    return [
        (name, doubt)
        for name, text in prices.items()
        if name in book.units
        and (amount := read_price(text)) is not None
        and (doubt := magnitude_doubt(book.units[name], amount, usual.get(name))) is not None
    ]


def _usual_prices(
    snapshot: Snapshot | None, book: PriceBook, provider_key: str, model: str
) -> Mapping[str, Decimal]:
    """Return what the price book has for the model, at the provider or where its kind has it from."""
    enabled = () if snapshot is None else (*snapshot.providers, *snapshot.disabled)
    found = next((one for one in enabled if one.provider.provider_key == provider_key), None)
    name = None if found is None else found.price_provider or found.kind.price_provider or found.kind.name
    bands = price_list(book.units, book.schedule(name, model).table(_LATEST))
    return bands[0][1] if bands else {}
