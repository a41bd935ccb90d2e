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
    Room,
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
        verdicts: list[Verdict] = []
        rest = iter(self._reserve)
        try:
            for reserve in rest:
                answer = reserve(account, demand)
                if answer is NOT_LIMITED:
                    continue
                if not isinstance(answer, Verdict):
                    return self._reserve_later(verdicts, answer, rest, account, demand)
                verdicts.append(answer)
        except BaseException:
            _release(verdicts)
            raise
        return _together(verdicts)

    async def _reserve_later(
        self,
        verdicts: list[Verdict],
        waiting: Awaitable[Verdict],
        rest: Iterator[Callable[[Principal, Demand], Verdict | Awaitable[Verdict]]],
        account: Principal,
        demand: Demand,
    ) -> Verdict:
        """Go on at the first limit that has to be waited for, and with the `rest`."""
        try:
            verdicts.append(await waiting)
            for reserve in rest:
                answer = reserve(account, demand)
                verdicts.append(answer if isinstance(answer, Verdict) else await answer)
        except BaseException:
            _release(verdicts)
            raise
        return _together([verdict for verdict in verdicts if verdict is not NOT_LIMITED])


class _Reservations(Reservation):
    """Reservations that end together, the last one first."""

    __slots__ = ("_reservations",)

    def __init__(self, reservations: Sequence[Reservation]) -> None:
        self._reservations = reservations

    def settle(self, record: UsageRecord) -> None:
        for reservation in reversed(self._reservations):
            reservation.settle(record)

    def release(self) -> None:
        for reservation in reversed(self._reservations):
            reservation.release()


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    if len(verdicts) < 2:
        return verdicts[0] if verdicts else NOT_LIMITED
    shown = verdicts[0]
    held: list[Reservation] = []
    tokens: Room | None = None
    for verdict in verdicts:
        if verdict.limit and (not shown.limit or verdict.remaining < shown.remaining):
            shown = verdict
        if verdict.reservation is not NOTHING_HELD:
            held.append(verdict.reservation)
        room = verdict.tokens
        if room is not None and (tokens is None or room.remaining < tokens.remaining):
            tokens = room
    # By position, which is several times as fast as by name.
    return Verdict(
        shown.allowed,
        shown.limit,
        shown.remaining,
        shown.retry_after,
        shown.reset_after,
        _Reservations(held) if len(held) > 1 else held[0] if held else NOTHING_HELD,
        tokens,
    )


def _release(verdicts: Sequence[Verdict]) -> None:
    for verdict in reversed(verdicts):
        verdict.reservation.release()
