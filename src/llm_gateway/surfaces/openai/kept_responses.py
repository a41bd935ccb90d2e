"""Says why a response cannot be asked for again: it is in its provider's account, and only there."""

from __future__ import annotations

from llm_gateway.core.errors import NotFound
from llm_gateway.flow.request.admission import authenticate, current_snapshot
from llm_gateway.http.data_plane import DataPlane, Handler, answer
from llm_gateway.http.request_context import RequestContext
from llm_gateway.http.types import Receive, Scope, Send


def kept_response_handler(plane: DataPlane) -> Handler:
    """Return the handler of everything below /v1/responses/."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive

        async def work() -> None:
            snapshot = current_snapshot(plane.gateway, admitted=True)
            authenticate(plane.gateway, snapshot, RequestContext(scope).api_key)
            message = (
                "The gateway keeps no responses and does not know which provider has this one: "
                "only POST /v1/responses is answered here."
            )
            raise NotFound(message)

        await answer(scope, send, request_id, work())

    return handler
