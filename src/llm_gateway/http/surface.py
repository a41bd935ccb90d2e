"""The data plane's frame: raw ASGI around a handler, from the request's head to its last byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loguru import logger

from llm_gateway.core.chat import ChatRequest
from llm_gateway.core.errors import BodyTimedOut, BodyTooLarge, GatewayError, InternalError
from llm_gateway.flow.call import Call, ClientLeft
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.pipeline import handle
from llm_gateway.flow.ports import WorkerBoard
from llm_gateway.http.body import BodyReader
from llm_gateway.http.errors import send_error
from llm_gateway.http.hangup import ClientGone, until_hangup
from llm_gateway.http.request_context import RequestContext
from llm_gateway.http.responding import send_reply
from llm_gateway.http.types import Receive, Scope, Send

# A handler is given the request's id beside ASGI's three.
Handler = Callable[[Scope, Receive, Send, str], Awaitable[None]]
Parse = Callable[[bytes], ChatRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlane:
    """What every data-plane route shares."""

    gateway: Gateway
    bodies: BodyReader
    board: WorkerBoard
    max_concurrency: int

    def completion(self, path: str, parse: Parse) -> Handler:
        """Return the handler of one completion route; `parse` reads the surface's dialect."""

        async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
            context = RequestContext(scope, request_id)
            admitted = self.board.try_enter(self.max_concurrency)
            self.gateway.lifecycle.open += 1
            try:
                await answer(
                    scope,
                    send,
                    request_id,
                    self._complete(path, parse, context, scope, receive, send, admitted),
                )
            finally:
                self.gateway.lifecycle.open -= 1
                if admitted:
                    self.board.leave()

        return handler

    async def _complete(
        self,
        path: str,
        parse: Parse,
        context: RequestContext,
        scope: Scope,
        receive: Receive,
        send: Send,
        admitted: bool,
    ) -> None:
        clock = self.gateway.clock
        call = Call(
            request_id=context.request_id,
            client_request_id=context.client_request_id,
            path=path,
            method=scope["method"],
            api_key=context.api_key,
            client_ip=context.client_ip,
            started=clock.monotonic(),
            created_at=clock.unix_us(),
            admitted=admitted,
            cache=context.cache,
            forwarded=context.forwarded,
            headers=scope["headers"],
        )

        async def read_request(call: Call) -> ChatRequest:
            body = await self.bodies.read(context, scope, receive)
            call.request_bytes = len(body)
            return parse(body)

        try:
            reply = await handle(self.gateway, call, read_request)
            await send_reply(send, reply, context.request_id)
        finally:
            self.bodies.release(call.request_bytes)


async def answer(scope: Scope, send: Send, request_id: str, work: Awaitable[None]) -> None:
    """Do the work of one request; what it raises becomes the error response, if there can still be one."""
    try:
        await until_hangup(scope, work)
    except (ClientGone, ClientLeft):
        return
    except GatewayError as error:
        # What is left of a body that nobody reads would be taken for the next request.
        close = isinstance(error, (BodyTooLarge, BodyTimedOut))
        await send_error(send, error, request_id, close=close)
    except Exception:  # noqa: BLE001 - the last frame before the server: whatever it is, the client hears of it
        logger.exception("Request {} failed by a fault of the gateway.", request_id)
        await send_error(send, internal_error(), request_id)


def internal_error() -> InternalError:
    """Return what a client hears of a fault of ours."""
    return InternalError("The gateway failed to handle the request; its log says more under the request id.")
