"""Serves /metrics: Prometheus' text, or a summary as JSON. Rendering is shared by all that ask, and off the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.ops.shared_work import SharedWork

# Reads what holds at this moment, and returns what renders it, in any thread.
Read = Callable[[], Callable[[], bytes]]
_JSON: Final = "application/json"
# What a scraper asks for.
_TEXT: Final = frozenset({"text/plain", "application/openmetrics-text"})


def metrics_routes(read: Read, content_type: str, read_summary: Read) -> RouteTable:
    """Return /metrics; `read` is for Prometheus, `read_summary` for clients that prefer JSON."""
    text = SharedWork(lambda: asyncio.to_thread(read()))
    summary = SharedWork(lambda: asyncio.to_thread(read_summary()))

    async def metrics(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del receive
        is_json = prefers_json(value for name, value in scope["headers"] if name == b"accept")
        body = await (summary if is_json else text).get()
        headers = (
            (b"content-type", _JSON.encode() if is_json else content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"vary", b"accept"),
            (b"x-request-id", request_id.encode()),
        )
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return RouteTable(exact={("GET", "/metrics"): metrics})


def prefers_json(accept: Iterable[bytes]) -> bool:
    """Return whether these Accept headers name JSON, and before or above the text that Prometheus asks for."""
    best = {True: 0.0, False: 0.0}
    for item in b",".join(accept).decode("latin-1").split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        if media_type != _JSON and media_type not in _TEXT:
            continue
        quality = _quality(parameters)
        is_json = media_type == _JSON
        # Of two that are wanted alike, the first one counts.
        if quality > best[is_json] and not (is_json and quality <= best[False]):
            best[is_json] = quality
    return best[True] > 0 and best[True] >= best[False]


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
