"""The real clock, behind the `Clock` port so that tests can bring their own."""

from __future__ import annotations

import time


class SystemClock:
    """Time as the machine has it."""

    # Asked several times a request: without a frame in between.
    monotonic = staticmethod(time.monotonic)

    def unix_us(self) -> int:
        """Return Unix microseconds."""
        return time.time_ns() // 1000
