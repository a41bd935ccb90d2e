"""Raw ASGI handlers of model routes, from the request's head to the last byte of the response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.http.client_address import TrustedProxies
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.delivery import Delivery
from llm_gateway.http.model_routes.direct import DirectRoute
from llm_gateway.http.model_routes.forwarding import scoped
from llm_gateway.http.model_routes.request_context import context_of
from llm_gateway.http.types import DIRECT, Receive, Scope, Send, exchange_of

# A handler receives the request id in addition to ASGI's three arguments.
Handler = Callable[[Scope, Receive, Send, str], Awaitable[None]]


class DataPlane(msgspec.Struct, frozen=True, kw_only=True):
    """What all model routes share. `max_concurrency` limits the open requests of all workers together."""

    gateway: Gateway
    bodies: BodyReader
    worker_registry: WorkerRegistry
    max_concurrency: int
    # Makes the ids of requests that do not come through the dispatcher; None = all of them do.
    new_request_id: Callable[[], str] | None = None
    proxies: TrustedProxies = msgspec.field(default_factory=TrustedProxies)

    def model_route(self, path: str, dialect: Dialect) -> Handler:
        """Return the handler of one model route."""
        gateway, bodies, worker_registry = self.gateway, self.bodies, self.worker_registry
        proxies = self.proxies
        delivery = Delivery(gateway=gateway, bodies=bodies, worker_registry=worker_registry)
        direct = DirectRoute(delivery, path, dialect, self.max_concurrency, self.new_request_id)

        async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
            exchange = exchange_of(scope)
            context = context_of(scope, exchange, dialect, proxies)
            if exchange is not None and exchange.head_state is not None and DIRECT not in exchange.head_state:
                # A middleware that wraps `send` wants to see each response.
                is_wrapped = send != exchange.send
                exchange.head_state[DIRECT] = None if is_wrapped else direct.server(context, scope)
            clock = gateway.clock
            # By position, in the order of its fields.
            call = Call(
                dialect,
                request_id,
                context.client_request_id,
                path,
                scope["method"],
                context.api_key,
                context.client_ip,
                clock.monotonic(),
                clock.unix_us(),
                {"x-request-id": request_id, **scoped(more, gateway, context.api_key)}
                if (more := context.forwarded)
                else {"x-request-id": request_id},
                worker_registry.try_enter(self.max_concurrency),
                context.cache_directive,
                scope["headers"],
                context.cost_headers,
                0,
                context.attribution,
            )
            gateway.lifecycle.open += 1

            def read_body() -> bytes | Awaitable[bytes]:
                body = bodies.read_nowait(context, exchange)
                if body is None:
                    return wait_for_body()
                call.request_bytes = len(body)
                return body

            async def wait_for_body() -> bytes:
                body = await bodies.read(scope, receive)
                call.request_bytes = len(body)
                return body

            await delivery.deliver(call, dialect, exchange, send, handle(gateway, call, read_body))

        return handler
