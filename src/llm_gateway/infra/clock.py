"""The real clock, behind the `Clock` port so that tests can bring their own."""

from __future__ import annotations

import time


class SystemClock:
    """Time as the machine has it."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def unix_us(self) -> int:
        """Return Unix microseconds."""
        return time.time_ns() // 1000
