"""Turns "the client has left" into the cancellation of the work done for it."""

from __future__ import annotations

import asyncio
from types import TracebackType

from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.http.types import Exchange


class CancelOnDisconnect:
    """`with CancelOnDisconnect(exchange):` cancels the task inside when the client leaves.

    It then raises ClientDisconnected.

    The connection itself says so, and nothing has to watch: no task, no read and no frame around the work is spent
    on it. On another server than our own (`exchange` is None) nobody can leave.
    """

    __slots__ = ("_exchange", "_task")

    def __init__(self, exchange: Exchange | None) -> None:
        """Watch nothing yet."""
        self._exchange = exchange
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> None:
        """Begin; work for a client that is gone already is cancelled at its first wait."""
        task = self._task = asyncio.current_task()
        if self._exchange is not None and task is not None:
            self._exchange.register(task.cancel)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and tell a client's leaving from the process' own end."""
        exchange, task = self._exchange, self._task
        if exchange is None or task is None:
            return
        exchange.unregister()
        if kind is asyncio.CancelledError and exchange.gone and task.uncancel() == 0:
            raise ClientDisconnected from None
