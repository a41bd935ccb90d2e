"""What accounts have used of their limits now, for pages that show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, cast

from llm_gateway.core.config.accounts import AppliedLimits
from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.accounting.use_limit import account_key
from llm_gateway.flow.ports.use_limits import Claim, LimitName, UseStore

_NAMES: Final = cast("tuple[LimitName, ...]", Limits.__struct_fields__)


class LimitUse(NamedTuple):
    """One limit of one account, and what is used and held of it."""

    account: AppliedLimits
    name: LimitName
    limit: int
    used: int
    # By open requests.
    held: int


def use_now(store: UseStore, accounts: Iterable[AppliedLimits]) -> Sequence[LimitUse]:
    """Return the use of each limit of `accounts`, as far as this machine knows."""
    return [
        _use_of(store, account, name, limit)
        for account in accounts
        for name in _NAMES
        if (limit := getattr(account.limits, name)) is not None
    ]


def _use_of(store: UseStore, account: AppliedLimits, name: LimitName, limit: int) -> LimitUse:
    # A limit of nothing is always short, and a shortage has the numbers.
    nothing = Claim(account_key(account.scope, str(account.id)), Limits(**{name: 0}), 1)
    shortage = store.shortage([nothing])
    if shortage is None:
        return LimitUse(account, name, limit, 0, 0)
    return LimitUse(account, name, limit, shortage.used, shortage.held)
