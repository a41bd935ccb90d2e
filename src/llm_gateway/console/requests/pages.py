"""Usage rows: a list with filters, its export, and one request with its attempts, times, costs and route."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llm_gateway.console import meanings
from llm_gateway.console.rendering import page
from llm_gateway.console.requests.filter_form import filter_query, read_filter
from llm_gateway.console.requests.question import question_of
from llm_gateway.console.requests.timeline import WIDTH, timeline_of
from llm_gateway.console.requests.whole_values import whole_value
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.errors import GatewayError, NotFound
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, finished_at
from llm_gateway.core.times import iso_time
from llm_gateway.flow.billing.exporting import CONTENT_TYPES, export
from llm_gateway.flow.usage_pages import find_request, place_after, place_cursor
from llm_gateway.http.streamed_file import StreamedFile

PATH: Final = "/console/requests"
PAGE_SIZE: Final = 50
_LARGEST_PAGE: Final = 200
# Names that a field of the filter suggests.
_MOST_SUGGESTIONS: Final = 200
_RANGES: Final = (("Last hour", 3600), ("Last 24 hours", 86_400), ("Last 7 days", 7 * 86_400))


async def list_requests(request: Request) -> Response:
    """Show usage rows, newest first."""
    services, query = services_of(request), request.query_params
    form, wanted = read_filter(query)
    records: list[UsageRecord] = []
    is_complete, next_cursor = True, None
    limit = _page_size(query)
    if wanted is not None:
        after = place_after(query.get("cursor") or None, "created_at")
        is_complete = await services.flush()
        found = await services.usage.list(wanted, after, limit + 1)
        records = found[:limit]
        next_cursor = place_cursor(records[-1], "created_at") if len(found) > limit else None
    now, query_of_filter = services.clock.unix_us(), filter_query(form)
    return page(
        request,
        "requests/list.html",
        status=200 if wanted is not None else 422,
        path=PATH,
        form=form,
        records=records,
        query=query_of_filter,
        rangeless={name: text for name, text in query_of_filter.items() if name not in {"since", "until"}},
        paging={} if limit == PAGE_SIZE else {"limit": limit},
        is_complete=is_complete,
        is_first="cursor" not in query,
        next_cursor=next_cursor,
        ranges=[(label, iso_time(now - seconds * 1_000_000)[:19] + "Z") for label, seconds in _RANGES],
        suggestions=_suggestions(services),
    )


async def export_requests(request: Request) -> Response:
    """Stream the rows of a filter as CSV."""
    services = services_of(request)
    form, wanted = read_filter(request.query_params)
    if wanted is None:
        return page(request, "requests/export.html", status=422, path=PATH, form=form)
    await services.flush()
    pieces = export("csv", services.usage, wanted, zone=UTC, account="")
    return await StreamedFile.begin(pieces, "usage.csv", CONTENT_TYPES["csv"])


async def show_request(request: Request) -> Response:
    """Show one request with its attempts."""
    record, attempts = await _find(request)
    return page(
        request,
        "requests/one.html",
        path=PATH,
        record=record,
        attempts=attempts,
        timeline=timeline_of(record, attempts),
        axis=WIDTH,
        breakdown_sum=sum(nano_usd for _, nano_usd in (record.cost_breakdown or {}).values()),
        has_route=question_of(record) is not None,
        error_meaning=meanings.error_meaning(record),
        reasons=[meanings.reason_meaning(attempt) for attempt in attempts],
        usage_source=meanings.usage_source_meaning(record.usage_source),
        finished_at=finished_at(record),
    )


async def show_value(request: Request) -> Response:
    """Return the whole of a value of which the page of the request shows the beginning."""
    record, attempts = await _find(request)
    text = whole_value(record, attempts, request.query_params.get("of", ""))
    if text is None:
        raise NotFound("This request has no such value.")
    return PlainTextResponse(text.encode("utf-8", "replace"))


async def show_route(request: Request) -> Response:
    """Show how a request like this one was routed by its configuration, or would be by the one in force."""
    services = services_of(request)
    record, _ = await _find(request)
    question = question_of(record)
    if question is None:
        raise NotFound(
            "This request was refused before it could be routed: it has no credential, or no model."
        )
    as_of = None if request.query_params.get("by") == "now" else record.config_version
    explanation = problem = None
    try:
        if as_of:
            explanation = await services.explain_earlier(question, as_of)
        else:
            explanation = services.explain(question)
    except GatewayError as error:
        problem = error.message
    return page(
        request,
        "requests/route.html",
        path=PATH,
        record=record,
        question=question,
        as_of=as_of,
        explanation=explanation,
        problem=problem,
    )


async def _find(request: Request) -> tuple[UsageRecord, Sequence[AttemptEnded]]:
    """Return the row that the path names, and its attempts; raise NotFound, Unavailable."""
    services = services_of(request)
    try:
        return await find_request(services.usage, services.flush, request.path_params["request_id"])
    except NotFound as error:
        raise NotFound(
            f"{error.message[:500]}. A row is stored when its request has ended, which may take some seconds more if "
            "another machine served it. Old rows are deleted."
        ) from None


def _page_size(query: Mapping[str, str]) -> int:
    text = query.get("limit", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 6
    return min(max(int(text), 1), _LARGEST_PAGE) if is_number else PAGE_SIZE


def _suggestions(services: ConsoleServices) -> dict[str, list[str]]:
    snapshot = services.snapshots.current
    if snapshot is None:
        return {}
    found = {
        "known-models": snapshot.explicit_models,
        "known-providers": (one.provider.provider_key for one in snapshot.providers),
        "known-credentials": (account.credential.name for account in snapshot.accounts.values()),
    }
    return {name: sorted({*_first(values)}) for name, values in found.items()}


def _first(values: Iterable[str]) -> Iterator[str]:
    return itertools.islice(values, _MOST_SUGGESTIONS)


_ONE: Final = f"{PATH}/{{request_id}}"
REQUEST_ROUTES: Final = [
    Route(PATH, list_requests, methods=["GET"]),
    Route(f"{PATH}/export", export_requests, methods=["GET"]),
    Route(_ONE, show_request, methods=["GET"]),
    Route(f"{_ONE}/value", show_value, methods=["GET"]),
    Route(f"{_ONE}/route", show_route, methods=["GET"]),
]
