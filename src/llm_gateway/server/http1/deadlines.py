"""Enforces the deadlines of connections, with one timer for all instead of one per request."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

NEVER = float("inf")


class Timed(Protocol):
    """Something with a deadline in the event loop's time."""

    deadline: float

    def on_deadline(self) -> None:
        """Handle a deadline that has passed."""


class DeadlineSweep:
    """Checks the `deadline` of every member each `interval` seconds."""

    def __init__(self, members: Collection[Timed], interval: float) -> None:
        """`members` may change at any time."""
        self._members = members
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the timer; a second call does nothing."""
        if self._timer is None:
            self._timer = loop.call_later(self._interval, self._sweep, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for member in [member for member in self._members if member.deadline < now]:
            member.on_deadline()
        self._timer = loop.call_later(self._interval, self._sweep, loop)
