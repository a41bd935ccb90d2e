"""Handlers that list the models a key may use, and describe one of them."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from llm_gateway.core.config.snapshot import Principal, Snapshot
from llm_gateway.core.errors import ModelNotFound
from llm_gateway.flow.provider_checks.probes import Prober, list_models
from llm_gateway.flow.request.admission import admit_unmetered, authorise
from llm_gateway.flow.request.handling import strip_prefix
from llm_gateway.flow.routing.priced_models import not_priced, priced_models
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.openai.dialect import CHAT

LIST_PATH = "/v1/models"
_OWNER = "llm-gateway"
# The gateway does not know when a model was created; a fixed value makes responses equal. It is in 2023, since some
# clients take 0 for a missing time.
_CREATED = 1_677_610_602


def model_list_handler(plane: DataPlane, prober: Prober) -> Handler:
    """Return the handler of GET /v1/models."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        snapshot, account = _admit(plane, scope)
        names = [name for name in await list_models(snapshot, prober) if name in account.models]
        if account.requires_pricing:
            names = priced_models(snapshot, account, names, plane.gateway.clock.unix_us())
        body = {"object": "list", "data": [_model(name) for name in names]}
        await send_json(send, msgspec.json.encode(body), request_id)

    return handler


def model_handler(plane: DataPlane, prober: Prober) -> Handler:
    """Return the handler of GET /v1/models/{id}; an id may contain slashes."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        snapshot, account = _admit(plane, scope)
        requested = unquote(scope["path"][len(LIST_PATH) + 1 :])
        name = strip_prefix(requested, plane.gateway.options.provider_suffix)
        authorise(account, name)
        if snapshot.route(name) is None or not await _is_listed(snapshot, prober, name):
            message = f"The model '{name[:200]}' does not exist here: no provider serves it."
            raise ModelNotFound(message, param="model")
        if account.requires_pricing:
            now = plane.gateway.clock.unix_us()
            if not priced_models(snapshot, account, (name,), now):
                raise not_priced(name)
        await send_json(send, msgspec.json.encode(_model(name)), request_id)

    return handler


def _admit(plane: DataPlane, scope: Scope) -> tuple[Snapshot, Principal]:
    return admit_unmetered(plane.gateway, RequestContext(scope, CHAT).api_key)


async def _is_listed(snapshot: Snapshot, prober: Prober, name: str) -> bool:
    if snapshot.names(name):
        return True
    return name in await list_models(snapshot, prober)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": _OWNER}
