"""A connection that notes what reaches it, and batches of both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from llm_gateway.sockets.write_batch import WriteBatch

MakeBatch = Callable[..., WriteBatch]


class Wire(asyncio.Transport):
    """Notes what reaches it."""

    def __init__(self, name: str = "a", everything: list[tuple[str, object]] | None = None) -> None:
        super().__init__()
        self.name = name
        self.seen: list[tuple[str, object]] = [] if everything is None else everything
        self.fault: Exception | None = None

    def write(self, data: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.seen.append((self.name, bytes(data)))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.seen.append((self.name, "eof"))

    def close(self) -> None:
        self.seen.append((self.name, "close"))

    def abort(self) -> None:
        self.seen.append((self.name, "abort"))

    def is_closing(self) -> bool:
        return False
