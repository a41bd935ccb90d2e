"""The real clock tells the real time."""

from __future__ import annotations

import time

from llm_gateway.infra.clock import SystemClock


def test_it_reads_seconds_and_unix_microseconds() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert abs(clock.unix_us() / 1e6 - time.time()) < 60
