"""A gateway between one connection of a client and those of a provider, without sockets and real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar, cast

import msgspec
from uvicorn.config import Config

from llm_gateway.flow.gateway import Options
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.http1.state import GatewayServerState
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.in_memory import KEY, FakeGateway, ScriptedUpstream, provider
from tests.fakes.worker_registry import FakeWorkerRegistry

PATH = "/v1/chat/completions"

_Result = TypeVar("_Result")


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time advances when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now


def run_stepped(work: Callable[[SteppedLoop], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run `work` on a loop of its own."""
    loop = SteppedLoop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        loop.close()


class SocketlessTransport(asyncio.Transport):
    """Collects what is written, and passes on what a test feeds as uvloop does: the method is looked up once."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        # The protocol was told that the connection is gone.
        self.ended = False
        self.reading = True
        self.protocols: list[Any] = []
        self.set_protocol(protocol)
        protocol.connection_made(self)

    def set_protocol(self, protocol: Any) -> None:
        self.protocols.append(protocol)
        self._receive: Callable[[bytes], None] = protocol.data_received

    def feed(self, data: bytes) -> None:
        if not self.closed:
            self._receive(data)

    def lose(self, *, cleanly: bool) -> None:
        """End the connection from the other side."""
        protocol = self.protocols[-1]
        if cleanly and not self.closed:
            protocol.eof_received()
        if not self.closed:
            self.closed = True
            protocol.connection_lost(None if cleanly else ConnectionResetError())
            self.ended = True

    def _end(self) -> None:
        self.protocols[-1].connection_lost(None)
        self.ended = True

    def write(self, data: Any) -> None:
        if self.ended:
            # As uvloop does.
            raise RuntimeError("unable to perform operation on a transport; the handler is closed")
        if not self.closed:
            self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._end)

    def abort(self) -> None:
        self.close()

    def write_eof(self) -> None: ...


class _Dialer:
    def __init__(self) -> None:
        self.dialed: list[SocketlessTransport] = []

    async def dial(self, _server: object, factory: Callable[[], Any], *_: object) -> Any:
        await asyncio.sleep(0)
        protocol = factory()
        self.dialed.append(SocketlessTransport(protocol))
        return protocol

    def close(self) -> None: ...


class SocketlessGateway:
    """The server's protocol, the data plane and the pool. `client` and `dialed` are the transports at its ends."""

    def __init__(self, loop: SteppedLoop, *, passes_quiet: bool, **options: Any) -> None:
        self.loop = loop
        self.bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(), options=Options(**options))
        self.pool = PooledUpstream(
            connect_timeout=1, passes_quiet=passes_quiet, batch=make_write_batch(patience=ALWAYS)
        )
        dialer = _Dialer()
        # The only part of the pool that is not real.
        cast("Any", self.pool)._dialer = dialer
        self.dialed = dialer.dialed
        self.workers = FakeWorkerRegistry()
        plane = DataPlane(
            gateway=replace(self.bench.gateway, upstream=self.pool),
            bodies=BodyReader(max_bytes=1 << 20, max_total_bytes=1 << 20, timeout=10),
            worker_registry=self.workers,
            max_concurrency=10,
        )
        handler = plane.model_route(PATH, CHAT)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await handler(scope, receive, send, "an-id")

        config = Config(
            app,
            http=GatewayProtocol,
            ws="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        config.load()
        self.protocol = GatewayProtocol(
            config, GatewayServerState(HttpLimits(), batch=make_write_batch(patience=ALWAYS)), {}, loop
        )
        self.client = SocketlessTransport(self.protocol)

    def ask(self, **fields: Any) -> None:
        """Send a chat request."""
        body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a b"}], **fields})
        lines = [f"POST {PATH} HTTP/1.1", "host: x", f"authorization: Bearer {KEY}"]
        lines += [f"content-length: {len(body)}", "", ""]
        self.client.feed("\r\n".join(lines).encode() + body)

    async def settle(self) -> None:
        """Let everything happen that needs no further input."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Let time pass, for the loop and for the gateway's clock."""
        self.loop.now += seconds
        self.bench.clock.now += seconds
        await self.settle()

    def state(self) -> dict[str, Any]:
        """Return all that may not depend on how a stream was relayed."""
        recorder = self.bench.recorder
        lifecycle = self.bench.gateway.lifecycle
        return {
            "client": (b"".join(self.client.written), self.client.closed, self.client.reading),
            "provider": [(one.written, one.closed, one.reading) for one in self.dialed],
            "rows": recorder.journalled,
            "observed": (recorder.records, recorder.failed),
            "attempts": (recorder.begun, recorder.ended_attempts),
            "connections": self.pool.connections(),
            "open": (lifecycle.open, self.workers.inside),
        }
