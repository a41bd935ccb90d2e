"""Reserves several limits together: all of them, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.limits import (
    NOT_LIMITED,
    NOTHING_HELD,
    Demand,
    Limit,
    Reservation,
    Verdict,
)


def all_of(*limits: Limit) -> Limit:
    """Return the limit that holds requests to all of `limits`, which are asked in this order."""
    return limits[0] if len(limits) == 1 else _AllOf(limits)


class _AllOf(Limit):
    """Limits that are reserved in order; when one refuses or fails, those before it are released.

    The verdict shows the limit on requests and the limit on tokens that are nearest to their ends.
    """

    __slots__ = ("_limits", "_reserve")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        self._reserve = tuple(limit.reserve for limit in limits)

    def check(self, account: Principal, /) -> None:
        for limit in self._limits:
            limit.check(account)

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        merged = NOT_LIMITED
        rest = iter(self._reserve)
        try:
            for reserve in rest:
                answer = reserve(account, demand)
                if answer is NOT_LIMITED:
                    continue
                if not isinstance(answer, Verdict):
                    return self._reserve_later(merged, answer, rest, account, demand)
                merged = answer if merged is NOT_LIMITED else _merged(merged, answer)
        except BaseException:
            merged.reservation.release()
            raise
        return merged

    async def _reserve_later(
        self,
        merged: Verdict,
        waiting: Awaitable[Verdict],
        rest: Iterator[Callable[[Principal, Demand], Verdict | Awaitable[Verdict]]],
        account: Principal,
        demand: Demand,
    ) -> Verdict:
        """Go on at the first limit that has to be waited for, and with the `rest`."""
        try:
            merged = _merged(merged, await waiting)
            for reserve in rest:
                answer = reserve(account, demand)
                merged = _merged(merged, answer if isinstance(answer, Verdict) else await answer)
        except BaseException:
            merged.reservation.release()
            raise
        return merged


class _Both(Reservation):
    """Reservations that end together, the last one first."""

    __slots__ = ("_first", "_last")

    def __init__(self, first: Reservation, last: Reservation) -> None:
        self._first = first
        self._last = last

    def settle(self, record: UsageRecord) -> None:
        self._last.settle(record)
        self._first.settle(record)

    def release(self) -> None:
        self._last.release()
        self._first.release()


def _merged(first: Verdict, last: Verdict) -> Verdict:
    """Return the verdict of two limits that both allow a request."""
    if first is NOT_LIMITED:
        return last
    if last is NOT_LIMITED:
        return first
    shown = last if last.limit and (not first.limit or last.remaining < first.remaining) else first
    reservation, tokens, room = first.reservation, first.tokens, last.tokens
    if reservation is NOTHING_HELD:
        reservation = last.reservation
    elif last.reservation is not NOTHING_HELD:
        reservation = _Both(reservation, last.reservation)
    if tokens is None or (room is not None and room.remaining < tokens.remaining):
        tokens = room
    # By position, which is several times as fast as by name.
    return Verdict(
        shown.allowed,
        shown.limit,
        shown.remaining,
        shown.retry_after,
        shown.reset_after,
        reservation,
        tokens,
    )
