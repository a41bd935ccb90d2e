"""Two providers at one address, for tests in the same event loop: a bad one that plays cases, and a good one."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tests.fakes.faults import (
    ERROR_EVENT,
    ERROR_REASON,
    FAILED_EVENT,
    HUGE,
    MALFORMED,
    NOT_JSON,
    PING,
    Case,
    before,
    healthy,
    pieces,
    rewritten,
)
from tests.fakes.script import error_body

_PING_SECONDS = 0.02
# Lets what was written reach the reader before a reset throws it away.
_SETTLE = 0.05
_LOOK = 0.005
_PATIENCE = 8.0
_SLICE = 64 * 1024


class Gone(Exception):
    """The connection is over."""


class Visit:
    """One request as it came; times are those of the event loop."""

    def __init__(self, lane: str, case: Case, request_id: str) -> None:
        self.lane = lane
        self.case = case
        self.request_id = request_id
        # Its answer, or its connection, came to its end; and when.
        self.over = asyncio.Event()
        self.over_at = 0.0


class FaultServer:
    """Where the two listen, and who came; `seen` is for the client to say how many bytes it has."""

    def __init__(self) -> None:
        self.origin = ""
        self.visits: dict[str, list[Visit]] = defaultdict(list)
        self.seen: dict[str, int] = defaultdict(int)
        # Connections, and requests that are being answered.
        self.open = 0
        self.busy = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def base_url(self, lane: str) -> str:
        """Return the base URL of a lane: `bad` or `good`."""
        return f"{self.origin}/{lane}/v1"

    async def came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            while True:
                await self._answer_one(reader, writer)
        except (Gone, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        pairs = (line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:-2])
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        lane = head.split(b"/", 2)[1].decode()
        case = Case.named(json.loads(body)["model"])
        visit = Visit(lane, case, headers["x-request-id"])
        self.visits[case.name].append(visit)
        coding = "gzip" if lane == "bad" and case.fault.startswith("gzip") else ""
        wire = _Wire(self, case, reader, writer, coding)
        self.busy += 1
        try:
            if lane == "good":
                await wire.play_whole(b"".join(healthy(case)))
            else:
                await _play(wire)
        finally:
            self.busy -= 1
            visit.over_at = asyncio.get_running_loop().time()
            visit.over.set()

    async def close(self) -> None:
        """Drop everyone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def fault_server() -> AsyncIterator[FaultServer]:
    """Listen on a free loopback port."""
    made = FaultServer()
    server = await asyncio.start_server(made.came, "127.0.0.1", 0, backlog=1024)
    made.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.close()


