"""The routes of all resources."""

from __future__ import annotations

from starlette.routing import Route

from llm_gateway.console.catalog import models, provider_checks, providers, task_types, tenants


def catalog_routes() -> list[Route]:
    """Return the routes of all resources."""
    return [
        *provider_checks.ROUTES,
        *providers.ROUTES,
        *models.ROUTES,
        *(route for slice_ in (task_types, tenants) for route in slice_.PAGES.routes()),
    ]
