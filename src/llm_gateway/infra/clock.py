"""The system clock."""

from __future__ import annotations

import time

from llm_gateway.flow.ports.clock import Clock


class SystemClock(Clock):
    """The machine's own time."""

    # Called several times per request: no Python frame in between.
    monotonic = staticmethod(time.monotonic)

    def unix_us(self) -> int:
        return time.time_ns() // 1000
