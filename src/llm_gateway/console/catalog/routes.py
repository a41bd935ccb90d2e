"""The routes of all resources."""

from __future__ import annotations

from starlette.routing import Route

from llm_gateway.console.catalog import tenants


def catalog_routes() -> list[Route]:
    """Return the routes of all resources."""
    return [route for slice_ in (tenants,) for route in slice_.PAGES.routes()]
