"""What a key's own requests used and cost: `/v1/usage`, and one request under `/v1/usage/{request_id}`."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import msgspec

from llm_gateway.core.errors import NotFound, Unavailable, Unprocessable
from llm_gateway.core.ledger.records import UsageRecord, finished_at
from llm_gateway.core.money import usd_text
from llm_gateway.core.times import iso_time
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.flow.request.admission import admit_unmetered
from llm_gateway.flow.usage_pages import place_after, place_cursor
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.base import SurfaceServices
from llm_gateway.surfaces.openai.dialect import CHAT
from llm_gateway.surfaces.translating.queries import read_query, time_in

USAGE_PATH = "/v1/usage"
_PAGE_SIZE: Final = 50
_LARGEST_PAGE: Final = 200
_LONGEST_ID: Final = 300
_PARAMETERS: Final = ("since", "until", "model", "cursor", "limit")
# Columns that a client sees as they are. Providers, addresses and the like concern the administrator alone.
_SHOWN: Final = (
    "request_id", "client_request_id", "endpoint", "stream", "status_code", "outcome", "error_type", "model",
    "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "usage_source", "cost_source", "unpriced", "requested_tier", "served_tier",
    "latency_ms", "ttft_ms", "attempts", "cache_hit", "project", "agent", "end_user", "channel", "tags",
    "requests", "temperature",
)  # fmt: skip


def usage_list_handler(services: SurfaceServices) -> Handler:
    """Return the handler of GET /v1/usage."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        credential = _credential(services.plane, scope)
        asked = read_query(scope["query_string"], _PARAMETERS)
        limit = _limit(asked.get("limit"))
        wanted = UsageFilter(
            since=time_in(asked, "since"),
            until=time_in(asked, "until"),
            credential=credential,
            model=asked.get("model"),
        )
        after = place_after(asked.get("cursor"), "created_at")
        is_complete = await services.flush()
        records = await services.usage.list(wanted, after, limit + 1)
        page = records[:limit]
        body = {
            "object": "list",
            "data": [_shown(record) for record in page],
            "next_cursor": place_cursor(page[-1], "created_at") if len(records) > limit else None,
            # False: rows of requests that have ended may be missing, because the database does not take them.
            "is_complete": is_complete,
        }
        await send_json(send, msgspec.json.encode(body), request_id)

    return handler


def usage_handler(services: SurfaceServices) -> Handler:
    """Return the handler of GET /v1/usage/{request_id}."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        credential = _credential(services.plane, scope)
        asked = unquote(scope["path"][len(USAGE_PATH) + 1 :])
        is_complete = await services.flush()
        records = []
        if "\0" not in asked and len(asked) <= _LONGEST_ID:
            wanted = UsageFilter(request_id=asked, credential=credential)
            records = await services.usage.list(wanted, None, 1)
        if not records and not is_complete:
            message = (
                "The database does not take usage rows at the moment, so the row of this request may follow "
                "later; try again shortly."
            )
            raise Unavailable(message, code="database_unavailable", retry_after=1)
        if not records:
            message = f"This API key has made no request with the id {asked[:_LONGEST_ID]!r}."
            raise NotFound(message)
        await send_json(send, msgspec.json.encode(_shown(records[0])), request_id)

    return handler


def _credential(plane: DataPlane, scope: Scope) -> str:
    _, account = admit_unmetered(plane.gateway, RequestContext(scope, CHAT).api_key)
    return account.credential.name


def _shown(record: UsageRecord) -> dict[str, Any]:
    cost, breakdown = record.cost_nano_usd, record.cost_breakdown
    return {
        "object": "usage",
        "created_at": iso_time(record.created_at),
        "finished_at": iso_time(finished_at(record)),
        **{name: getattr(record, name) for name in _SHOWN},
        "cost_usd": None if cost is None else usd_text(cost),
        "cost_breakdown": None
        if breakdown is None
        else [
            {"unit": unit, "quantity": quantity, "cost_usd": usd_text(nano_usd)}
            for unit, (quantity, nano_usd) in breakdown.items()
        ],
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _PAGE_SIZE
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _LARGEST_PAGE):
        raise Unprocessable(f"limit must be 1 to {_LARGEST_PAGE}", param="limit")
    return int(text)
