"""Sends together what one turn of the event loop writes to many connections."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

# Writes after which a turn does not wait for its end, so that the first of them is not late by more than a
# millisecond or two.
MOST: Final = 32
# Larger ones, in bytes, are made at once: their connection tells at once whether it has room for more.
LARGEST: Final = 64 * 1024
# After so many turns in a row with one write, writes are made at once; so many later, a turn is looked at again.
LONE_TURNS: Final = 3
LONE_WRITES: Final = 16
# A patience without end: writes always wait for the end of their turn.
ALWAYS: Final = sys.maxsize


class WriteBatch:
    """The writes of one turn of the event loop, made one right after the other at its end.

    Each write wakes the process that reads the other end, or interrupts the network card. When the writes come in a
    row, most of them find it awake. A turn with one write gains nothing, and the reader would wait for what else the
    turn has to do: when that is all there is, writes are made at once.

    `turn` tells whether a write has been made: it has once the turn is another.
    """

    __slots__ = ("_lone_turns", "at_once", "patience", "turn", "writes")

    def __init__(self, patience: int = LONE_TURNS) -> None:
        """`patience`: turns in a row with one write, after which writes are made at once."""
        self.turn = 0
        self.patience = patience
        self._lone_turns = 0
        # Writes that are still to be made at once.
        self.at_once = 0
        # What to call, and with what.
        self.writes: list[tuple[Callable[[Any], None], Any]] = []

    def make_later(self) -> None:
        """Make the writes at the end of this turn; called before the first of them is added."""
        asyncio.get_running_loop().call_soon(self.make)

    def make(self) -> None:
        """Make all writes now, in the order in which they were added."""
        writes, self.writes = self.writes, []
        self.turn += 1
        if len(writes) > 1:
            self._lone_turns = 0
        elif writes:
            self._lone_turns += 1
            if self._lone_turns >= self.patience:
                self.at_once = LONE_WRITES
        for write, data in writes:
            try:
                write(data)
            except RuntimeError:
                # It was closed meanwhile, and its protocol is told so. uvloop raises this, asyncio nothing.
                continue
            except Exception as error:  # noqa: BLE001 - a bug, which must not hold up the other connections
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "A write to a connection failed", "exception": error}
                )


class BatchedTransport(asyncio.Transport):
    """A transport whose small writes wait for the end of the turn, in the order in which they were made.

    Whatever must come after a write (a large write, the end of the connection) makes all that wait first. `abort`
    does not: it discards what was not sent.
    """

    __slots__ = ("_batch", "_transport", "_write", "_writelines", "is_closing")

    def __init__(self, transport: asyncio.Transport, batch: WriteBatch) -> None:
        super().__init__()
        self._transport = transport
        self._batch = batch
        self._write, self._writelines = transport.write, transport.writelines
        # Asked once a request, without a frame of ours.
        self.is_closing = transport.is_closing  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, which must not change afterwards, at the end of the turn."""
        batch = self._batch
        if batch.at_once:
            batch.at_once -= 1
            batch.turn += 1
            self._write(data)
            return
        if len(data) > LARGEST:
            batch.make()
            self._write(data)
            return
        writes = batch.writes
        if not writes:
            batch.make_later()
        writes.append((self._write, data))
        if len(writes) >= MOST:
            batch.make()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send all pieces, which must not change afterwards, at the end of the turn."""
        batch = self._batch
        if batch.at_once:
            batch.at_once -= 1
            batch.turn += 1
            self._writelines(list_of_data)
            return
        writes = batch.writes
        if not writes:
            batch.make_later()
        writes.append((self._writelines, list_of_data))
        if len(writes) >= MOST:
            batch.make()

    def write_eof(self) -> None:
        self._batch.make()
        self._transport.write_eof()

    def close(self) -> None:
        self._batch.make()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def can_write_eof(self) -> bool:
        return self._transport.can_write_eof()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the connection has no room for; those of this turn are not known yet."""
        return self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()


def batched(transport: asyncio.BaseTransport, batch: WriteBatch | None) -> asyncio.Transport:
    """Return the transport with its writes in `batch`; the transport itself without one."""
    stream = cast("asyncio.Transport", transport)
    return stream if batch is None else BatchedTransport(stream, batch)
