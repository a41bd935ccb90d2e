"""All admin routes under `/admin/v1`. The dispatcher authenticates callers before a body is read."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from llm_gateway.admin.budgets import routes as budgets
from llm_gateway.admin.config import routes as config
from llm_gateway.admin.credentials import routes as credentials
from llm_gateway.admin.log_level import routes as log_level
from llm_gateway.admin.models import routes as models
from llm_gateway.admin.prices import routes as prices
from llm_gateway.admin.projects import routes as projects
from llm_gateway.admin.providers import routes as providers
from llm_gateway.admin.query_parameters import refuse_unknown_parameters
from llm_gateway.admin.route import routes as route
from llm_gateway.admin.task_types import routes as task_types
from llm_gateway.admin.telemetry import routes as telemetry
from llm_gateway.admin.tenants import routes as tenants
from llm_gateway.admin.usage import export as usage_export
from llm_gateway.admin.usage import routes as usage
from llm_gateway.admin.usage import summary as usage_summary


def admin_router() -> APIRouter:
    """Return the routes; the application's state must hold `admin`, an AdminServices."""
    router = APIRouter(prefix="/admin/v1", dependencies=[Depends(refuse_unknown_parameters)])
    for slice_routes in (
        providers,
        models,
        task_types,
        credentials,
        tenants,
        projects,
        budgets,
        prices,
        config,
        log_level,
        route,
        usage_export,
        usage_summary,
        usage,
        telemetry,
    ):
        router.include_router(slice_routes.router)
    return router
