"""Budgets of money: what a machine has borrowed of them, what requests hold of that, and the balances themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.flow.ports.limits import Reservation

# Why nothing was held. `spent`: the budget has no more. `short`: the machine has borrowed too little so far.
# `unavailable`: the database does not answer, so that nobody knows what is left.
ShortageReason = Literal["spent", "short", "unavailable"]


class Shortage(NamedTuple):
    """The window that could not be held, and its numbers as they were read last, in nano-USD.

    `held` is what open requests and other machines hold.
    """

    covered: Covered
    reason: ShortageReason
    spent: int
    held: int


class Hold(Protocol):
    """What one request holds of the budgets that cover it. One of the methods is called, once; neither raises."""

    def settle(self, cost_nano_usd: int) -> None:
        """Replace what was held with what the request cost."""

    def release(self) -> None:
        """Give everything back."""


# Told of the record that a reservation is settled with.
OnSettled: TypeAlias = "Callable[[SettledRequest], None]"
# Holds an amount for a request that is settled with its record; None = it did nothing.
TryHold: TypeAlias = "Callable[[int], Reservation | None]"


# A struct is made several times as fast as an object with an `__init__`. It is part of no cycle (gc=False).
class HoldReservation(msgspec.Struct, gc=False):
    """Makes a `Reservation` of a hold."""

    hold: Hold
    on_settled: OnSettled
    on_stated: OnSettled

    def settle(self, record: SettledRequest) -> None:
        self.hold.settle(record.cost_nano_usd or 0)
        self.on_settled(record)
        if record.cost_source == "provider":
            self.on_stated(record)

    def release(self) -> None:
        self.hold.release()


class PreparedHold(Protocol):
    """Holds amounts in the same windows again and again, for requests that are settled with their records.

    `try_hold` does so where nothing is unusual, in one call. If it returns None, `hold` decides.
    """

    try_hold: TryHold

    def hold(self, amount: int) -> Reservation | Shortage | None:
        """Do as `BudgetShares.try_hold` does; from then on `try_hold` knows what was found meanwhile."""


def nothing_is_known(amount: int) -> None:
    """Hold nothing: a `TryHold` of those for whom every request is unusual."""
    del amount


class BudgetShares(Protocol):
    """What this machine has borrowed of each window, shared by its workers."""

    def try_hold(self, windows: Sequence[Covered], amount: int) -> Hold | Shortage | None:
        """Hold `amount` in all windows or in none; None when another worker is at it this moment."""

    def prepare(
        self, windows: Sequence[Covered], on_settled: OnSettled, on_stated: OnSettled
    ) -> PreparedHold:
        """Return what holds amounts in these windows, of which there is one at least.

        Its reservations tell `on_settled` of the record that they are settled with, and then `on_stated` if the
        provider stated the cost.
        """
        return _AskedEachTime(self, windows, on_settled, on_stated)

    async def hold(self, windows: Sequence[Covered], amount: int, timeout: float) -> Hold | Shortage:
        """Do as `try_hold`, and wait up to `timeout` seconds while there is more to borrow."""

    def hold_nothing(self, windows: Sequence[Covered]) -> Hold:
        """Count what a request will cost, without holding anything for it."""


class _AskedEachTime(PreparedHold):
    __slots__ = ("_on_settled", "_on_stated", "_shares", "_windows")

    try_hold = staticmethod(nothing_is_known)

    def __init__(
        self, shares: BudgetShares, windows: Sequence[Covered], on_settled: OnSettled, on_stated: OnSettled
    ) -> None:
        self._shares = shares
        self._windows = windows
        self._on_settled = on_settled
        self._on_stated = on_stated

    def hold(self, amount: int) -> Reservation | Shortage | None:
        answer = self._shares.try_hold(self._windows, amount)
        if answer is None or isinstance(answer, Shortage):
            return answer
        return HoldReservation(answer, self._on_settled, self._on_stated)


class WindowState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A window as the database has it, while it is locked; amounts in nano-USD.

    `borrowed` is all that this machine ever borrowed less what it returned; `shipped` is the part of that which is
    spent; `others` is what other machines hold. `amount` is 0 when the budget is gone or disabled.
    """

    amount: int
    spent: int
    others: int
    borrowed: int
    shipped: int

    @property
    def own(self) -> int:
        """What this machine holds."""
        return max(self.borrowed - self.shipped, 0)

    @property
    def held(self) -> int:
        return self.own + self.others

    @property
    def left(self) -> int:
        """What nobody holds and nobody spent; negative when the budget is overspent."""
        return self.amount - self.spent - self.held


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One window that a machine borrows for, or returns to.

    `change` gets the state of the window and returns how much more to borrow (negative: to return). With a `base` the
    machine begins with a hold of nothing, whatever it had borrowed earlier: both of its sums are then `base`.
    `settled`, when known, says that everything which this machine's requests cost is stored, and how much that was.
    `is_refused`: a request was refused, because it may cost more than is left. With `is_last` the machine's hold is
    deleted.
    """

    window: BudgetWindow
    change: Callable[[WindowState], int]
    base: int | None = None
    settled: int | None = None
    is_refused: bool = False
    is_last: bool = False


class Balances(Protocol):
    """What budgets have spent and what machines hold of them: the authority."""

    async def trade(self, holder: str, lease: float, trades: Sequence[Trade]) -> Sequence[WindowState]:
        """Carry out `trades` in one short transaction, and return the states after it, in their order.

        The machine's holds in these windows last `lease` seconds from now. Raises StoreUnavailable.
        """

    async def read(self, windows: Sequence[BudgetWindow]) -> Sequence[WindowState]:
        """Return the states of windows, in their order; `others` is all that is held. Raises StoreUnavailable."""

    async def delete_ended_holds(self) -> None:
        """Delete the holds of machines that are gone. Raises StoreUnavailable."""


class BudgetBalance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is spent and held of a budget now, in nano-USD; `reset_at` is Unix microseconds, None = never."""

    spent: int
    held: int
    remaining: int
    reset_at: int | None


class BalanceReader(Protocol):
    """Shows balances, as they are enforced."""

    async def current(self, budget_ids: Sequence[int]) -> Mapping[int, BudgetBalance]:
        """Return the balances of budgets in their current windows, by id.

        Budgets that each agent or user has, and those that are gone, are left out. Raises StoreUnavailable.
        """


class BudgetNotice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A budget has spent `percent` of its amount in a window, or for 100, is about to and refuses requests.

    `end` is Unix microseconds, None = never.
    """

    # The same for every try, and for no other notice.
    id: str
    window: BudgetWindow
    end: int | None
    percent: int
    budget: Budget
    spent: int
    # How often it was sent, with this time.
    tries: int


class BudgetNotices(Protocol):
    """Notices that the webhook has to be told of."""

    async def claim(self) -> Sequence[BudgetNotice]:
        """Return some that are due; nobody else gets them for a minute. Raises StoreUnavailable."""

    async def finish(self, notice: BudgetNotice, *, is_delivered: bool) -> bool:
        """Mark one as delivered, or to be sent again; return False if it is given up. Raises StoreUnavailable."""
