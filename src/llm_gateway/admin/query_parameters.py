"""Refuses query parameters that a route does not take: a misspelt filter, or `dryrun`, must not be ignored."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from llm_gateway.core.errors import Unprocessable


def refuse_unknown_parameters(request: Request) -> None:
    """Raise Unprocessable for the first query parameter that is unknown, or sent twice."""
    if not request.query_params:
        return
    known = _known(request)
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            message = f"{name[:100]}: unknown query parameter; {request.method} {request.url.path} {takes}"
            raise Unprocessable(message, param=name[:100])
        if names.count(name) > 1:
            raise Unprocessable(f"{name}: sent more than once", param=name)


def _known(request: Request) -> list[str]:
    route = request.scope.get("route")
    return sorted(_query_names(route.dependant)) if isinstance(route, APIRoute) else []


def _query_names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)
