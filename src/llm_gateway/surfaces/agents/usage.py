"""What agents' requests used: of one agent, of one microDAO or channel, or of all."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llm_gateway.core.config.accounts import AGENTS_ACCOUNT
from llm_gateway.core.money import usd_text
from llm_gateway.flow.ports.usage import UsageFilter, UseTotals
from llm_gateway.flow.request.admission import admit_unmetered
from llm_gateway.http.model_routes.data_plane import Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.agents.callers import agent_limits
from llm_gateway.surfaces.agents.dialect import AgentsDialect
from llm_gateway.surfaces.base import SurfaceServices
from llm_gateway.surfaces.translating.queries import read_query, time_in

PARAMETERS: Final = ("agent_id", "microdao_id", "channel_id", "since", "until")


def usage_handler(services: SurfaceServices, dialect: AgentsDialect, requests_per_minute: int) -> Handler:
    """Return the handler of GET /internal/llm/usage."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        _, account = admit_unmetered(services.plane.gateway, RequestContext(scope, dialect).api_key)
        asked = read_query(scope["query_string"], PARAMETERS)
        wanted = UsageFilter(
            # Requests of other surfaces are not this one's to show.
            credential=AGENTS_ACCOUNT.name,
            agent=asked.get("agent_id"),
            tenant=asked.get("microdao_id"),
            channel=asked.get("channel_id"),
            since=time_in(asked, "since"),
            until=time_in(asked, "until"),
        )
        # Requests that have ended count, although their rows are on their way.
        is_complete = await services.flush()
        body = {
            **_shown(await services.usage.totals(wanted)),
            "requests_per_minute": agent_limits(account, requests_per_minute).requests_per_minute,
            # False: requests that have ended may be missing, because the database does not take their rows.
            "is_complete": is_complete,
        }
        await send_json(send, msgspec.json.encode(body), request_id)

    return handler


def _shown(totals: UseTotals) -> dict[str, Any]:
    return {
        "total_requests": totals.requests,
        "total_tokens": totals.total_tokens,
        "avg_latency_ms": round(totals.mean_latency_ms or 0.0, 3),
        "success_rate": round(totals.ok / totals.requests, 4) if totals.requests else 0.0,
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "cost_usd": usd_text(totals.cost_nano_usd),
        "unpriced_requests": totals.unpriced,
    }
