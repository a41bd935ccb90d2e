"""The handler of GET /api/status: whether each provider, and each family of models, can be reached."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.model_families import FAMILIES
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.provider_checks.probes import Probe, Prober, probe_fields
from llm_gateway.flow.request.admission import admit_unmetered
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.query.families import is_of_family


def status_handler(plane: DataPlane, prober: Prober, dialect: Dialect) -> Handler:
    """Return the handler; `dialect` finds the key that a request must have."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        snapshot, _ = admit_unmetered(plane.gateway, RequestContext(scope, dialect).api_key)
        body = msgspec.json.encode(_status(snapshot, await prober.probe_all(snapshot)))
        await send_json(send, body, request_id)

    return handler


def _status(snapshot: Snapshot, probes: dict[str, Probe]) -> dict[str, Any]:
    healthy = {name for name, probe in probes.items() if probe.status == "healthy"}
    families = {
        name: any(
            provider.provider.provider_key in healthy
            for provider in snapshot.providers
            if is_of_family(provider, family)
        )
        for name, family in FAMILIES.items()
    }
    is_whole = len(healthy) == len(probes)
    return {
        "status": "unavailable" if not healthy else "healthy" if is_whole else "degraded",
        **families,
        "providers": {name: probe_fields(probe) for name, probe in probes.items()},
    }
