"""Raw ASGI handlers of model routes, from the request's head to the last byte of the response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.http.body import BodyReader
from llm_gateway.http.client_address import TrustedProxies
from llm_gateway.http.disconnect import CancelOnDisconnect
from llm_gateway.http.errors import send_error
from llm_gateway.http.forwarding import scoped
from llm_gateway.http.request_context import context_of
from llm_gateway.http.responding import send_reply, sent_at_once
from llm_gateway.http.types import Receive, Scope, Send, exchange_of

# A handler receives the request id in addition to ASGI's three arguments.
Handler = Callable[[Scope, Receive, Send, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlane:
    """What all model routes share. `max_concurrency` limits the open requests of all workers together."""

    gateway: Gateway
    bodies: BodyReader
    worker_registry: WorkerRegistry
    max_concurrency: int
    proxies: TrustedProxies = field(default_factory=TrustedProxies)

    def model_route(self, path: str, dialect: Dialect) -> Handler:
        """Return the handler of one model route."""
        gateway, bodies, worker_registry = self.gateway, self.bodies, self.worker_registry
        proxies = self.proxies

        async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
            exchange = exchange_of(scope)
            context = context_of(scope, exchange, dialect, proxies)
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

            try:
                with CancelOnDisconnect(exchange):
                    reply = await handle(gateway, call, read_body)
                    if not (
                        type(reply) is WholeReply and sent_at_once(exchange, send, reply, dialect, request_id)
                    ):
                        await send_reply(send, reply, dialect, request_id, exchange)
            except Exception as error:  # noqa: BLE001 - the last frame before the server
                # The body may have told the dialect how its client numbers the request.
                await send_error(send, call.dialect, error, request_id)
            finally:
                bodies.release(call.request_bytes)
                gateway.lifecycle.open -= 1
                if call.admitted:
                    worker_registry.leave()

        return handler
