"""A server on loopback that follows a script byte by byte, however wrong, and remembers who came."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"


class Left(Exception):
    """The client closed the connection."""


class Asked:
    """One request as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        self.body = body

    def header(self, name: str) -> str | None:
        """Return a header that may be there once."""
        values = [value for each, value in self.headers if each == name]
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None


class Visit:
    """One connection of a client."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.asked: list[Asked] = []
        self.reader = reader
        self.writer = writer

    async def request(self) -> Asked:
        """Read a whole request; raise Left when there is none."""
        head = await self.head()
        asked = Asked(head, b"")
        if length := asked.header("content-length"):
            asked.body = await self._read(self.reader.readexactly(int(length)))
        self.asked.append(asked)
        return asked

    async def head(self) -> bytes:
        """Read a request's head and leave its body; raise Left when there is none."""
        return await self._read(self.reader.readuntil(b"\r\n\r\n"))

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a segment of its own; raise Left."""
        for piece in pieces:
            if self.writer.transport.is_closing():
                raise Left
            try:
                self.writer.write(piece)
                await self.writer.drain()
            except ConnectionError:
                raise Left from None
            if len(pieces) > 1:
                # The client, in the same event loop, reads what is here before the next piece comes.
                for _ in range(4):
                    await asyncio.sleep(0)

    async def answer(self, *pieces: bytes) -> None:
        """Read a request and send pieces."""
        await self.request()
        await self.send(*pieces)

    async def keep_answering(self, *pieces: bytes) -> None:
        """Give every request of this connection the same answer."""
        while True:
            await self.answer(*pieces)

    def end(self) -> None:
        """Close with a FIN (and TLS's own farewell), everything sent before it arrives."""
        self.writer.close()

    def reset(self) -> None:
        """Close with an RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def cut(self) -> None:
        """Close the socket without TLS's farewell."""
        self.writer.transport.abort()

    async def left(self, within: float = 1.0) -> bool:
        """Tell whether the client closes the connection in time."""
        try:
            async with asyncio.timeout(within):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    @staticmethod
    async def _read(reading: Awaitable[bytes]) -> bytes:
        try:
            return await reading
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Left from None


Script = Callable[[Visit], Awaitable[None]]


class Origin:
    """Where it listens, and who came."""

    def __init__(self, script: Script, *, linger: bool) -> None:
        self.base = ""
        self.visits: list[Visit] = []
        self.open = 0
        self.errors: list[Exception] = []
        self._script = script
        self._linger = linger
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/v1/chat/completions") -> str:
        """Return the URL of a path."""
        return self.base + path

    def came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Follow the script."""
        visit = Visit(len(self.visits), reader, writer)
        self.visits.append(visit)
        task = asyncio.ensure_future(self._serve(visit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, visit: Visit) -> None:
        self.open += 1
        try:
            await self._script(visit)
            if self._linger and not visit.writer.is_closing():
                await visit.left(60.0)
        except Left:
            pass
        except Exception as error:  # noqa: BLE001 - the test hears of it at the end
            self.errors.append(error)
        finally:
            self.open -= 1
            visit.writer.close()

    async def all_left(self, within: float = 1.0) -> bool:
        """Tell whether no client holds a connection, in time."""
        try:
            async with asyncio.timeout(within):
                while self.open:  # noqa: ASYNC110 - a look now and then is enough
                    await asyncio.sleep(0.002)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Drop everyone; raise what a script raised."""
        for visit in self.visits:
            # Python 3.11.2 forgets what a TLS transport is about once it was closed twice.
            with contextlib.suppress(AttributeError):
                visit.writer.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The event loop closes the sockets in its next rounds.
        for _ in range(3):
            await asyncio.sleep(0)
        for error in self.errors:
            raise error


@asynccontextmanager
async def origin_of(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    linger: bool = True,
    receive_buffer: int = 0,
) -> AsyncIterator[Origin]:
    """Listen; `script` runs for every connection.

    A script that returns leaves the connection open until the client goes, unless `linger` is off.
    `receive_buffer` is in bytes, 0 for the system's own.
    """
    origin = Origin(script, linger=linger)
    listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if receive_buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = await asyncio.start_server(origin.came, sock=listening, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    named = f"[{host}]" if ":" in host else host
    origin.base = f"http{'s' if tls else ''}://{named}:{port}"
    try:
        yield origin
    finally:
        server.close()
        await origin.close()


def answers(*pieces: bytes) -> Script:
    """Return a script that gives every request the same pieces, on connections that stay open."""

    async def script(visit: Visit) -> None:
        await visit.keep_answering(*pieces)

    return script
