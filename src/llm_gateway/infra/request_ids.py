"""UUIDv7 request ids. Python 3.11 has no UUIDv7, and this is faster than a general implementation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

# Tails are made in batches: one call for random bytes, and the 12-bit counters formatted once. The highest counter
# comes first, because tails are taken from the end of the list.
_COUNTERS = tuple(f"{counter:03x}" for counter in range(0xFFF, -1, -16))
_BATCH = len(_COUNTERS)


class RequestIds:
    """Makes UUIDv7 strings (RFC 9562): 36 characters, sortable by time, strictly rising within a process.

    Layout: 48 bits of Unix milliseconds, version 7, a 12-bit counter, the variant, 62 random bits (two of
    them shared by a batch). The counter rises through a batch regardless of the time; a new batch starts in a
    later millisecond than the last one ended in, if necessary one in the future. Time never goes back, even if
    the clock does. After a fork the child draws its own random bits.
    """

    __slots__ = ("_ms", "_now_ns", "_prefix", "_random", "_tails")

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`now_ns` returns Unix nanoseconds; `random` returns this many random bytes."""
        self._now_ns = now_ns
        self._random = random
        self._ms = -1
        self._prefix = ""
        self._tails: list[str] = []
        os.register_at_fork(after_in_child=self._tails.clear)

    def __call__(self) -> str:
        ms = self._now_ns() // 1_000_000
        tails = self._tails
        if not tails:
            self._refill()
            # The counter restarts, so the time must advance.
            if ms <= self._ms:
                ms = self._ms + 1
        if ms > self._ms:
            self._ms = ms
            self._prefix = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7"
        return self._prefix + tails.pop()

    def _refill(self) -> None:
        digits = self._random(8 * _BATCH).hex()
        variant = "89ab"[int(digits[0], 16) & 3]
        self._tails += [
            f"{counter}-{variant}{digits[at : at + 3]}-{digits[at + 3 : at + 15]}"
            for counter, at in zip(_COUNTERS, range(1, 16 * _BATCH, 16), strict=True)
        ]
