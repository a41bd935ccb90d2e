"""Accepts connections from the listening socket that all workers share, so that each gets about as many."""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable, Sized

# Seconds for which a worker with more connections than another leaves a new one to the other.
_YIELD = 0.002
# The count of a worker that accepts no connections.
_ABSENT = 2**62
_CELL = 8


class ConnectionCounts:
    """The number of connections of each worker, in memory shared across `fork`."""

    def __init__(self, workers: int) -> None:
        """Create it in the supervisor, before the first worker is forked."""
        self._cells = memoryview(mmap.mmap(-1, workers * _CELL)).cast("q")
        for index in range(workers):
            self.leave(index)

    def set(self, index: int, connections: int) -> None:
        self._cells[index] = connections

    def leave(self, index: int) -> None:
        """Record that worker `index` accepts no connections."""
        self._cells[index] = _ABSENT

    def fewest(self) -> int:
        """Return the smallest number of connections that any worker has."""
        return min(self._cells)


class BalancedAcceptor:
    """Accepts for one worker.

    The kernel wakes every worker for a new connection, and the first to run would accept all that wait: of 32
    connections that arrive at once, one worker often got all. So a worker that has more connections than
    another waits a moment, and accepts only if the connection is still there.
    """

    def __init__(
        self, listener: socket.socket, connection_counts: ConnectionCounts, index: int, open_now: Sized
    ) -> None:
        """Accept from `listener` as worker `index`; `open_now` are its established connections."""
        self._listener = listener
        self._connection_counts = connection_counts
        self._index = index
        self._open_now = open_now
        # Accepted, but not yet in `open_now`.
        self._accepting: set[asyncio.Task[object]] = set()
        self._yielded = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._make_protocol: Callable[[], asyncio.Protocol]

    def open(self, loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        """Start to accept connections."""
        self._loop = loop
        self._make_protocol = make_protocol
        self._update_count()
        loop.add_reader(self._listener.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop accepting. The other workers accept the connections that wait in the backlog."""
        self._loop.remove_reader(self._listener.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._connection_counts.leave(self._index)
        self._listener.close()

    def _update_count(self) -> int:
        mine = len(self._open_now) + len(self._accepting)
        self._connection_counts.set(self._index, mine)
        return mine

    def _on_readable(self) -> None:
        mine = self._update_count()
        if mine > self._connection_counts.fewest() and not self._yielded:
            self._loop.remove_reader(self._listener.fileno())
            self._timer = self._loop.call_later(_YIELD, self._resume)
            return
        self._yielded = False
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # Another worker was faster, or the client disconnected.
            return
        except OSError:
            # Out of file descriptors: retry later instead of in a busy loop.
            self._loop.remove_reader(self._listener.fileno())
            self._timer = self._loop.call_later(1.0, self._resume)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._make_protocol, connection)
        )
        self._accepting.add(task)
        task.add_done_callback(self._on_accepted)
        self._update_count()

    def _on_accepted(self, task: asyncio.Task[object]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            # Retrieves the exception: a client that has disconnected meanwhile is no error.
            task.exception()

    def _resume(self) -> None:
        self._yielded = True
        self._loop.add_reader(self._listener.fileno(), self._on_readable)
