"""Rejects requests for stored responses, which only the provider's account has."""

from __future__ import annotations

from llm_gateway.core.errors import NotFound
from llm_gateway.flow.request.admission import admit_unmetered
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.openai.dialect import RESPONSE


def stored_response_handler(plane: DataPlane) -> Handler:
    """Return the handler of all paths below /v1/responses/."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive, send, request_id
        admit_unmetered(plane.gateway, RequestContext(scope, RESPONSE).api_key)
        message = (
            "The gateway stores no responses and does not know which provider has this one. "
            "It supports only POST /v1/responses."
        )
        raise NotFound(message)

    return handler
