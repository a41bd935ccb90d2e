"""Logs once when limits are no longer shared and once when they are again, whatever the number of requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from loguru import logger

# The store counts as recovered when it has worked for this long.
_CALM_SECONDS = 5.0


class SharingStatus:
    """Whether the store that shares the limits works.

    `failing` is the current state; `unshared` counts the verdicts that were given without the store.
    """

    def __init__(
        self,
        store: str,
        fallback: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        shared: str = "Rate limits",
    ) -> None:
        """`store`, `fallback` (what applies while the store fails) and what is `shared` appear in the log."""
        self.failing = False
        self.unshared = 0
        self._shared = shared
        self._store = store
        self._fallback = fallback
        self._clock = clock
        self._failed_at = 0.0

    def failed(self, reason: str) -> None:
        """Record a verdict that was given without the store; `reason` must hold no secret."""
        self.unshared += 1
        self._failed_at = self._clock()
        if not self.failing:
            self.failing = True
            logger.warning("{}: {} fails ({}); {}", self._shared, self._store, reason, self._fallback)

    def worked(self) -> None:
        """Record that the store answered; only needed while `failing`."""
        if self.failing and self._clock() - self._failed_at >= _CALM_SECONDS:
            self.failing = False
            logger.warning(
                "{}: {} works again; {} verdicts so far were given without it",
                self._shared,
                self._store,
                self.unshared,
            )
