"""Serves requests that repeat the head of an earlier one of their connection, without a task or an ASGI scope."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from llm_gateway.flow.call import Call
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.request.direct import DirectRequest, KnownCallers
from llm_gateway.flow.request.reply import Reply, WholeReply
from llm_gateway.http.model_routes.delivery import Delivery
from llm_gateway.http.model_routes.forwarding import scoped
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import whole_headers
from llm_gateway.http.types import Exchange, Receive, Scope, Send

# Takes an exchange and its whole body; returns False, with nothing done, if the application has to serve it.
Serve = Callable[[Exchange, bytes], bool]
_PLAIN: Final = {None, b"", b"identity"}


class DirectExchange(DirectRequest):
    """A direct request, and the exchange that it answers."""

    __slots__ = ("_delivery", "_dialect", "_exchange", "_is_running", "_rest")

    _rest: Coroutine[Any, Any, Reply]

    def __init__(self, delivery: Delivery, exchange: Exchange, call: Call) -> None:
        DirectRequest.__init__(self, delivery.gateway, call)
        self._delivery = delivery
        self._exchange = exchange
        # That of the route: one that reads a body may put another in its place.
        self._dialect = call.dialect
        # Whether the task of `go_on` has begun.
        self._is_running = False

    def replied(self, reply: WholeReply) -> None:
        exchange, call = self._exchange, self.call
        if exchange.respond(reply.status, whole_headers(reply, self._dialect, call.request_id), reply.body):
            self._delivery.leave(call)
        else:
            self.go_on(_known(reply))

    def go_on(self, rest: Coroutine[Any, Any, Reply]) -> None:
        self._exchange.unregister()
        self._rest = rest
        self._exchange.run_in_task(self._run, self._ended)

    def client_left(self) -> None:
        if self.is_waiting:
            self.give_up()
            self._delivery.leave(self.call)

    async def _run(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self._is_running = True
        await self._delivery.deliver(self.call, self._dialect, self._exchange, send, self._answer())

    async def _answer(self) -> Reply:
        try:
            return await self._rest
        except BaseException as error:
            self.failed(error)
            raise

    def _ended(self, task: object) -> None:
        """Clean up after a task that was cancelled before it began."""
        del task
        if not self._is_running:
            self._rest.close()
            self.give_up()
            self._delivery.leave(self.call)


class DirectRoute:
    """One route of models whose requests may be served directly."""

    __slots__ = ("_callers", "_delivery", "_dialect", "_max_concurrency", "_new_id", "_path")

    def __init__(
        self,
        delivery: Delivery,
        path: str,
        dialect: Dialect,
        max_concurrency: int,
        new_id: Callable[[], str] | None,
    ) -> None:
        """Without `new_id`, all requests come through the application."""
        self._delivery = delivery
        self._callers = KnownCallers(delivery.gateway)
        self._path = path
        self._dialect = dialect
        self._max_concurrency = max_concurrency
        self._new_id = new_id

    def server(self, context: RequestContext, scope: Scope) -> Serve | None:
        """Return what serves requests with one head, which has this context; None if the application has to.

        It answers as the application does, and looks again at whatever may change from request to request.
        """
        delivery, new_id, most = self._delivery, self._new_id, self._max_concurrency
        gateway, bodies, registry = delivery.gateway, delivery.bodies, delivery.worker_registry
        if new_id is None or gateway.tracer is not None or context.content_encoding not in _PLAIN:
            return None
        path, dialect, method, headers = self._path, self._dialect, scope["method"], scope["headers"]
        lifecycle, snapshots, clock = gateway.lifecycle, gateway.snapshots, gateway.clock
        callers, api_key = self._callers, context.api_key
        snapshot = snapshots.current
        forwarded = scoped(context.forwarded, gateway, api_key)
        known = callers.find(api_key, forwarded)

        def serve(exchange: Exchange, body: bytes) -> bool:
            nonlocal known, snapshot, forwarded
            if snapshots.current is not snapshot:
                snapshot = snapshots.current
                forwarded = scoped(context.forwarded, gateway, api_key)
                known = callers.find(api_key, forwarded)
            size = len(body)
            if known is None or lifecycle.draining or size >= LARGE_BODY or not bodies.hold(size):
                return False
            if not registry.try_enter(most):
                bodies.release(size)
                return False
            lifecycle.open += 1
            request_id = new_id()
            # By position, in the order of its fields.
            call = Call(
                dialect,
                request_id,
                context.client_request_id,
                path,
                method,
                api_key,
                context.client_ip,
                clock.monotonic(),
                clock.unix_us(),
                {"x-request-id": request_id, **forwarded} if forwarded else {"x-request-id": request_id},
                True,
                context.cache_directive,
                headers,
                context.cost_headers,
                size,
                context.attribution,
            )
            direct = DirectExchange(delivery, exchange, call)
            exchange.register(direct.client_left)
            direct.start(known, body)
            return True

        return serve


async def _known(reply: WholeReply) -> Reply:
    return reply
