"""The price book: the prices of models at providers, decoded from the file that `make prices` writes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

import msgspec

from llm_gateway.core.pricing.model_names import LONGEST_NAME, ModelIndex, compile_clause, with_dashed_dates
from llm_gateway.core.pricing.price_schedule import (
    DatedPrices,
    PricePeriod,
    PriceSchedule,
    PriceVariant,
    UnknownSchedule,
)
from llm_gateway.core.pricing.price_table import Prices, TieredPrice
from llm_gateway.core.pricing.units import Unit, UnitSet

FORMAT: Final = 1
# So many names are remembered; then all are forgotten.
_REMEMBERED: Final = 4096
_UNKNOWN_PROVIDER: Final = UnknownSchedule("unknown_provider")
_UNKNOWN_MODEL: Final = UnknownSchedule("unknown_model")

# A price is a decimal, or a base and pairs of a start and a decimal; a condition a date, two times, or always.
_FilePrice = str | tuple[str, list[tuple[int, str]]]
_FilePrices = dict[str, _FilePrice]
_FileCondition = str | tuple[str, str] | None


class _FileUnit(msgspec.Struct, frozen=True, array_like=True):
    per: int
    dimensions: dict[str, str]


class _FileVariant(msgspec.Struct, frozen=True, array_like=True):
    context: dict[str, str]
    condition: _FileCondition
    prices: _FilePrices


class _FileModel(msgspec.Struct, frozen=True, array_like=True):
    name: str
    clause: Any
    dated: list[tuple[_FileCondition, _FilePrices]]
    variants: list[_FileVariant] = []
    least_audio_seconds: int = 0


class _FileProvider(msgspec.Struct, frozen=True):
    # Decoded when the provider is first asked for.
    models: msgspec.Raw
    # Matches other names of the provider.
    clause: Any = None
    # Providers whose models it has, too.
    fallbacks: list[str] = []


class _File(msgspec.Struct, frozen=True):
    format: int
    version: str
    units: dict[str, _FileUnit]
    providers: dict[str, _FileProvider]


_ROW: Final = msgspec.json.Decoder(_FileModel)


class _Models:
    """The models of one provider."""

    __slots__ = ("_index", "_rows")

    def __init__(self, raw: msgspec.Raw) -> None:
        # Rows stay raw, as views of the file: of some hundred models a gateway uses a few.
        self._rows = msgspec.json.decode(raw, type=list[msgspec.Raw])
        self._index = ModelIndex(_ROW.decode(row).clause for row in self._rows)

    def find(self, name: str) -> int | None:
        """Return the number of the row that matches `name`, which is in lower case; None if none does."""
        return self._index.find(name)

    def row(self, number: int) -> _FileModel:
        return _ROW.decode(self._rows[number])


class PriceBook:
    """The prices of models at providers.

    `version` changes whenever a price does; a ledger stores it beside each cost. Providers are decoded when they are
    first asked for, which takes milliseconds: look schedules up when a configuration is built, not in a request.
    """

    __slots__ = ("_aliases", "_by_name", "_by_row", "_models", "_providers", "units", "version")

    def __init__(self, data: bytes) -> None:
        """Decode the head of the file; ValueError if it is not one of this format."""
        try:
            file = msgspec.json.decode(data, type=_File)
        except msgspec.DecodeError as error:
            raise ValueError(f"the price book cannot be read: {error}") from error
        if file.format != FORMAT:
            raise ValueError(f"the price book has format {file.format}, and this program reads {FORMAT}")
        self.version = file.version
        self.units = UnitSet(
            {name: Unit(name, unit.per, unit.dimensions) for name, unit in file.units.items()}
        )
        self._providers = file.providers
        self._aliases = [
            (name, compile_clause(provider.clause))
            for name, provider in file.providers.items()
            if provider.clause is not None
        ]
        self._models: dict[str, _Models] = {}
        # By the owner, the number of its row, and whether the owner itself was asked.
        self._by_row: dict[tuple[str, int, bool], PriceSchedule] = {}
        self._by_name: dict[tuple[str, str], PriceSchedule] = {}

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of providers that have prices."""
        return tuple(self._providers)

    def provider(self, name: str) -> str | None:
        """Return the provider that goes by `name`, such as `azure` for `azure-openai`; None if there is none."""
        name = name.lower().strip()
        if name in self._providers:
            return name
        if len(name) > LONGEST_NAME:
            return None
        return next((provider for provider, matches in self._aliases if matches(name)), None)

    def prepare(self, providers: Iterable[str | None]) -> None:
        """Decode the models of these providers, so that `schedule` need not; unknown ones are passed over."""
        for provider in providers:
            found = None if provider is None else self.provider(provider)
            if found is not None:
                for owner in (found, *self._providers[found].fallbacks):
                    self._models_of(owner)

    def schedule(self, provider: str | None, model: str) -> PriceSchedule:
        """Return the prices of `model`, by any name that clients or `provider` use for it.

        By the schedule of a provider or model that the book does not have, every cost is unknown. So it is without a
        provider: the same name means different prices at different providers.
        """
        found = None if provider is None else self.provider(provider)
        if found is None:
            return _UNKNOWN_PROVIDER
        if len(model) > LONGEST_NAME:
            return _UNKNOWN_MODEL
        key = found, model.lower()
        schedule = self._by_name.get(key)
        if schedule is None:
            schedule = self._find(*key)
            if len(self._by_name) >= _REMEMBERED:
                self._by_name.clear()
            self._by_name[key] = schedule
        return schedule

    def _find(self, provider: str, model: str) -> PriceSchedule:
        dashed = with_dashed_dates(model)
        for name in (model,) if dashed == model else (model, dashed):
            for owner in (provider, *self._providers[provider].fallbacks):
                row = self._models_of(owner).find(name)
                if row is not None:
                    return self._schedule(owner, row, owner == provider)
        return _UNKNOWN_MODEL

    def _models_of(self, provider: str) -> _Models:
        models = self._models.get(provider)
        if models is None:
            models = self._models[provider] = _Models(self._providers[provider].models)
        return models

    def _schedule(self, owner: str, row: int, has_variants: bool) -> PriceSchedule:
        """Return the schedule of one row; without variants, because they are offers of the owner only."""
        key = owner, row, has_variants
        schedule = self._by_row.get(key)
        if schedule is None:
            model = self._models_of(owner).row(row)
            variants = model.variants if has_variants else []
            schedule = self._by_row[key] = PriceSchedule(
                model.name,
                self.units,
                [DatedPrices(_period(condition), _prices(prices)) for condition, prices in model.dated],
                [
                    PriceVariant(item.context, _period(item.condition), _prices(item.prices))
                    for item in variants
                ],
                model.least_audio_seconds,
            )
        return schedule


def _prices(prices: _FilePrices) -> Prices:
    return {
        name: Decimal(price)
        if isinstance(price, str)
        else TieredPrice(Decimal(price[0]), tuple((start, Decimal(amount)) for start, amount in price[1]))
        for name, price in prices.items()
    }


def _period(condition: _FileCondition) -> PricePeriod:
    if condition is None:
        return PricePeriod()
    if isinstance(condition, str):
        midnight = datetime.combine(date.fromisoformat(condition), time(), UTC)
        return PricePeriod(since=int(midnight.timestamp()) * 1_000_000)
    first, last = (_time_of_day(text) for text in condition)
    return PricePeriod(first=first, last=last)


def _time_of_day(text: str) -> int:
    value = time.fromisoformat(text)
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
