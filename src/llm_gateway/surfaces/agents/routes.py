"""The paths of the agents' API."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.surfaces.agents.callers import caller_check, limited_agents
from llm_gateway.surfaces.agents.dialect import AgentsDialect
from llm_gateway.surfaces.agents.models import model_list_handler
from llm_gateway.surfaces.agents.openapi import MODELS_PATH, PROXY_PATH, USAGE_PATH, agents_paths
from llm_gateway.surfaces.agents.options import AgentsOptions
from llm_gateway.surfaces.agents.usage import usage_handler
from llm_gateway.surfaces.base import Surface, SurfaceServices

ROOT: Final = "/internal/llm/"


def agents_surface(options: AgentsOptions) -> Surface:
    """Return the surface with these settings."""
    return Surface(
        name="agents",
        routes=lambda services: _routes(options, services),
        openapi_paths=agents_paths,
    )


def _routes(options: AgentsOptions, services: SurfaceServices) -> RouteTable:
    gateway = services.plane.gateway
    dialect = AgentsDialect(caller_check(options))
    # An agent that has used up its requests learns nothing of models.
    plane = services.tuned_plane(
        replace(gateway.options, limits_before_routing=True), limited_agents(options.requests_per_minute)
    )
    return RouteTable(
        metered={("POST", PROXY_PATH): plane.model_route(PROXY_PATH, dialect)},
        exact={
            ("GET", MODELS_PATH): model_list_handler(plane, services.prober, dialect),
            ("GET", USAGE_PATH): usage_handler(services, dialect, options.requests_per_minute),
        },
        errors=dialect,
        root=ROOT,
    )
