"""The routes of all resources."""

from __future__ import annotations

from starlette.routing import Route

from llm_gateway.console.catalog import budgets, credential_verbs, credentials, prices, projects, tenants


def catalog_routes() -> list[Route]:
    """Return the routes of all resources."""
    return [
        *credential_verbs.ROUTES,
        *credentials.PAGES.routes(),
        *tenants.PAGES.routes(),
        *projects.ROUTES,
        *budgets.ROUTES,
        *prices.ROUTES,
    ]
