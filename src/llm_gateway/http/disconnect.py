"""Cancels the work for a request when its client disconnects."""

from __future__ import annotations

import asyncio
from types import TracebackType

from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.http.types import Exchange


class CancelOnDisconnect:
    """`with CancelOnDisconnect(exchange):` cancels the current task when the client disconnects.

    The block then raises ClientDisconnected. The connection calls back, so that no task or read has to watch for
    the disconnect. On servers other than the gateway's own (`exchange` is None), disconnects are not noticed.
    """

    __slots__ = ("_exchange", "_task")

    def __init__(self, exchange: Exchange | None) -> None:
        self._exchange = exchange
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> None:
        """Register for the disconnect. If it has happened already, the task is cancelled at its next await."""
        task = self._task = asyncio.current_task()
        if self._exchange is not None and task is not None:
            self._exchange.register(task.cancel)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unregister; turn a cancellation by the client, but not one by the server, into ClientDisconnected."""
        exchange, task = self._exchange, self._task
        if exchange is None or task is None:
            return
        exchange.unregister()
        if kind is asyncio.CancelledError and exchange.gone and task.uncancel() == 0:
            raise ClientDisconnected from None
