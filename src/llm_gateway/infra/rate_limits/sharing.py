"""Says once when limits stop being shared and once when they are again, however many requests see it."""

from __future__ import annotations

import time
from collections.abc import Callable

from loguru import logger

# Sharing counts as mended when it has worked for this long.
_CALM_SECONDS = 5.0


class Sharing:
    """Whether limits are shared as they should be.

    `failing` says so now; `unshared` counts the verdicts that were given without sharing.
    """

    def __init__(self, store: str, instead: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Name the `store` and what is done `instead`, as the log shall have it."""
        self.failing = False
        self.unshared = 0
        self._store = store
        self._instead = instead
        self._clock = clock
        self._failed_at = 0.0

    def failed(self, reason: str) -> None:
        """Note that a verdict had to be given without the store; `reason` holds no secret."""
        self.unshared += 1
        self._failed_at = self._clock()
        if not self.failing:
            self.failing = True
            logger.warning("Rate limits: {} fails ({}); {}", self._store, reason, self._instead)

    def worked(self) -> None:
        """Note that the store answered; needs no call while nothing fails."""
        if self.failing and self._clock() - self._failed_at >= _CALM_SECONDS:
            self.failing = False
            logger.warning(
                "Rate limits: {} works again; {} verdicts so far were given without it",
                self._store,
                self.unshared,
            )