class _Wire:
    """One answer on its way out, in the framing that its case asks for."""

    def __init__(
        self,
        server: FaultServer,
        case: Case,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        coding: str,
    ) -> None:
        self._server = server
        self._coding = coding
        self._reader = reader
        self._writer = writer
        self.case = case
        self.sent = 0

    def head(self, status: int = 200, *, length: int | None = None) -> None:
        """Send the head; `length` is what a content-length says."""
        case = self.case
        kind = "application/json" if case.surface == "unary" or status != 200 else "text/event-stream"
        lines = [f"HTTP/1.1 {status} Status", f"content-type: {kind}"]
        if self._coding:
            lines.append(f"content-encoding: {self._coding}")
        if case.framing == "chunked":
            lines.append("transfer-encoding: chunked")
        elif case.framing == "close":
            lines.append("connection: close")
        else:
            lines.append(f"content-length: {length}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        """Send a part of the body."""
        self.sent += len(data)
        chunk = b"%x\r\n%s\r\n" % (len(data), data) if self.case.framing == "chunked" else data
        self._writer.write(chunk)
        await self._writer.drain()

    async def end(self) -> None:
        """End the body as its framing does."""
        if self.case.framing == "chunked":
            self._writer.write(b"0\r\n\r\n")
        elif self.case.framing == "close":
            await self.fin()

    async def fin(self) -> None:
        """Close with a FIN: everything sent before it arrives."""
        self._writer.close()
        raise Gone

    async def bad_chunk(self) -> None:
        """Send what is no chunk where one begins."""
        self._writer.write(b"<html>\r\n")
        await self.stall()

    async def reset(self) -> None:
        """Close with an RST."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()
        raise Gone

    async def stall(self) -> None:
        """Say nothing more until the caller is gone."""
        await self._reader.read(1)
        raise Gone

    async def ping(self, data: bytes = PING, seconds: float = _PING_SECONDS) -> None:
        """Say the same again and again until the caller is gone."""
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            while not gone.done():
                await self.send(data)
                await asyncio.wait({gone}, timeout=seconds)
        finally:
            gone.cancel()
        raise Gone

    async def settle(self) -> None:
        """Wait until what was sent has arrived: at the client, where it may see it already."""
        if not self.case.committed:
            await asyncio.sleep(_SETTLE)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while self._server.seen[self.case.name] < self.sent:
                    await asyncio.sleep(_LOOK)
                    if self._reader.at_eof():
                        raise Gone

    async def play_whole(self, body: bytes) -> None:
        """Send a whole answer."""
        self.head(length=len(body))
        for piece in pieces(self.case, body):
            await self.send(piece)
            if len(piece) < len(body):
                await asyncio.sleep(0)
        await self.end()


async def _play(wire: _Wire) -> None:
    case = wire.case
    whole = _WHOLE.get(case.fault)
    if whole is not None:
        await whole(wire)
        return
    if case.phase != "before_headers":
        if case.surface == "unary":
            [body] = healthy(case)
            wire.head(length=len(body))
            if case.phase == "mid_body":
                await wire.send(body[: len(body) // 2])
        else:
            wire.head(length=len(b"".join(healthy(case))))
            for event in before(case):
                await wire.send(event)
        await wire.settle()
    await _FAULTS[case.fault](wire)


async def _end(wire: _Wire) -> None:
    await wire.end()


async def _comments(wire: _Wire) -> None:
    for _ in range(3):
        await wire.send(PING)
    await wire.end()


async def _then_end(wire: _Wire, event: bytes) -> None:
    await wire.send(event)
    await wire.settle()
    if wire.case.surface == "chat":
        # Whoever overlooks the fault finds a clean end.
        for rest in healthy(wire.case)[4:]:
            await wire.send(rest)
    await wire.end()


async def _error_event(wire: _Wire) -> None:
    await _then_end(wire, FAILED_EVENT if wire.case.surface == "responses" else ERROR_EVENT)


_FAULTS: dict[str, Callable[[_Wire], Awaitable[None]]] = {
    "reset": _Wire.reset,
    "fin": _Wire.fin,
    "end": _end,
    "bad_chunk": _Wire.bad_chunk,
    "stall": _Wire.stall,
    "pings": _Wire.ping,
    "flood": lambda wire: wire.ping(PING * 200, 0.002),
    "comments": _comments,
    "error_event": _error_event,
    "malformed": lambda wire: _then_end(wire, MALFORMED),
    "not_json": lambda wire: _then_end(wire, NOT_JSON),
    "error_reason": lambda wire: _then_end(wire, ERROR_REASON),
}


async def _as_written(wire: _Wire) -> None:
    await wire.play_whole(rewritten(wire.case))


async def _done_then_open(wire: _Wire) -> None:
    wire.head()
    for event in healthy(wire.case):
        await wire.send(event)
    await wire.stall()


async def _gzip_cut(wire: _Wire) -> None:
    body = rewritten(wire.case)
    wire.head(length=len(body))
    await wire.send(body[: len(body) // 2])
    await wire.fin()


async def _instead(wire: _Wire, body: bytes) -> None:
    wire.head(length=len(body))
    if body:
        await wire.send(body)
    await wire.end()


async def _huge_error(wire: _Wire, status: int) -> None:
    wire.head(status, length=HUGE)
    for _ in range(HUGE // _SLICE):
        await wire.send(b"x" * _SLICE)
    await wire.end()


_WHOLE: dict[str, Callable[[_Wire], Awaitable[None]]] = {
    "crlf": _as_written,
    "cr": _as_written,
    "split_utf8": _as_written,
    "drip": _as_written,
    "gzip": _as_written,
    "big_event": _as_written,
    "big_body": _as_written,
    "gzip_cut": _gzip_cut,
    "done_open": _done_then_open,
    "html_body": lambda wire: _instead(wire, b"<html>bad gateway</html>"),
    "empty_body": lambda wire: _instead(wire, b""),
    "no_answer": lambda wire: _instead(wire, b"{}"),
    "done_alone": lambda wire: _instead(wire, PING + b"data: [DONE]\n\n"),
    "error_body": lambda wire: _instead(wire, error_body("The engine died.", kind="server_error")),
    "huge_500": lambda wire: _huge_error(wire, 500),
    "huge_400": lambda wire: _huge_error(wire, 400),
}
