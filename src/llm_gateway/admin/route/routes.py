"""`/admin/v1/route`: what would become of a request, without calling anyone."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.route.schemas import RouteExplanation, RouteQuestion
from llm_gateway.admin.services import Services

router = APIRouter(prefix="/route", tags=["route"])


@router.post("/explain")
async def explain_route(body: RouteQuestion, services: Services) -> RouteExplanation:
    """Say who would be asked, in which order, who is left out and why; nothing is called and no state moves."""
    return RouteExplanation.of(services.explain(body.question()))
