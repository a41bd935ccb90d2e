"""A stream that sends comments, or pieces of an event, for as long as it is read."""

from __future__ import annotations

import itertools

from tests.fakes.in_memory import FakeClock, FakeReply
from tests.fakes.virtual_time import VirtualTime

PING = b": ping\n\n"


class Pinging(FakeReply):
    """Gives its pieces, then `endless` for ever, each after `seconds`, and heeds no timeout."""

    def __init__(
        self, clock: FakeClock | VirtualTime, *pieces: bytes, endless: bytes = PING, seconds: float
    ) -> None:
        super().__init__(content_type="text/event-stream")
        self._clock = clock
        self._seconds = seconds
        self._pieces = itertools.chain(pieces, itertools.repeat(endless))

    async def read(self, timeout: float) -> bytes:
        self._clock.now += self._seconds
        return next(self._pieces)
