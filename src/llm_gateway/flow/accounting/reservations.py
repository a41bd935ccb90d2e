"""Reserves several limits together: all of them, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.flow.ports.limits import NOT_LIMITED, Demand, Limit, Reserve, Verdict

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
        # What reserves for an account, which a new configuration replaces.
        self._known: dict[Principal, Reserve | None] = {}

    def check(self, account: Principal, /) -> None:
        for limit in self._limits:
            limit.check(account)

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        known = self._known
        reserve = known[account] if account in known else self.for_account(account)
        return NOT_LIMITED if reserve is None else reserve(demand)

    def for_account(self, account: Principal, first: Reserve | None = None, /) -> Reserve | None:
        known = self._known
        if first is None and account in known:
            return known[account]
        reserve = first
        for limit in self._limits:
            reserve = limit.for_account(account, reserve)
        if first is None:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[account] = reserve
        return reserve
