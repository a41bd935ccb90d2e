from collections.abc import Callable
from typing import Self

from llm_gateway.sockets.write_batch import Write

class WriteBatch:
    turn: int
    at_once: int
    before: Callable[[], None] | None
    writes: list[tuple[Write, object]]
    def __new__(cls, patience: int) -> Self: ...
    def writer(self, write: Write, largest: int, /) -> Write: ...
    def make(self) -> None: ...

def configure(
    most: int, most_bytes: int, lone_writes: int, report: Callable[[Exception], None], /
) -> None: ...
