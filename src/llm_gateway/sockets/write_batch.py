"""Sends together what one turn of the event loop writes to many connections."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final, cast

try:
    from llm_gateway.sockets import _write_batch as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

# Writes after which a turn does not wait for its end, so that the first of them is not late by more than a
# millisecond or two.
MOST: Final = 32
# The same of bytes, so that a connection without room for more is noticed.
MOST_BYTES: Final = 64 * 1024
# After so many turns in a row with one write, writes are made at once; so many later, a turn is looked at again.
LONE_TURNS: Final = 3
LONE_WRITES: Final = 16
# A patience without end: writes always wait for the end of their turn.
ALWAYS: Final = sys.maxsize

Write = Callable[[Any], None]


class WriteBatch:
    """The writes of one turn of the event loop, made one right after the other at its end.

    Each write wakes the process that reads the other end, or interrupts the network card. When the writes come in a
    row, most of them find it awake. A turn with one write gains nothing, and the reader would wait for what else the
    turn has to do: when that is all there is, writes are made at once.

    `turn` counts how often what waited was made: a write has been made once the turn is another.
    """

    __slots__ = ("_lone_turns", "_patience", "_size", "at_once", "before", "turn", "writes")

    def __init__(self, patience: int = LONE_TURNS) -> None:
        """`patience`: turns in a row with one write, after which writes are made at once."""
        self.turn = 0
        # Is called before anything is written; None = nothing. While it raises, nothing is written.
        self.before: Callable[[], None] | None = None
        self._patience = patience
        self._lone_turns = 0
        # The bytes that wait, without those whose size nobody asks for.
        self._size = 0
        # Writes that are still to be made at once.
        self.at_once = 0
        # What to call, and with what.
        self.writes: list[tuple[Write, Any]] = []

    def writer(self, write: Write, largest: int) -> Write:
        """Return what adds the writes of one connection, which `write` makes.

        What is written must not change afterwards. Data of more than `largest` bytes is written at once, after all
        that waits; if `largest` is negative, it is no bytes and waits as well.
        """

        def add(data: Any) -> None:  # noqa: ANN401 - whatever `write` takes
            if self.at_once:
                self.at_once -= 1
                self.turn += 1
                if self.before is not None:
                    self.before()
                write(data)
                return
            if largest >= 0:
                size = len(data)
                if size > largest:
                    self.make()
                    if self.before is not None:
                        self.before()
                    write(data)
                    return
                self._size += size
            writes = self.writes
            if not writes:
                asyncio.get_running_loop().call_soon(self.make)
            writes.append((write, data))
            if len(writes) >= MOST or self._size >= MOST_BYTES:
                self.make()

        return add

    def make(self) -> None:
        """Make all writes now, in the order in which they were added; none of them may write or close by itself."""
        if self.before is not None:
            self.before()
        writes, self.writes, self._size = self.writes, [], 0
        self.turn += 1
        if len(writes) > 1:
            self._lone_turns = 0
        elif writes:
            self._lone_turns += 1
            if self._lone_turns >= self._patience:
                self.at_once = LONE_WRITES
        rest = iter(writes)
        for write, data in rest:
            try:
                write(data)
            except RuntimeError:
                # It was closed meanwhile, and its protocol is told so. uvloop raises this, asyncio nothing.
                continue
            except Exception as error:  # noqa: BLE001 - a bug, which must not hold up the other connections
                _report(error)
            except BaseException:
                # Nor may the end of the process cut the others short.
                self.writes[:0] = rest
                raise


def _report(error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": "A write to a connection failed", "exception": error}
    )


if _compiled is not None:
    _compiled.configure(MOST, MOST_BYTES, LONE_WRITES, _report)


def make_write_batch(*, patience: int = LONE_TURNS, compiled: bool = True) -> WriteBatch:
    """Return the compiled `WriteBatch` if it was compiled and is wanted, else Python's."""
    if compiled and _compiled is not None:
        return cast("WriteBatch", _compiled.WriteBatch(patience))
    return WriteBatch(patience)
