"""The console as an ASGI application: the pages behind their frame."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from llm_gateway.console.assets import serve_asset
from llm_gateway.console.catalog.routes import catalog_routes
from llm_gateway.console.first_run.pages import first_run_routes
from llm_gateway.console.frame import Frame
from llm_gateway.console.links import see_other
from llm_gateway.console.live import LiveStreams
from llm_gateway.console.overview.pages import overview_routes
from llm_gateway.console.pages import configuration, configuration_history, design, sign_in
from llm_gateway.console.playground.pages import PLAYGROUND_ROUTES
from llm_gateway.console.requests.pages import REQUEST_ROUTES
from llm_gateway.console.services import ConsoleServices
from llm_gateway.http.types import AsgiApp


async def _home(request: Request) -> Response:
    return see_other(request, "/console/overview")


def make_console(services: ConsoleServices) -> AsgiApp:
    """Return the application for `/` and everything below `/console`."""
    streams = LiveStreams()
    routes = [
        Route("/console", _home, methods=["GET"]),
        Route("/console/", _home, methods=["GET"]),
        Route("/console/assets/{name}", serve_asset, methods=["GET"]),
        *sign_in.ROUTES,
        *design.ROUTES,
        *overview_routes(streams),
        *first_run_routes(streams),
        *PLAYGROUND_ROUTES,
        *REQUEST_ROUTES,
        *configuration.ROUTES,
        *configuration_history.ROUTES,
        *catalog_routes(),
    ]
    return Frame(Router(routes, redirect_slashes=False), services)
