"""A price override as the admin API and the console take it and show it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from msgspec import UNSET
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema

from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.pricing.price_list import decimal_text
from llm_gateway.core.times import read_time
from llm_gateway.flow.config.rows.prices import PriceUpdate, StoredPrice
from llm_gateway.resources.shapes import (
    READ_ONLY_TEXT,
    ModelName,
    RowView,
    Time,
    UpdateBody,
    WriteAnswer,
    printable,
)
from llm_gateway.resources.times import shown_time

# Digits of a JSON number that every reader keeps.
_EXACT_DIGITS = 15
# Validation of the whole configuration has narrower bounds; this one keeps 1e999999 from being written out.
_LONGEST = 40


def _price_text(amount: object) -> str:
    """Return the decimal that text or a number says, without an exponent."""
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        raise ValueError("must be USD as text or a number, such as 2.5")  # noqa: TRY004 - pydantic's way to refuse
    try:
        value = Decimal(repr(amount) if isinstance(amount, float) else amount)
    except InvalidOperation:
        raise ValueError("must be USD as text or a number, such as 2.5") from None
    if not value.is_finite() or abs(value.adjusted()) > _LONGEST or len(value.as_tuple().digits) > _LONGEST:
        raise ValueError("must be USD as text or a number, such as 2.5")
    if isinstance(amount, float) and len(value.as_tuple().digits) > _EXACT_DIGITS:
        raise ValueError(f"must be sent as text, because a number has {_EXACT_DIGITS} digits at most")
    return decimal_text(value)


_ProviderKey = Annotated[
    str,
    Field(min_length=1, max_length=128, description="The provider_key of the provider that is paid."),
    AfterValidator(printable),
]
_UpstreamModel = Annotated[
    ModelName,
    Field(
        description="The model as the provider names it, what model_mapping leads to; or a glob, such as `*`."
    ),
]
_Unit = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(printable)]
_Price = Annotated[
    str,
    BeforeValidator(_price_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]}),
]
_PRICES = (
    "USD by unit, as text or numbers with at most 18 decimals; 0 means free. Units that end in `_tokens` or "
    "`_characters`: per 1,000,000; in `_seconds`: per 3,600; in `_pixels`: per 1,000,000,000; all others: per 1,000. "
    "They replace all prices of the model."
)
_Prices = Annotated[
    dict[_Unit, _Price],
    Field(
        min_length=1,
        max_length=100,
        description=_PRICES,
        examples=[{"input_tokens": "2.5", "cache_read_tokens": "1.25", "output_tokens": "10"}],
    ),
]
_FROM = "When they begin to apply, in ISO 8601; null: they always did."
_UNTIL = "When they no longer apply, in ISO 8601; null: they always will."


class PriceChange(UpdateBody):
    """PUT and PATCH: what is left out stays; `prices` is replaced as a whole."""

    # A default_factory only says "may be left out": its value is never used.
    provider: _ProviderKey = Field(default_factory=str)
    upstream_model: _UpstreamModel = Field(default_factory=str)
    prices: _Prices = Field(default_factory=dict)
    valid_from: Time | None = Field(None, description=_FROM)
    valid_until: Time | None = Field(None, description=_UNTIL)
    confirm_magnitude: bool = Field(
        default_factory=bool, description="true: store prices that look like a mistake, too."
    )
    price_version: str | None = Field(None, description=READ_ONLY_TEXT)

    def update(self) -> PriceUpdate:
        given = self.given()
        for name in ("valid_from", "valid_until"):
            if given.get(name) is not None:
                given[name] = read_time(given[name])
        return PriceUpdate(**given)


class NewPrice(PriceChange):
    """POST."""

    provider: _ProviderKey
    upstream_model: _UpstreamModel
    prices: _Prices


class PriceView(RowView):
    """A price override as lists show it."""

    id: int
    provider: str
    upstream_model: str
    prices: dict[str, str] | None = Field(description=f"{_PRICES} null: what is stored cannot be read.")
    valid_from: str | None = Field(description=_FROM)
    valid_until: str | None = Field(description=_UNTIL)
    price_version: str | None = Field(
        description="As usage rows have it; another one after each change of the prices or their dates."
    )
    created_at: str | None = Field(description="null: what is stored cannot be read.")
    updated_at: str | None


class WrittenPrice(PriceView, WriteAnswer):
    """A price override after a write."""


class PricePage(BaseModel):
    """One page of price overrides, by id."""

    data: list[PriceView]
    next_cursor: str | None


def shown(row: StoredPrice, warnings: list[str]) -> dict[str, Any]:
    """Return a stored override as an admin sees it; warnings only if there are any."""
    return {
        "id": row.id,
        "provider": row.provider,
        "upstream_model": row.upstream_model,
        "prices": None if row.prices is UNSET else row.prices,
        "valid_from": None if row.valid_from is None else shown_time(row.valid_from),
        "valid_until": None if row.valid_until is None else shown_time(row.valid_until),
        "price_version": _version(row),
        "created_at": shown_time(row.created_at),
        "updated_at": shown_time(row.updated_at),
        **({"warnings": warnings} if warnings else {}),
    }


def _version(row: StoredPrice) -> str | None:
    prices, since, until = row.prices, row.valid_from, row.valid_until
    if prices is UNSET or since is UNSET or until is UNSET:
        return None
    return PriceOverride(
        id=row.id,
        provider=row.provider,
        upstream_model=row.upstream_model,
        prices=prices,
        valid_from=since,
        valid_until=until,
    ).version
