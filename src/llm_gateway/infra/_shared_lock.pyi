from collections.abc import Callable
from typing import Self

class CellLock:
    def __new__(
        cls, cells: memoryview[int], at: int, own: int, recover: Callable[[CellLock, int], bool], /
    ) -> Self: ...
    def try_lock(self) -> bool: ...
    def take_over(self, holder: int, /) -> bool: ...
    def unlock(self) -> None: ...
    def close(self) -> None: ...
    def adder(
        self,
        row: memoryview[int],
        head: memoryview[int],
        count_at: int,
        # Cells of the row, and what has to be in them.
        name: tuple[int, int],
        total: tuple[int, int],
        # The cell that has to be above the time, and the one of which all the others are taken.
        end_at: int,
        base_at: int,
        # Where two arrays begin, of as many cells as `head` says; to which cell of the first one is added.
        arrays: tuple[int, int, int],
        # The cell that is set to the time, and what has to be left.
        stamp_at: int,
        least: int,
        /,
    ) -> Callable[[int, int], bool]: ...
