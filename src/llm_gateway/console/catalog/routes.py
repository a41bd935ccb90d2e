"""The routes of all resources."""

from __future__ import annotations

from starlette.routing import Route

from llm_gateway.console.catalog import (
    budgets,
    credential_verbs,
    credentials,
    models,
    prices,
    projects,
    provider_checks,
    providers,
    task_types,
    tenants,
)


def catalog_routes() -> list[Route]:
    """Return the routes of all resources."""
    return [
        *provider_checks.ROUTES,
        *providers.ROUTES,
        *models.ROUTES,
        *task_types.PAGES.routes(),
        *credential_verbs.ROUTES,
        *credentials.PAGES.routes(),
        *tenants.PAGES.routes(),
        *projects.PAGES.routes(),
        *budgets.ROUTES,
        *prices.ROUTES,
    ]
