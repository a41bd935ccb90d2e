"""Puts what is written to one connection into a batch."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from llm_gateway.sockets.write_batch import WriteBatch

# Larger writes, in bytes, are made at once: their connection tells at once whether it has room for more.
LARGEST: Final = 64 * 1024
# A transport's own is asked for what else is known of its connection.
_NO_EXTRA: Final[dict[str, object]] = {}


class BatchedTransport(asyncio.Transport):
    """A transport whose small writes wait for the end of the turn, in the order in which they were made.

    Whatever must come after a write (a large write, the end of the connection) makes all that wait first. `abort`
    does not: it discards what was not sent.
    """

    __slots__ = ("_batch", "_transport", "is_closing", "write", "writelines")

    def __init__(self, transport: asyncio.Transport, batch: WriteBatch) -> None:
        super().__init__(_NO_EXTRA)
        self._transport = transport
        self._batch = batch
        # Without a frame of ours each.
        self.write = batch.writer(transport.write, LARGEST)  # type: ignore[method-assign,assignment]
        self.is_closing = transport.is_closing  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> object:
        """Make what few connections ever need, when it is asked for first."""
        if name != "writelines":
            raise AttributeError(name)
        self.writelines = self._batch.writer(self._transport.writelines, -1)  # type: ignore[method-assign,assignment]
        return self.writelines

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
        """Return the bytes that the connection has no room for; those that wait in the batch do not count."""
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
