"""`/admin/v1/route`: explains how a request would be routed, without calling a provider."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.route.schemas import RouteQuestion
from llm_gateway.admin.services import Services
from llm_gateway.flow.explain.answer import Explanation

router = APIRouter(prefix="/route", tags=["route"])


@router.post("/explain")
async def explain_route(body: RouteQuestion, services: Services) -> Explanation:
    """Show which providers would be tried, in which order, and which are left out and why.

    No provider is called, and no routing state changes. With `config_version`, the answer is what an earlier
    configuration would have led to.
    """
    if body.config_version is not None:
        return await services.explain_earlier(body.question(), body.config_version)
    return services.explain(body.question())
