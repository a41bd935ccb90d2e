"""Tells observers of served requests after what was written to their clients, all requests of a turn together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from llm_gateway.core.ledger.served import ServedRequest
from llm_gateway.flow.ports.ledger import Journal
from llm_gateway.flow.ports.listeners import listener_failed

# Takes the requests of one turn, each of which it is told of once.
OnServed = Callable[[Sequence[ServedRequest]], None]


class ServedRequests:
    """The served requests of which the observers are still to be told, in their order."""

    __slots__ = ("_has_waited", "_journal", "_observers", "waiting")

    def __init__(self, observers: Sequence[OnServed], journal: Journal) -> None:
        """Their end lines are in `journal` before anything is written to their clients."""
        # Whoever adds the first one calls `tell_soon`.
        self.waiting: list[ServedRequest] = []
        self._observers = observers
        self._journal = journal
        self._has_waited = False

    def tell_soon(self) -> None:
        """Tell the observers after the writes of this turn, within two turns of the event loop."""
        asyncio.get_running_loop().call_soon(self._after_writes)

    def tell(self) -> None:
        """Tell the observers now. Does not raise."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        for observer in self._observers:
            try:
                observer(waiting)
            except Exception as error:  # noqa: BLE001 - it must not fail the requests that follow
                listener_failed(observer, error, waiting[0])

    def _after_writes(self) -> None:
        if self._journal.has_waiting and not self._has_waited:
            # The writes come behind this call, and the journal before them. If there are none, as when a client has
            # left, its lines may wait longer.
            self._has_waited = True
            self.tell_soon()
        else:
            self._has_waited = False
            self.tell()
