"""Delivers what becomes of a request: its reply or its error."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from llm_gateway.flow.call import Call, ClientDisconnected
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.ports.workers import WorkerRegistry
from llm_gateway.flow.request.reply import ByteStream, Reply, WholeReply
from llm_gateway.http.disconnect import CancelOnDisconnect
from llm_gateway.http.errors import send_error
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.responding import send_reply, send_rest, sent_at_once
from llm_gateway.http.types import Exchange, Send


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Sends responses, and keeps count of the requests that are open until then."""

    gateway: Gateway
    bodies: BodyReader
    worker_registry: WorkerRegistry

    async def deliver(
        self,
        call: Call,
        dialect: Dialect,
        exchange: Exchange | None,
        send: Send,
        answering: Coroutine[Any, Any, Reply],
    ) -> None:
        """Send the reply that `answering` returns, or the error that it raises; then the request leaves.

        `dialect` is that of the route.
        """
        request_id = call.request_id
        try:
            with CancelOnDisconnect(exchange):
                reply = await answering
                if not (
                    type(reply) is WholeReply and sent_at_once(exchange, send, reply, dialect, request_id)
                ):
                    await send_reply(send, reply, dialect, request_id, exchange)
        except Exception as error:  # noqa: BLE001 - the last frame before the server
            # The body may have told the dialect how its client numbers the request.
            await send_error(send, call.dialect, error, request_id)
        finally:
            self.leave(call)

    async def deliver_rest(
        self, call: Call, exchange: Exchange, send: Send, stream: ByteStream, fault: Exception | None
    ) -> None:
        """Send the rest of a stream whose response has begun, as `send_rest` does; then the request leaves."""
        try:
            with suppress(ClientDisconnected), CancelOnDisconnect(exchange):
                await send_rest(send, stream, call.request_id, exchange, fault)
        finally:
            self.leave(call)

    def leave(self, call: Call) -> None:
        """Take note that a request is no longer open."""
        self.bodies.release(call.request_bytes)
        self.gateway.lifecycle.open -= 1
        if call.admitted:
            self.worker_registry.leave()
