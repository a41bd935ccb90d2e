"""Reserves several limits together: all of them, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.flow.ports.limits import NOT_LIMITED, Demand, Limit, Reserve, Verdict, merged

# Accounts of which it is remembered what applies to them.
_MOST_KNOWN: Final = 4096


def all_of(*limits: Limit) -> Limit:
    """Return the limit that holds requests to all of `limits`, which are asked in this order."""
    return limits[0] if len(limits) == 1 else _AllOf(limits)


class _AllOf(Limit):
    """Limits that are reserved in order; when one refuses or fails, those before it are released."""

    __slots__ = ("_known", "_limits")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        # Those that apply to an account, which a new configuration replaces.
        self._known: dict[Principal, Sequence[Reserve]] = {}

    def check(self, account: Principal, /) -> None:
        for limit in self._limits:
            limit.check(account)

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        reserves = self._known.get(account)
        if reserves is None:
            reserves = self._remember(account)
        verdict = NOT_LIMITED
        try:
            for reserve in reserves:
                answer = reserve(demand, verdict)
                if not isinstance(answer, Verdict):
                    rest = reserves[reserves.index(reserve) + 1 :]
                    return self._reserve_later(verdict, answer, rest, demand)
                verdict = answer
        except BaseException:
            verdict.reservation.release()
            raise
        return verdict

    def _remember(self, account: Principal) -> Sequence[Reserve]:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        found = (limit.for_account(account) for limit in self._limits)
        reserves = self._known[account] = tuple(reserve for reserve in found if reserve is not None)
        return reserves

    async def _reserve_later(
        self, verdict: Verdict, waiting: Awaitable[Verdict], rest: Sequence[Reserve], demand: Demand
    ) -> Verdict:
        """Go on at the first limit that has to be waited for, and with the `rest`."""
        try:
            verdict = merged(verdict, await waiting)
            for reserve in rest:
                answer = reserve(demand, verdict)
                verdict = answer if isinstance(answer, Verdict) else merged(verdict, await answer)
        except BaseException:
            verdict.reservation.release()
            raise
        return verdict
