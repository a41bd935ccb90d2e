"""Clients that leave: at a chosen moment, or at any, politely or not."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from tests.e2e.fault_run import ALL, body_of, path_of, sees_all
from tests.fakes.client_dialects import DIALECTS, OPENAI
from tests.fakes.fault_server import FaultServer, Visit
from tests.fakes.faults import PING, RESPONSES_PHASES, STREAM_PHASES, UNARY_PHASES, Case, before

# Where a provider may be when its client leaves: silent everywhere, or still talking.
CASES = (
    [Case("stall", phase, "chunked") for phase in STREAM_PHASES]
    + [Case("stall", phase, "chunked", "responses") for phase in RESPONSES_PHASES]
    + [Case("stall", phase, "length", "unary") for phase in UNARY_PHASES]
    + [Case("stall", "mid_body", "chunked", "unary")]
    + [Case("pings", phase, "chunked") for phase in ("after_headers", "mid_content", "before_done")]
)
# What else may be going on in a storm.
OTHERS = (
    Case("done_open", "whole", "chunked"),
    Case("drip", "whole", "chunked"),
    Case("gzip", "whole", "length", "unary"),
    Case("reset", "mid_content", "chunked"),
    Case("reset", "before_headers", "chunked"),
    Case("fin", "mid_body", "length", "unary"),
    Case("error_event", "mid_content", "chunked"),
    Case("malformed", "after_role", "chunked"),
)
# When clients leave at the latest, in seconds: some before the gateway has read their request.
_MOMENTS = (0.0, 0.02, 0.2, 0.4, 0.8)
_PATIENCE = 20.0
_READ = 65536


class Leaver:
    """One client connection that will be left."""

    def __init__(self, server: FaultServer, port: int, key: str) -> None:
        self._server = server
        self._port = port
        self._key = key
        self.got = b""

    async def ask(self, case: Case, *, part: float = 1.0) -> None:
        """Connect and send a request, or the first `part` of it."""
        self._case = case
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        body = json.dumps(body_of(case)).encode()
        names = {**DIALECTS[case.dialect].headers(self._key), "content-type": "application/json"}
        lines = [f"{name}: {value}\r\n" for name, value in names.items()]
        head = (
            f"POST {path_of(case)} HTTP/1.1\r\nhost: x\r\n{''.join(lines)}content-length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        self._writer.write(request[: max(1, int(len(request) * part))])
        await self._writer.drain()

    async def read_until(self, marks: list[bytes]) -> None:
        """Read until all of `marks` are there."""
        await self._read_until(lambda: all(mark in self.got for mark in marks))

    async def read_all_before(self) -> None:
        """Read until all that comes before the fault of the case is there."""
        if self._case.dialect == OPENAI.name:
            await self.read_until([event.rstrip() for event in before(self._case) if event != PING])
        else:
            await self._read_until(lambda: sees_all(self._case, self.body))

    async def _read_until(self, is_there: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not is_there():
                data = await self._reader.read(_READ)
                assert data, self.got
                self._take(data)

    @property
    def body(self) -> bytes:
        """Return what came of the response's body, which has to be in chunks."""
        _, _, rest = self.got.partition(b"\r\n\r\n")
        body = b""
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return body

    async def read_for(self, seconds: float) -> None:
        """Read what comes in this time."""
        try:
            async with asyncio.timeout(seconds):
                while data := await self._reader.read(_READ):
                    self._take(data)
        except (TimeoutError, ConnectionError):
            pass

    def _take(self, data: bytes) -> None:
        self.got += data
        if self._case.dialect == OPENAI.name:
            self._server.seen[self._case.name] += len(data)
        elif sees_all(self._case, self.body):
            self._server.seen[self._case.name] = ALL

    def leave(self, *, politely: bool) -> None:
        """Close with a FIN, or with an RST."""
        if politely:
            self._writer.close()
            return
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


class Departure(NamedTuple):
    """How a client left: whom, how many seconds the provider stayed, and the body that the client had by then."""

    visit: Visit
    seconds: float
    body: bytes


async def leave_at(server: FaultServer, port: int, key: str, case: Case, *, politely: bool) -> Departure:
    """Leave when the provider is where its case says."""
    leaver = Leaver(server, port, key)
    seen = len(server.visits[case.name])
    await leaver.ask(case)
    async with asyncio.timeout(_PATIENCE):
        while len(server.visits[case.name]) == seen:  # noqa: ASYNC110 - no event crosses the gateway
            await asyncio.sleep(0.005)
        [visit] = server.visits[case.name][seen:]
        if case.committed:
            await leaver.read_all_before()
        else:
            # The gateway has what came so far, and holds it.
            await asyncio.sleep(0.1)
        assert not visit.over.is_set()
        left_at = asyncio.get_running_loop().time()
        leaver.leave(politely=politely)
        await visit.over.wait()
    return Departure(visit, visit.over_at - left_at, leaver.body if case.committed else b"")


async def storm(
    server: FaultServer, port: int, key: str, dice: random.Random, count: int, *, at_once: int = 40
) -> None:
    """Let `count` clients ask for something and leave at any moment, from within their request to after its end."""
    room = asyncio.Semaphore(at_once)

    async def one(case: Case) -> None:
        async with room:
            leaver = Leaver(server, port, key)
            await leaver.ask(case, part=dice.random() if dice.random() < 0.1 else 1.0)
            await leaver.read_for(dice.choice(_MOMENTS) * dice.random())
            leaver.leave(politely=dice.random() < 0.5)

    cases = [*CASES, *OTHERS]
    await asyncio.gather(*(one(dice.choice(cases)) for _ in range(count)))
