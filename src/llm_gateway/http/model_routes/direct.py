"""Serves requests that repeat the head of an earlier one of their connection, without a task or an ASGI scope."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final
from weakref import ref

from llm_gateway.core.ledger.served import client_facts
from llm_gateway.flow.call import Call
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.request.direct import DirectClient, DirectRequest, KnownCallers
from llm_gateway.flow.request.reply import Reply, WholeReply
from llm_gateway.flow.request.streaming.direct_stream import DirectStream
from llm_gateway.http.model_routes.delivery import Delivery
from llm_gateway.http.model_routes.forwarding import scoped
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.streamed_response import StreamedResponse
from llm_gateway.http.types import Exchange, Receive, Scope, Send

# Takes an exchange and its whole body; returns False, with nothing done, if the application has to serve it.
Serve = Callable[[Exchange, bytes], bool]
_PLAIN: Final = {None, b"", b"identity"}


class DirectRoute(DirectClient[Exchange]):
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

    # --- as a DirectClient ----------------------------------------------------------------------------

    def replied(self, request: DirectRequest[Exchange], reply: WholeReply) -> None:
        call = request.call
        headers = (
            *self._dialect.reply_headers,
            (b"x-request-id", call.request_id.encode()),
            *reply.headers,
        )
        if request.exchange.respond(reply.status, headers, reply.body):
            self._delivery.leave(call)
        else:
            self.go_on(request, _known(reply))

    def streams(self, request: DirectRequest[Exchange], stream: DirectStream) -> None:
        StreamedResponse(self._delivery, self._dialect, request.call, request.exchange, stream).begin()

    def go_on(self, request: DirectRequest[Exchange], rest: Coroutine[Any, Any, Reply]) -> None:
        exchange = request.exchange
        exchange.unregister()
        is_running = False

        async def answer() -> Reply:
            try:
                return await rest
            except BaseException as error:
                request.failed(error)
                raise

        async def run(_scope: Scope, _receive: Receive, send: Send) -> None:
            nonlocal is_running
            is_running = True
            await self._delivery.deliver(request.call, self._dialect, exchange, send, answer())

        def ended(_task: object) -> None:
            if not is_running:
                # It was cancelled before it began.
                rest.close()
                request.give_up()

        exchange.run_in_task(run, ended)

    def left(self, request: DirectRequest[Exchange]) -> None:
        request.exchange.unregister()
        self._delivery.leave(request.call)

    def server(self, context: RequestContext, scope: Scope) -> Serve | None:
        """Return what serves requests with one head, which has this context; None if the application has to.

        It answers as the application does, and looks again at whatever may change from request to request.
        """
        delivery, new_id, most = self._delivery, self._new_id, self._max_concurrency
        gateway, bodies, registry = delivery.gateway, delivery.bodies, delivery.worker_registry
        if new_id is None or gateway.tracer is not None or context.content_encoding not in _PLAIN:
            return None
        path, dialect, method = self._path, self._dialect, scope["method"]
        # Without the only one that differs from request to request.
        headers = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
        lifecycle, snapshots, clock = gateway.lifecycle, gateway.snapshots, gateway.clock
        callers, api_key = self._callers, context.api_key
        forwarded = scoped(context.forwarded, gateway, api_key)
        known = callers.find(api_key, forwarded)
        client = client_facts(context.client_request_id, context.client_ip)
        # A weak reference, so that a connection without requests keeps no old configuration.
        known_in = ref(current) if (current := snapshots.current) is not None else _nothing

        def serve(exchange: Exchange, body: bytes) -> bool:
            nonlocal known, known_in, forwarded
            snapshot = snapshots.current
            if snapshot is None:
                return False
            if snapshot is not known_in():
                known_in = ref(snapshot)
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
                client,
            )
            request = DirectRequest(gateway, call, self, exchange)
            exchange.on_disconnect = request.client_left
            request.start(snapshot, known, body)
            return True

        return serve


def _nothing() -> None:
    return None


async def _known(reply: WholeReply) -> Reply:
    return reply
