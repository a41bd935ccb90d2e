"""The paths of the query gateway."""

from __future__ import annotations

from typing import Final

from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.surfaces.base import Surface, SurfaceServices
from llm_gateway.surfaces.query.bodies import read_estimate, read_gateway_query, read_query
from llm_gateway.surfaces.query.dialect import QueryDialect
from llm_gateway.surfaces.query.errors import QUERY_ERRORS
from llm_gateway.surfaces.query.openapi import query_paths
from llm_gateway.surfaces.query.options import QueryOptions
from llm_gateway.surfaces.query.status import status_handler

QUERY_PATH: Final = "/api/query"
STATUS_PATH: Final = "/api/status"
GATEWAY_QUERY_PATH: Final = "/v1/gateway/query"
COST_ESTIMATE_PATH: Final = "/v1/gateway/cost-estimate"


def query_surface(options: QueryOptions) -> Surface:
    """Return the surface of the query gateway's clients."""

    def routes(services: SurfaceServices) -> RouteTable:
        plane, gateway = services.plane, services.plane.gateway
        log = services.query_log if options.log_queries else None
        plain = QueryDialect(gateway, read_query, log=log)
        detailed = QueryDialect(gateway, read_gateway_query, is_detailed=True, log=log)
        estimate = QueryDialect(gateway, read_estimate, is_detailed=True, is_estimate=True)
        return RouteTable(
            metered={
                ("POST", QUERY_PATH): plane.model_route(QUERY_PATH, plain),
                ("POST", GATEWAY_QUERY_PATH): plane.model_route(GATEWAY_QUERY_PATH, detailed),
                ("POST", COST_ESTIMATE_PATH): plane.model_route(COST_ESTIMATE_PATH, estimate),
            },
            exact={("GET", STATUS_PATH): status_handler(plane, services.health, plain)},
            errors=QUERY_ERRORS,
            root="/v1/gateway/",
        )

    return Surface(
        name="query",
        routes=routes,
        openapi_paths=lambda: query_paths(QUERY_PATH, STATUS_PATH, GATEWAY_QUERY_PATH, COST_ESTIMATE_PATH),
    )
