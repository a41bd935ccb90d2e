"""The prices of one deployment: an administrator's, while they apply, and those of the price book otherwise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from llm_gateway.core.pricing.flat_price import PlainPrice
from llm_gateway.core.pricing.price_schedule import PriceSchedule
from llm_gateway.core.pricing.price_table import PriceTable

_NO_CONTEXT: Final[Mapping[str, str]] = {}

PriceSource = Literal["catalog", "override"]


# It refers to values that never refer back, so the garbage collector skips it (gc=False).
class PricesInForce(msgspec.Struct, frozen=True, gc=False):
    """The prices that apply to one request.

    `version` changes whenever the prices do: the price book's, or one that names the override and its content.
    `table.unknown` is set if there are no prices; `source` is then "catalog".
    """

    table: PriceTable
    source: PriceSource
    version: str

    @property
    def are_known(self) -> bool:
        return self.table.unknown is None


class OverridePeriod(msgspec.Struct, frozen=True):
    """An administrator's prices, and when they apply: inclusive, exclusive; Unix microseconds, None = always."""

    prices: PricesInForce
    valid_from: int | None = None
    valid_until: int | None = None
    # Those with a higher rank win over others that apply at the same time.
    rank: int = 0

    def includes(self, at: int) -> bool:
        """Tell whether the prices apply `at` this instant."""
        return (self.valid_from is None or self.valid_from <= at) and (
            self.valid_until is None or at < self.valid_until
        )


class DeploymentPrices:
    """The prices of one deployment over time; immutable.

    An override that applies replaces the price book's prices as a whole, with their tiers and variants. Of several
    that apply at once, those with the highest rank win; of these the one that began last; of those that began
    together, the last one given.
    """

    __slots__ = ("_is_constant", "_overrides", "_schedule", "_starts", "_version", "ordinary", "plain")

    def __init__(
        self, schedule: PriceSchedule, version: str, overrides: Sequence[OverridePeriod] = ()
    ) -> None:
        """`schedule` has the prices of the book with this `version`."""
        self._schedule = schedule
        self._version = version
        # The override in force before the first of the `_starts`, and after each of them.
        self._starts, self._overrides = _timeline(overrides)
        # What applies at all times without a context, and in all contexts if `_is_constant`. Almost every deployment
        # has this, and `at` need not look at the time. None if it depends on the time.
        self.ordinary: PricesInForce | None = None
        self._is_constant = False
        # What plain text costs by these prices, where every token costs whole nano-USD.
        self.plain: PlainPrice | None = None
        override = self._overrides[0]
        if self._starts:
            return
        if override is not None:
            self.ordinary, self._is_constant = override, True
        elif schedule.ordinary is not None:
            self.ordinary = PricesInForce(schedule.ordinary, "catalog", version)
            self._is_constant = schedule.is_constant
        if self.ordinary is not None:
            self.plain = _plain(self.ordinary)

    def at(self, created_at_us: int, context: Mapping[str, str] = _NO_CONTEXT) -> PricesInForce:
        """Return the prices of a request that began at `created_at_us`, in Unix microseconds.

        `context` says what the price book's prices depend on: `service_tier` (as served), `processing` (`batch`),
        `speed`.
        """
        ordinary = self.ordinary
        if ordinary is not None and (self._is_constant or not context):
            return ordinary
        override = self._overrides[bisect_right(self._starts, created_at_us)]
        if override is not None:
            return override
        return PricesInForce(self._schedule.table(created_at_us, context), "catalog", self._version)


def _plain(prices: PricesInForce) -> PlainPrice | None:
    flat = prices.table.flat
    if flat is None or flat.half:
        return None
    return PlainPrice(flat.most_input, flat.input, flat.output, prices.source, prices.version)


def _timeline(
    overrides: Sequence[OverridePeriod],
) -> tuple[tuple[int, ...], tuple[PricesInForce | None, ...]]:
    """Return the instants at which another override begins to win, and the winners before and after them."""
    starts = sorted(
        {edge for one in overrides for edge in (one.valid_from, one.valid_until) if edge is not None}
    )
    # Any instant before the first edge.
    first = starts[0] - 1 if starts else 0
    return tuple(starts), tuple(_winner(overrides, at) for at in (first, *starts))


def _winner(overrides: Sequence[OverridePeriod], at: int) -> PricesInForce | None:
    applying = [one for one in overrides if one.includes(at)]
    if not applying:
        return None
    # None, since always, is earlier than any time. The last one of equal ones is the first of the reversed.
    winner = max(
        reversed(applying), key=lambda one: (one.rank, one.valid_from is not None, one.valid_from or 0)
    )
    return winner.prices
