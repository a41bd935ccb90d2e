"""dgen-ping's API behind the dispatcher, over a gateway of fakes."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.dispatcher import Dispatcher
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.routes import ping_surface
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.usage_reader import ListedEvents, surface_services
from tests.fakes.worker_registry import FakeWorkerRegistry


class PingApp:
    """The surface, the events that it took, and the gateway below it."""

    def __init__(self, options: PingOptions) -> None:
        reply = FakeReply(b'{"choices":[{"message":{"content":"hi"}}]}')
        bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=reply))
        self.gateway = bench.gateway
        plane = DataPlane(
            gateway=bench.gateway,
            bodies=BodyReader(max_bytes=1 << 20, max_total_bytes=1 << 20, timeout=1),
            worker_registry=FakeWorkerRegistry(),
            max_concurrency=1,
        )
        services = surface_services(plane, Prober(bench.gateway, ttl=60))
        events = services.events
        assert isinstance(events, ListedEvents)
        self.events = events.events
        self.surface = ping_surface(options)
        self.table = self.surface.routes(services)
        self._app = Dispatcher(
            (self.table,), self._nowhere, (), OPENAI_ERRORS, lambda: "an-id", lambda _: None
        )

    async def call(
        self, method: str, path: str, body: object = b"", *headers: tuple[bytes, bytes]
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON of the answer; bodies that are no bytes are sent as JSON."""
        wire = Wire(body if isinstance(body, bytes) else msgspec.json.encode(body))
        await self._app(http_scope(method, path, *headers), wire.receive, wire.send)
        return wire.status, msgspec.json.decode(wire.body)

    async def _nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("nothing is there")
