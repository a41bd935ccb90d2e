"""Takes connections from the listening socket that all workers share, each as many as the others."""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable, Sized

# Seconds that a worker which has more connections than another leaves a new one to that other.
_YIELD = 0.002
# What a worker counts that takes none.
_ABSENT = 2**62
_CELL = 8


class ConnectionCounts:
    """How many connections each worker has, in memory that is shared across `fork`."""

    def __init__(self, workers: int) -> None:
        """Make it in the supervisor, before the first worker; everyone is absent."""
        self._cells = memoryview(mmap.mmap(-1, workers * _CELL)).cast("q")
        for index in range(workers):
            self.leave(index)

    def note(self, index: int, connections: int) -> None:
        """Say how many worker `index` has."""
        self._cells[index] = connections

    def leave(self, index: int) -> None:
        """Say that worker `index` takes no connections."""
        self._cells[index] = _ABSENT

    def fewest(self) -> int:
        """Return how many the worker with the fewest has."""
        return min(self._cells)


class BalancedAcceptor:
    """Accepts for one worker.

    The kernel wakes every worker for a new connection, and the first one there would take whatever waits:
    of 32 connections that come at once one worker often got all. So a worker that is ahead of another
    steps back for a moment, and takes one only if it is still there then.
    """

    def __init__(
        self, listener: socket.socket, attendance: ConnectionCounts, index: int, open_now: Sized
    ) -> None:
        """Accept from `listener` as worker `index`, whose established connections are `open_now`."""
        self._listener = listener
        self._attendance = attendance
        self._index = index
        self._open_now = open_now
        # Accepted, and not yet in `open_now`.
        self._arriving: set[asyncio.Task[object]] = set()
        self._stepped_back = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._make_protocol: Callable[[], asyncio.Protocol]

    def open(self, loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        """Take connections from now on."""
        self._loop = loop
        self._make_protocol = make_protocol
        self._note()
        loop.add_reader(self._listener.fileno(), self._on_arrival)

    def close(self) -> None:
        """Take no more. Those who wait at the socket are left to the other workers."""
        self._loop.remove_reader(self._listener.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._attendance.leave(self._index)
        self._listener.close()

    def _note(self) -> int:
        mine = len(self._open_now) + len(self._arriving)
        self._attendance.note(self._index, mine)
        return mine

    def _on_arrival(self) -> None:
        mine = self._note()
        if mine > self._attendance.fewest() and not self._stepped_back:
            self._loop.remove_reader(self._listener.fileno())
            self._timer = self._loop.call_later(_YIELD, self._step_forward)
            return
        self._stepped_back = False
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # Another worker was faster, or the client left.
            return
        except OSError:
            # Out of file descriptors: try again shortly rather than at once and for ever.
            self._loop.remove_reader(self._listener.fileno())
            self._timer = self._loop.call_later(1.0, self._step_forward)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._make_protocol, connection)
        )
        self._arriving.add(task)
        task.add_done_callback(self._on_arrived)
        self._note()

    def _on_arrived(self, task: asyncio.Task[object]) -> None:
        self._arriving.discard(task)
        if not task.cancelled():
            # A client that left meanwhile is no fault.
            task.exception()

    def _step_forward(self) -> None:
        self._stepped_back = True
        self._loop.add_reader(self._listener.fileno(), self._on_arrival)
