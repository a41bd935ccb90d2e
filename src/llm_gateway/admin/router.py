"""All admin routes under `/admin/v1`. The dispatcher authenticates callers before a body is read."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.config import routes as config
from llm_gateway.admin.credentials import routes as credentials
from llm_gateway.admin.models import routes as models
from llm_gateway.admin.providers import routes as providers
from llm_gateway.admin.route import routes as route
from llm_gateway.admin.task_types import routes as task_types
from llm_gateway.admin.usage import routes as usage


def admin_router() -> APIRouter:
    """Return the routes; the application's state must hold `admin`, an AdminServices."""
    router = APIRouter(prefix="/admin/v1")
    for slice_routes in (providers, models, task_types, credentials, config, route, usage):
        router.include_router(slice_routes.router)
    return router
