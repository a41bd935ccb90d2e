"""UUIDv7 request ids. Python 3.11 has no UUIDv7, and this is faster than a general implementation."""

from __future__ import annotations

import os
import time
from binascii import hexlify
from collections.abc import Callable

# Tails are made in batches: this text, with random digits in place of the variant and of the zeros behind it. The
# highest counter comes first, because tails are taken from the end of the list.
_BATCH = 256
_TAILS = " ".join(f"-7{counter:03x}-8000-000000000000" for counter in range(0xFFF, -1, -16)).encode()
_TAIL = len("-7fff-8000-000000000000 ")
_VARIANTS = tuple(digit * _BATCH for digit in (b"8", b"9", b"a", b"b"))
_VARIANT = slice(_TAIL - 18, None, _TAIL)
# The same digit of every tail, and which digits of a batch become it: a loop in C for each digit of a tail.
_DIGITS = tuple(
    (slice(_TAIL - place, None, _TAIL), slice(number * _BATCH, (number + 1) * _BATCH))
    for number, place in enumerate((17, 16, 15, *range(13, 1, -1)), 1)
)


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
            # Many times as fast as formatting the number.
            self._prefix = ms.to_bytes(6, "big").hex("-", -4)
        return self._prefix + tails.pop()

    def _refill(self) -> None:
        random = self._random(8 * _BATCH)
        digits = hexlify(random)
        batch = bytearray(_TAILS)
        batch[_VARIANT] = _VARIANTS[random[0] & 3]
        for place, source in _DIGITS:
            batch[place] = digits[source]
        self._tails += batch.decode().split(" ")
