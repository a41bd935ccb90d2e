"""Serves /metrics."""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.http.types import Receive, Scope, Send


def metrics_routes(render: Callable[[], bytes], content_type: str) -> RouteTable:
    """Return /metrics, whose body is the result of `render`."""

    async def metrics(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        body = render()
        headers = (
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
        )
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return RouteTable(exact={("GET", "/metrics"): metrics})
