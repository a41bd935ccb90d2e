"""What stands around a connection to a provider when there is no socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.sockets.write_batch import WriteBatch


class Notes:
    """A transport that takes notes."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True
        self.aborted = 0
        # What a full socket does after each write.
        self.full: Callable[[], None] | None = None

    def write(self, data: bytes | memoryview) -> None:
        self.written.append(bytes(data))
        if self.full is not None:
            self.full()

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.written += pieces

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return bool(self.aborted)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted += 1

    def get_extra_info(self, name: str, default: object = None) -> None:
        del default


class ConnectionOwner:
    """A pool that keeps everything, and sends at once."""

    batch: WriteBatch | None = None

    def __init__(self) -> None:
        self.kept: list[Connection] = []
        self.room = True

    def opened(self, connection: Connection) -> None:
        pass

    def put_idle(self, connection: Connection) -> bool:
        if self.room:
            self.kept.append(connection)
        return self.room

    def lost(self, connection: Connection) -> None:
        pass


class Alarm:
    """The handle that `call_at` returns."""

    def __init__(self, loop: Clockwork, when: float, ring: Callable[[], None]) -> None:
        self.loop, self.when, self.ring = loop, when, ring

    def cancel(self) -> None:
        self.loop.alarms.remove(self)


class Clockwork:
    """The part of an event loop that a connection needs; its time advances when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.alarms: list[Alarm] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], None]) -> Alarm:
        self.set += 1
        self.alarms.append(Alarm(self, when, ring))
        return self.alarms[-1]

    def create_future(self) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().create_future()

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        for alarm in [each for each in self.alarms if each.when <= self.now]:
            alarm.cancel()
            alarm.ring()
