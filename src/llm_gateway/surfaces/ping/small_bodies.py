"""Reads the bodies of the routes of dgen-ping's API that use no model: small, and held only while they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from llm_gateway.core.errors import BodyTooLarge
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.model_routes.request_context import RequestContext, declared_length
from llm_gateway.http.types import Receive, Scope, exchange_of

_Read = TypeVar("_Read")


async def read_small_body(
    plane: DataPlane,
    scope: Scope,
    receive: Receive,
    context: RequestContext,
    most_bytes: int,
    read: Callable[[bytes], _Read],
) -> _Read:
    """Return what `read` makes of the request's body; raise BodyTooLarge for one of more than `most_bytes`."""
    length = declared_length(scope)
    if length is not None and length > most_bytes:
        raise _too_large(most_bytes)
    bodies = plane.bodies
    body = bodies.read_nowait(context, exchange_of(scope))
    if body is None:
        body = await bodies.read(scope, receive)
    try:
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
        return read(body)
    finally:
        bodies.release(len(body))


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {most_bytes} bytes, which is the most here.")
