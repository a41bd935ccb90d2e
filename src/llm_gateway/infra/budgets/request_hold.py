"""What one request holds of the machine's share of budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.budgets import OnSettled
from llm_gateway.infra.budgets.share_file import HOLDS, MAX_WORKERS, OPEN, USED, Slot

# No sum of a few such amounts exceeds 64 bits.
MOST: Final = 2**60
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
        amount = self.amount
        for own in cells:
            if cost_nano_usd:
                used = own[OWN_USED] + cost_nano_usd
                own[OWN_USED] = used if used < MOST else MOST  # noqa: FURB136 - a call of `min` takes as long as all else here
            own[OWN_HOLDS] -= amount
            own[OWN_OPEN] -= 1

    def release(self) -> None:
        self.settle(0)


class HeldReservation(msgspec.Struct, gc=False):
    """Implements the `Reservation` port: what a `RequestHold` does, in one object and one frame for both."""

    cells: Sequence[Slot]
    amount: int
    on_settled: OnSettled

    def settle(self, record: UsageRecord) -> None:
        on_settled, cells, amount = self.on_settled, self.cells, self.amount
        self.cells = ()
        on_settled(record)
        cost = record.cost_nano_usd
        # As `RequestHold.settle` does.
        for own in cells:
            if cost:
                used = own[OWN_USED] + cost
                own[OWN_USED] = used if used < MOST else MOST  # noqa: FURB136 - see above
            own[OWN_HOLDS] -= amount
            own[OWN_OPEN] -= 1

    def release(self) -> None:
        cells, self.cells = self.cells, ()
        RequestHold(cells, self.amount).release()
