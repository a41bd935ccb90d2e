"""Raw ASGI handlers of model routes, from the request's head to the last byte of the response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.http.body import BodyReader
from llm_gateway.http.disconnect import CancelOnDisconnect
from llm_gateway.http.errors import send_error
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

    def model_route(self, path: str, dialect: Dialect) -> Handler:
        """Return the handler of one model route."""
        gateway, bodies, worker_registry = self.gateway, self.bodies, self.worker_registry

        async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
            exchange = exchange_of(scope)
            context = context_of(scope, exchange, dialect)
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
                {"x-request-id": request_id, **more}
                if (more := context.forwarded)
                else {"x-request-id": request_id},
                worker_registry.try_enter(self.max_concurrency),
                context.cache_directive,
                scope["headers"],
            )
            gateway.lifecycle.open += 1

            def read_request(call: Call) -> ModelRequest | Awaitable[ModelRequest]:
                body = bodies.read_nowait(context, exchange)
                if body is None:
                    return wait_for_request(call)
                call.request_bytes = len(body)
                request, call.attribution = dialect.read(body, call.headers)
                return request

            async def wait_for_request(call: Call) -> ModelRequest:
                body = await bodies.read(scope, receive)
                call.request_bytes = len(body)
                request, call.attribution = dialect.read(body, call.headers)
                return request

            try:
                with CancelOnDisconnect(exchange):
                    reply = await handle(gateway, call, read_request)
                    if not (
                        type(reply) is WholeReply and sent_at_once(exchange, send, reply, dialect, request_id)
                    ):
                        await send_reply(send, reply, dialect, request_id, exchange)
            except Exception as error:  # noqa: BLE001 - the last frame before the server
                await send_error(send, dialect, error, request_id)
            finally:
                bodies.release(call.request_bytes)
                gateway.lifecycle.open -= 1
                if call.admitted:
                    worker_registry.leave()

        return handler
