from collections.abc import Callable

from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.infra._shared_lock import CellLock

class Held:
    def settle(self, record: SettledRequest, /) -> None: ...
    def release(self) -> None: ...

# What it returns holds an amount: under the lock, in all rows or in none (None).
def holder(
    lock: CellLock,
    head: memoryview[int],
    # The cell of `head` that says how many cells of the two arrays are in use.
    count_at: int,
    # Cells of each row: its name, its total, the one that has to be above the time, the one of which the arrays are
    # taken, the one that is set to the time; where the two arrays begin, and which of their cells are written.
    layout: tuple[int, int, int, int, int, int, int, int],
    # With the name and the total that have to be there, and what has to be left.
    rows: tuple[tuple[memoryview[int], int, int, int], ...],
    # Nanoseconds; None = those of `time.monotonic_ns`.
    clock: Callable[[], int] | None,
    on_settled: Callable[[SettledRequest], object],
    on_stated: Callable[[SettledRequest], object],
    /,
) -> Callable[[int], Held | None]: ...
