"""Clients that leave: at a chosen moment, or at any, politely or not."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct

from tests.e2e.fault_run import body_of
from tests.fakes.fault_server import FaultServer, Visit
from tests.fakes.faults import PATHS, PING, RESPONSES_PHASES, STREAM_PHASES, UNARY_PHASES, Case, before

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
        head = (
            f"POST {PATHS[case.surface]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self._key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        self._writer.write(request[: max(1, int(len(request) * part))])
        await self._writer.drain()

    async def read_until(self, marks: list[bytes]) -> None:
        """Read until all of `marks` are there."""
        async with asyncio.timeout(_PATIENCE):
            while not all(mark in self.got for mark in marks):
                data = await self._reader.read(_READ)
                assert data, self.got
                self._take(data)

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
        self._server.seen[self._case.name] += len(data)

    def leave(self, *, politely: bool) -> None:
        """Close with a FIN, or with an RST."""
        if politely:
            self._writer.close()
            return
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


async def leave_at(
    server: FaultServer, port: int, key: str, case: Case, *, politely: bool
) -> tuple[Visit, float]:
    """Leave when the provider is where its case says; return its visit, and how long it stayed, in seconds."""
    leaver = Leaver(server, port, key)
    seen = len(server.visits[case.name])
    await leaver.ask(case)
    async with asyncio.timeout(_PATIENCE):
        while len(server.visits[case.name]) == seen:  # noqa: ASYNC110 - no event crosses the gateway
            await asyncio.sleep(0.005)
        [visit] = server.visits[case.name][seen:]
        if case.committed:
            await leaver.read_until([event.rstrip() for event in before(case) if event != PING])
        else:
            # The gateway has what came so far, and holds it.
            await asyncio.sleep(0.1)
        assert not visit.over.is_set()
        left_at = asyncio.get_running_loop().time()
        leaver.leave(politely=politely)
        await visit.over.wait()
    return visit, visit.over_at - left_at


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
