"""A GatewayProtocol behind a real socket in the test's own event loop, and a client that speaks bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from uvicorn.config import Config

from llm_gateway.server.http1.deadlines import DeadlineSweep
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.http1.state import GatewayServerState
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Served:
    """Where the protocol listens, and what its process state is."""

    def __init__(self, listening: socket.socket, state: GatewayServerState) -> None:
        # Connections inherit its options.
        self.listening = listening
        self.port: int = listening.getsockname()[1]
        self.state = state
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        """Open a connection; it is closed with the server at the latest."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def ask(self, request: bytes) -> Answer:
        """Send bytes on a connection of their own and return the first response."""
        client = await self.connect()
        try:
            client.send(request)
            return await client.answer()
        finally:
            client.close()


class Answer:
    """One response as it came."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def error(self) -> dict[str, Any]:
        """Return OpenAI's error object."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class Client:
    """Bytes out, responses in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Write."""
        self.writer.write(data)

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self.writer.write_eof()

    def close(self) -> None:
        """Leave."""
        self.writer.close()

    def reset(self) -> None:
        """Leave at once."""
        self.writer.transport.abort()

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read one response; to a HEAD request it has no body."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            status = int(lines[0].split(" ")[1])
            body = b"" if to_head or status == 100 else await self._body(headers)
        return Answer(status, headers, body)

    async def rest(self) -> bytes:
        """Read until the server closes."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.read()
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body


@asynccontextmanager
async def served(app: App, **limits: Any) -> AsyncIterator[Served]:
    """Serve `app`; keyword arguments are fields of HttpLimits."""
    loop = asyncio.get_running_loop()
    config = Config(
        app,
        http=GatewayProtocol,
        ws="none",
        interface="asgi3",
        access_log=False,
        log_config=None,
        proxy_headers=False,
    )
    config.load()
    state = GatewayServerState(
        HttpLimits(**limits), new_request_id=lambda: "the-request-id", batch=make_write_batch(patience=ALWAYS)
    )
    sweep = DeadlineSweep(state.connections, 0.01)
    server = await loop.create_server(lambda: GatewayProtocol(config, state, {}, loop), "127.0.0.1", 0)
    sweep.start(loop)
    here = Served(server.sockets[0], state)
    try:
        yield here
    finally:
        for client in here.clients:
            client.reset()
        sweep.stop()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
