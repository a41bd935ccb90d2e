"""What one request holds of the machine's share of budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.flow.ports.budgets import OnSettled
from llm_gateway.infra.budgets.share_file import HOLDS, MAX_WORKERS, OPEN, USED, Slot

# No sum of a few such amounts exceeds 64 bits.
MOST: Final = 2**60
# A cost that takes no part in the question whether there is more: a billion of them fit between MOST and 64 bits.
_FEW: Final = 2**30 - 1
# The cells of a slot that are one worker's own, among the `own_cells`.
OWN_HOLDS, OWN_USED, OWN_OPEN = ((cells - HOLDS) // MAX_WORKERS for cells in (HOLDS, USED, OPEN))


def own_cells(slot: Slot, worker: int) -> Slot:
    """Return the cells of a slot that only this worker writes."""
    return slot[HOLDS + worker :: MAX_WORKERS]


# A struct is made several times as fast as an object with an `__init__`. It is part of no cycle (gc=False).
class RequestHold(msgspec.Struct, gc=False):
    """Implements the `Hold` port. Needs no lock: nobody else writes these cells.

    The cost comes first, so that a worker which dies in between has spent too much rather than too little.
    """

    # The worker's own cells in each slot.
    cells: Sequence[Slot]
    amount: int

    def settle(self, cost_nano_usd: int) -> None:
        cells, self.cells = self.cells, ()
        end_hold(cells, self.amount, cost_nano_usd)

    def release(self) -> None:
        self.settle(0)


class SlotReservation(msgspec.Struct, gc=False):
    """Implements the `Reservation` port: what a `RequestHold` does, in one object, and one frame for nearly all."""

    # The worker's own cells in each slot; none once it has ended.
    cells: Sequence[Slot]
    # More than nothing.
    amount: int
    on_settled: OnSettled
    # Told, too, if the provider stated the cost.
    on_stated: OnSettled

    def settle(self, record: SettledRequest) -> None:
        cells, amount, cost, source = self.cells, self.amount, record.cost_nano_usd, record.cost_source
        self.cells = ()
        if not cells:
            return
        if not cost or not 0 < cost <= _FEW:
            end_hold(cells, amount, cost or 0)
        else:
            # As `end_hold` does.
            for own in cells:
                own[OWN_USED] += cost
                own[OWN_HOLDS] -= amount
        self.on_settled(record)
        if source == "provider":
            self.on_stated(record)

    def release(self) -> None:
        cells, self.cells = self.cells, ()
        end_hold(cells, self.amount, 0)


def begin_hold(own: Slot, amount: int) -> None:
    """Hold an amount in a worker's own cells; needs the lock."""
    if amount:
        own[OWN_HOLDS] += amount
    else:
        own[OWN_OPEN] += 1


def end_hold(cells: Sequence[Slot], amount: int, cost: int) -> None:
    """Replace what was held with what the request cost, in the worker's own cells of each slot.

    No cost is negative: nothing is ever given back to a budget.
    """
    for own in cells:
        if cost > 0:
            used = own[OWN_USED] + cost
            # Without a call, which may begin a garbage collection: that may end another hold of the same cells.
            own[OWN_USED] = used if used < MOST else MOST  # noqa: FURB136
        if amount:
            own[OWN_HOLDS] -= amount
        else:
            own[OWN_OPEN] -= 1
