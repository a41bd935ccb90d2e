"""Lists the models that agents may use, with the provider that would answer and its name for each."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.provider_checks.probes import Prober, list_models
from llm_gateway.flow.request.admission import admit_unmetered
from llm_gateway.flow.routing.priced_models import priced_models
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.agents.dialect import AgentsDialect


def model_list_handler(plane: DataPlane, prober: Prober, dialect: AgentsDialect) -> Handler:
    """Return the handler of GET /internal/llm/models."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        snapshot, account = admit_unmetered(plane.gateway, RequestContext(scope, dialect).api_key)
        names = [name for name in await list_models(snapshot, prober) if name in account.models]
        if account.requires_pricing:
            names = priced_models(snapshot, account, names, plane.gateway.clock.unix_us())
        shown = (_shown(snapshot, name) for name in names)
        body = {"models": [model for model in shown if model is not None]}
        await send_json(send, msgspec.json.encode(body), request_id)

    return handler


def _shown(snapshot: Snapshot, name: str) -> dict[str, Any] | None:
    """Return a model as clients see it; None if nobody answers chats with it at the moment."""
    route = snapshot.route(name)
    deployments = () if route is None else route.answering("chat/completions").deployments
    if not deployments:
        return None
    # Several may serve it: this one gets the most requests.
    main = max(deployments, key=lambda one: one.weight)
    return {
        "name": name,
        "provider": main.provider_key,
        "physical_name": main.upstream_model,
        # Neither the catalog nor the price book knows the most that a model writes.
        "max_tokens": None,
    }
