"""The prices of one model over time: which table applies to a request that began at some instant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from llm_gateway.core.pricing.cost import UnknownCost
from llm_gateway.core.pricing.price_table import Prices, PriceTable, price_table, unknown_price
from llm_gateway.core.pricing.units import UnitSet

_DAY: Final = 86_400_000_000
# Combinations of times and contexts whose tables a schedule remembers.
_REMEMBERED: Final = 256
_NO_CONTEXT: Final[Mapping[str, str]] = {}


class PricePeriod(msgspec.Struct, frozen=True):
    """When prices apply; by default always.

    From `since` on, in Unix microseconds, and of each day in UTC from `first` until before `last`, in microseconds
    since midnight; past midnight if `last` is the smaller one.
    """

    since: int | None = None
    first: int = 0
    last: int = _DAY

    def includes(self, at: int) -> bool:
        """Tell whether the prices apply `at` this instant, in Unix microseconds."""
        if self.since is not None and at < self.since:
            return False
        time = at % _DAY
        if self.last < self.first:
            return time >= self.first or time < self.last
        return self.first <= time < self.last


class DatedPrices(msgspec.Struct, frozen=True):
    """Prices and when they apply."""

    period: PricePeriod
    prices: Prices


class PriceVariant(msgspec.Struct, frozen=True):
    """Prices that replace others in some contexts, such as `{"service_tier": "flex"}`, during `period`."""

    context: Mapping[str, str]
    period: PricePeriod
    prices: Prices


class PriceSchedule:
    """The prices of one model: `table` returns those in force.

    `model` is the name by which the source of the prices has the model; None if it does not have it. A schedule is
    immutable; the tables of variants are made when they are first needed.
    """

    __slots__ = (
        "_dated",
        "_found",
        "_keys",
        "_least_audio_seconds",
        "_only",
        "_starts",
        "_tables",
        "_times",
        "_units",
        "_variants",
        "model",
    )

    def __init__(
        self,
        model: str | None,
        units: UnitSet,
        dated: Sequence[DatedPrices],
        variants: Sequence[PriceVariant] = (),
        least_audio_seconds: int = 0,
    ) -> None:
        """Of `dated`, the last that applies counts, the first if none does; of `variants`, the first for each unit.

        Without dated prices, costs are unknown. Raises InvalidPrices if dated prices are not valid.
        """
        self.model = model
        self._units = units
        self._dated = tuple(dated) or (DatedPrices(PricePeriod(), {}),)
        self._variants = tuple(variants)
        self._least_audio_seconds = least_audio_seconds
        self._keys = tuple(sorted({key for variant in variants for key in variant.context}))
        periods = [item.period for item in self._dated] + [item.period for item in self._variants]
        # The instants at which prices change, and the times of day. Between two of them they do not.
        self._starts = sorted({period.since for period in periods if period.since is not None})
        self._times = sorted({time for period in periods for time in (period.first, period.last)} - {0, _DAY})
        # By the position in `dated`, and those in `variants`.
        self._tables: dict[tuple[int, tuple[int, ...]], PriceTable] = {}
        # By the positions in `_starts` and `_times`, and the values of `_keys`.
        self._found: dict[tuple[int, int, tuple[str | None, ...]], PriceTable] = {}
        for position in range(len(self._dated)):
            self._table(position, ())
        self._only = self._tables[0, ()] if len(self._dated) == 1 else None

    @property
    def is_constant(self) -> bool:
        """Whether one table applies at all times and in all contexts."""
        return self._only is not None and not self._keys

    @property
    def ordinary(self) -> PriceTable | None:
        """The table that applies at all times without a context; None if it depends on the time."""
        return self._only

    def table(self, at: int, context: Mapping[str, str] = _NO_CONTEXT) -> PriceTable:
        """Return the prices of a request that began `at` this instant, in Unix microseconds.

        `context` says what variants depend on: `service_tier` (as served), `processing` (`batch`), `speed`. Raises
        InvalidPrices if a variant does not fit the prices that it replaces.
        """
        if self._only is not None and not (context and self._keys):
            return self._only
        key = (
            bisect_right(self._starts, at),
            bisect_right(self._times, at % _DAY) if self._times else 0,
            tuple(map(context.get, self._keys)) if context else (),
        )
        table = self._found.get(key)
        if table is None:
            table = self._table(self._position(at), self._matching(at, context))
            # Providers choose the values, so there may be any number.
            if len(self._found) < _REMEMBERED:
                self._found[key] = table
        return table

    def _position(self, at: int) -> int:
        applying = [position for position, item in enumerate(self._dated) if item.period.includes(at)]
        return applying[-1] if applying else 0

    def _matching(self, at: int, context: Mapping[str, str]) -> tuple[int, ...]:
        return tuple(
            position
            for position, variant in enumerate(self._variants)
            if variant.period.includes(at) and variant.context.items() <= context.items()
        )

    def _table(self, position: int, variants: tuple[int, ...]) -> PriceTable:
        table = self._tables.get((position, variants))
        if table is None:
            prices = dict(self._dated[position].prices)
            for variant in reversed(variants):
                prices.update(self._variants[variant].prices)
            table = price_table(self._units, prices, self._least_audio_seconds)
            self._tables[position, variants] = table
        return table


class UnknownSchedule(PriceSchedule):
    """The prices of a model that the price book does not have."""

    __slots__ = ()

    def __init__(self, reason: UnknownCost) -> None:
        self.model = None
        self._keys = ()
        self._only = unknown_price(reason)
