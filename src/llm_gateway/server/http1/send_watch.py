"""Closes connections whose clients do not read what is sent to them."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios


class SendWatch:
    """Watches one connection while its transport holds bytes that the client has not taken.

    The connection is reset when none of them was taken for `timeout` seconds. What the client's system has
    acknowledged counts as taken, so that a slow client keeps its connection.
    """

    __slots__ = ("_loop", "_timeout", "_timer", "_transport", "_untaken")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, timeout: float) -> None:
        self._loop = loop
        self._transport = transport
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None
        self._untaken = 0

    def start(self) -> None:
        """Watch from now on, if there is anything to send; a second call does nothing."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._untaken = self._count_untaken()
            self._timer = self._loop.call_later(self._timeout, self._check)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            # The rest is in the system's hands.
            return
        before = self._untaken
        self._untaken = self._count_untaken()
        if self._untaken >= before:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(self._timeout, self._check)

    def _count_untaken(self) -> int:
        """Return the bytes in the transport's buffer, and in the system's where it tells."""
        size = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info("socket")
        try:
            (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
        except OSError:
            queued = 0
        return int(size + queued)
