"""The data plane's frame: raw ASGI around a handler, from the request's head to its last byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loguru import logger

from llm_gateway.core.errors import BodyTimedOut, BodyTooLarge, GatewayError, InternalError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.call import Call, ClientDisconnected
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.http.body import BodyReader
from llm_gateway.http.disconnect import CancelOnDisconnect
from llm_gateway.http.errors import send_error
from llm_gateway.http.request_context import context_of
from llm_gateway.http.responding import send_reply, sent_at_once
from llm_gateway.http.types import Receive, Scope, Send, exchange_of

# A handler is given the request's id beside ASGI's three.
Handler = Callable[[Scope, Receive, Send, str], Awaitable[None]]
Parse = Callable[[bytes], ModelRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlane:
    """What every data-plane route shares."""

    gateway: Gateway
    bodies: BodyReader
    worker_registry: WorkerRegistry
    max_concurrency: int

    def completion(self, path: str, parse: Parse) -> Handler:
        """Return the handler of one completion route; `parse` reads the surface's dialect."""
        gateway, bodies, worker_registry = self.gateway, self.bodies, self.worker_registry

        async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
            exchange = exchange_of(scope)
            context = context_of(scope, exchange)
            clock = gateway.clock
            call = Call(
                request_id=request_id,
                client_request_id=context.client_request_id,
                path=path,
                method=scope["method"],
                api_key=context.api_key,
                client_ip=context.client_ip,
                started=clock.monotonic(),
                created_at=clock.unix_us(),
                admitted=worker_registry.try_enter(self.max_concurrency),
                cache=context.cache,
                forwarded={"x-request-id": request_id, **context.forwarded},
                headers=scope["headers"],
            )
            gateway.lifecycle.open += 1

            def read_request(call: Call) -> ModelRequest | Awaitable[ModelRequest]:
                body = bodies.read_nowait(context, exchange)
                if body is None:
                    return wait_for_request(call)
                call.request_bytes = len(body)
                return parse(body)

            async def wait_for_request(call: Call) -> ModelRequest:
                body = await bodies.read(scope, receive)
                call.request_bytes = len(body)
                return parse(body)

            try:
                with CancelOnDisconnect(exchange):
                    reply = await handle(gateway, call, read_request)
                    if not (type(reply) is WholeReply and sent_at_once(exchange, send, reply, request_id)):
                        await send_reply(send, reply, request_id, exchange)
            except Exception as error:  # noqa: BLE001 - the last frame before the server, see `fail`
                await fail(send, error, request_id)
            finally:
                bodies.release(call.request_bytes)
                gateway.lifecycle.open -= 1
                if call.admitted:
                    worker_registry.leave()

        return handler


async def answer(scope: Scope, send: Send, request_id: str, work: Awaitable[None]) -> None:
    """Do the work of one request; what it raises becomes the error response, if there can still be one."""
    try:
        with CancelOnDisconnect(exchange_of(scope)):
            await work
    except Exception as error:  # noqa: BLE001 - the last frame before the server, see `fail`
        await fail(send, error, request_id)


async def fail(send: Send, error: Exception, request_id: str) -> None:
    """Answer a request with what its work raised: whatever it is, the client hears of it, if it is still there."""
    if isinstance(error, ClientDisconnected):
        return
    if isinstance(error, GatewayError):
        # What is left of a body that nobody reads would be taken for the next request.
        close = isinstance(error, (BodyTooLarge, BodyTimedOut))
        await send_error(send, error, request_id, close=close)
        return
    logger.opt(exception=error).error("Request {} failed by a fault of the gateway.", request_id)
    await send_error(send, internal_error(), request_id)


def internal_error() -> InternalError:
    """Return what a client hears of a fault of ours."""
    return InternalError("The gateway failed to handle the request; its log says more under the request id.")
