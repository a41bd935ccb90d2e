"""Carries requests and replies between the server's protocol and the pool's connections, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from benchmarks.tools import BenchmarkFailed
from llm_gateway.server.http1.protocol import GatewayProtocol


class SocketlessTransport(asyncio.Transport):
    """Passes everything that is written to a function."""

    def __init__(self, on_write: Callable[[bytes], None]) -> None:
        super().__init__()
        self.write = on_write  # type: ignore[method-assign,assignment]
        self.receive: Callable[[bytes], None]

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        # As uvloop does: what is called for each piece is looked up once.
        self.receive = cast("asyncio.Protocol", protocol).data_received

    # Without a Python frame, as the method of a real transport: it returns False.
    is_closing = staticmethod(bool)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


@dataclass
class Loopback:
    """Delivers requests and replies in rounds of the event loop, and counts the requests that are left to send."""

    replies: Callable[[], Sequence[bytes]]
    request: bytes
    to_request: list[GatewayProtocol] = field(default_factory=list)
    to_reply: list[tuple[SocketlessTransport, list[bytes]]] = field(default_factory=list)
    left: int = 0
    open: int = 0
    done: asyncio.Future[None] | None = None
    bad_reply: bytes | None = None

    def on_request(self, transport: SocketlessTransport, data: bytes) -> None:
        del data
        self.to_reply.append((transport, list(self.replies())))

    def on_reply(self, protocol: GatewayProtocol, data: bytes) -> None:
        if data.startswith(b"HTTP/") and not data.startswith(b"HTTP/1.1 200 "):
            self.bad_reply = data
        if data.endswith((b"0\r\n\r\n", b"}")):
            self.open -= 1
            self.to_request.append(protocol)

    def run_round(self) -> None:
        """Deliver one piece of each pending reply, and send the next request where a reply has ended."""
        replies, self.to_reply = self.to_reply, []
        for transport, pieces in replies:
            transport.receive(pieces.pop(0))
            if pieces:
                self.to_reply.append((transport, pieces))
        ready, self.to_request = self.to_request, []
        for protocol in ready:
            if self.left:
                self.left -= 1
                self.open += 1
                protocol.data_received(self.request)
            else:
                self.to_request.append(protocol)
        if self.open or self.left:
            asyncio.get_running_loop().call_soon(self.run_round)
        elif self.done is not None:
            self.done.set_result(None)

    async def send(self, count: int) -> None:
        """Send `count` requests over all connections, and return when all replies are complete."""
        self.left = count
        self.done = asyncio.get_running_loop().create_future()
        self.run_round()
        await self.done
        if self.bad_reply is not None:
            raise BenchmarkFailed(f"a request failed: {self.bad_reply!r}")


class LoopbackDialer:
    """Opens connections whose transport has no socket."""

    def __init__(self, loopback: Loopback) -> None:
        self._loopback = loopback

    async def dial(self, _server: object, factory: Callable[[], Any], *_: object) -> Any:
        protocol = factory()
        on_request = self._loopback.on_request
        transport = SocketlessTransport(lambda _: None)
        transport.write = partial(on_request, transport)  # type: ignore[method-assign]
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return protocol

    def close(self) -> None: ...
