"""Prices that an administrator sets for a model at a provider, and the prices that deployments have by them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import lru_cache

import msgspec

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.model_patterns import ModelPatterns, is_glob
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices, OverridePeriod, PricesInForce
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.core.pricing.price_schedule import PriceSchedule
from llm_gateway.core.pricing.price_table import InvalidPrices, PriceTable, price_table
from llm_gateway.core.pricing.units import UnitSet

_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")
_HASH_LENGTH = 8
_REMEMBERED = 10_000


class PriceOverride(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of one upstream model at one provider, or of several."""

    id: int
    # A provider_key.
    provider: str
    # A name or a glob.
    upstream_model: str
    # By unit (`core.pricing.units`): decimal USD as text, for tokens per million. "0" means free.
    prices: dict[str, str]
    # When they apply: inclusive, exclusive; Unix microseconds, None = always.
    valid_from: int | None = None
    valid_until: int | None = None

    @property
    def label(self) -> str:
        """Return what faults and version notes call it."""
        return f"{self.provider}/{self.upstream_model}"

    @property
    def version(self) -> str:
        """Return what a ledger stores beside costs: it changes whenever the prices or their dates do."""
        prices = sorted((name, _canonical(text)) for name, text in self.prices.items())
        content = msgspec.json.encode(
            [self.provider, self.upstream_model, prices, self.valid_from, self.valid_until]
        )
        return f"override-{self.id}-{hashlib.sha256(content).hexdigest()[:_HASH_LENGTH]}"


def read_price(text: str) -> Decimal | None:
    """Return the price that `text` says, None if it is not a plain decimal number."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def _canonical(text: str) -> str:
    """Write equal numbers alike: 2.50 as 2.5."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def price_faults(override: PriceOverride, units: UnitSet | None) -> list[Fault]:
    """Return everything that is wrong with an override; `units` are those of the price book, if there is one."""
    return [
        Fault("price", override.label, field, message, override.id)
        for field, message in _faults(override, units)
    ]


def _faults(override: PriceOverride, units: UnitSet | None) -> Iterator[tuple[str, str]]:
    if not override.provider:
        yield "provider", "provider must not be empty"
    if not override.upstream_model:
        yield "upstream_model", "upstream_model must not be empty"
    since, until = override.valid_from, override.valid_until
    if since is not None and until is not None and until <= since:
        yield "valid_until", "valid_until must be later than valid_from"
    if not override.prices:
        yield "prices", "prices must have one unit at least, such as input_tokens; 0 means free"
    wrong = False
    for name, text in override.prices.items():
        if units is not None and name not in units:
            yield f"prices.{name}", _unknown_unit(name, units)
        elif read_price(text) is None:
            yield f"prices.{name}", f"prices.{name} must be a decimal number of USD, such as 2.5"
        else:
            continue
        wrong = True
    if units is None or wrong:
        return
    table = _table(units, tuple(override.prices.items()))
    if isinstance(table, InvalidPrices):
        yield "prices", f"prices: {table}"


# Remembered, because every change of the configuration builds all tables, and most overrides stay.
@lru_cache(maxsize=_REMEMBERED)
def _table(units: UnitSet, prices: tuple[tuple[str, str], ...]) -> PriceTable | InvalidPrices:
    try:
        # What an administrator left out is forgotten more often than free.
        return price_table(units, {name: Decimal(text) for name, text in prices}, is_free_if_absent=False)
    except InvalidPrices as error:
        return error.with_traceback(None)


def _unknown_unit(name: str, units: UnitSet) -> str:
    # Imported on demand: it is needed for mistakes only.
    from difflib import get_close_matches  # noqa: PLC0415

    near = get_close_matches(name, list(units), n=3, cutoff=0.5) or ["input_tokens", "output_tokens"]
    return f"prices.{name} is not a unit that models are billed by; similar units are {', '.join(near)}"


class PriceLookup:
    """The prices of the deployments of one configuration: the price book's, and an administrator's overrides."""

    __slots__ = ("_by_schedule", "_globs", "_overrides", "book")

    def __init__(self, book: PriceBook, overrides: Iterable[PriceOverride]) -> None:
        """`overrides` are valid. Those for a name win over globs; of those that began together, the newest wins."""
        self.book = book
        self._overrides: dict[tuple[str, str], list[PriceOverride]] = {}
        self._globs: dict[str, list[tuple[ModelPatterns, PriceOverride]]] = {}
        for override in sorted(overrides, key=lambda one: one.id):
            model = override.upstream_model
            if is_glob(model):
                globs = self._globs.setdefault(override.provider, [])
                globs.append((ModelPatterns((model,)), override))
            else:
                self._overrides.setdefault((override.provider, model), []).append(override)
        # Most deployments have no override, and share these.
        self._by_schedule: dict[PriceSchedule, DeploymentPrices] = {}

    def prices(self, provider_key: str, price_provider: str | None, upstream_model: str) -> DeploymentPrices:
        """Return the prices of a deployment; `price_provider` is the price book's name for its provider."""
        schedule = self.book.schedule(price_provider, upstream_model)
        overrides = [self._period(one, 1) for one in self._overrides.get((provider_key, upstream_model), ())]
        if self._globs:
            globs = self._globs.get(provider_key, ())
            overrides += [self._period(one, 0) for pattern, one in globs if upstream_model in pattern]
        if overrides:
            return DeploymentPrices(schedule, self.book.version, overrides)
        prices = self._by_schedule.get(schedule)
        if prices is None:
            prices = self._by_schedule[schedule] = DeploymentPrices(schedule, self.book.version)
        return prices

    def _period(self, override: PriceOverride, rank: int) -> OverridePeriod:
        table = _table(self.book.units, tuple(override.prices.items()))
        if isinstance(table, InvalidPrices):
            raise table
        prices = PricesInForce(table, "override", override.version)
        return OverridePeriod(prices, override.valid_from, override.valid_until, rank)
