"""Applications for the protocol to serve in tests, and the simplest requests for them."""

from __future__ import annotations

import asyncio

from llm_gateway.server.http1.exchange import EXTENSION
from tests.fakes.served import Receive, Scope, Send

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"


async def reply(send: Send, body: bytes = b"ok", status: int = 200, *extra: tuple[bytes, bytes]) -> None:
    """Answer at once."""
    headers = [(b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None when the client left before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the method, the target and the body."""
    body = await read_body(receive)
    if body is not None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        await reply(send, scope["method"].encode() + b" " + target + b" " + body)


class Recorder:
    """An application that notes what happens to it and answers when told to."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes | None] = []
        self.disconnects = 0
        self.begun = asyncio.Event()
        self.read = asyncio.Event()
        self.go = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][EXTENSION].register(self._on_disconnect)
        self.scopes.append(scope)
        self.begun.set()
        self.bodies.append(await read_body(receive))
        self.read.set()
        await self.go.wait()
        await reply(send)

    def _on_disconnect(self) -> None:
        self.disconnects += 1
        self.left.set()
