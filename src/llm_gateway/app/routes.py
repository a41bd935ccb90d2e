"""Puts all routes behind the dispatcher: the data plane raw, everything else in FastAPI, made on first use."""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.app.keys import Keys
from llm_gateway.app.on_demand.console import console_routes
from llm_gateway.app.on_demand.first_use import OnFirstUse
from llm_gateway.app.reporting import as_record, database_problem, health_details, read_metrics, read_summary
from llm_gateway.app.wiring import Wiring
from llm_gateway.flow.provider_checks.probes import PeriodicProbes, Prober
from llm_gateway.http.auth import BearerGuard
from llm_gateway.http.client_address import TrustedProxies
from llm_gateway.http.dispatcher import Dispatcher, RouteTable
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.root_path import UnderRootPath, overlapping
from llm_gateway.http.types import AsgiApp
from llm_gateway.infra.logs.query_log import StandardOutputQueryLog
from llm_gateway.infra.metrics.prometheus import CONTENT_TYPE
from llm_gateway.infra.request_ids import RequestIds
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.ops.health import health_routes
from llm_gateway.ops.metrics_endpoint import metrics_routes
from llm_gateway.settings import Settings
from llm_gateway.surfaces.base import Surface, SurfaceServices
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS

# Seconds for which a provider's list of models and its health are cached.
_MODELS_TTL = 60.0
_HEALTH_TTL = 5.0
# What is not in a table of routes.
_OTHER_PATHS = ("/admin", "/console", "/docs", "/openapi.json")


def make_routes(settings: Settings, keys: Keys, wiring: Wiring, surfaces: tuple[Surface, ...]) -> AsgiApp:
    """Return the outermost ASGI callable; raise StartupError."""
    # The method: to call an object takes one more step for each request.
    new_request_id = RequestIds().__call__
    tables = _tables(settings, wiring, surfaces, new_request_id)
    app: AsgiApp = Dispatcher(
        tables,
        OnFirstUse(lambda: _other_routes(wiring, surfaces)),
        _guards(settings, keys),
        OPENAI_ERRORS,
        new_request_id,
        lambda request: wiring.access_log.finished(as_record(request, wiring.clock)),
        TrustedProxies(settings.trusted_proxies),
    )
    if settings.cors_origins:
        app = _with_cors(app, settings.cors_origins)
    return app if settings.root_path is None else _below(settings.root_path, app, tables)


def _other_routes(wiring: Wiring, surfaces: tuple[Surface, ...]) -> AsgiApp:
    from llm_gateway.app.on_demand.fastapi_app import make_fastapi_app  # noqa: PLC0415 - it takes half a second

    return make_fastapi_app(wiring, surfaces)


def _tables(
    settings: Settings, wiring: Wiring, surfaces: tuple[Surface, ...], new_request_id: Callable[[], str]
) -> tuple[RouteTable, ...]:
    gateway = wiring.gateway
    bodies = BodyReader(
        max_bytes=settings.max_body_bytes,
        max_total_bytes=settings.max_inflight_body_bytes,
        timeout=settings.body_timeout,
    )
    plane = DataPlane(
        gateway=gateway,
        bodies=bodies,
        worker_registry=wiring.worker_registry,
        max_concurrency=settings.max_concurrency,
        new_request_id=new_request_id,
        proxies=TrustedProxies(settings.trusted_proxies),
    )
    health = _prober(wiring, _HEALTH_TTL)
    services = SurfaceServices(
        plane=plane,
        prober=_prober(wiring, _MODELS_TTL),
        health=health,
        usage=wiring.storage.usage,
        flush=wiring.shipper.flush,
        limit_callers=wiring.limit_callers,
        events=wiring.journal,
        query_log=StandardOutputQueryLog(),
    )
    return (
        *(surface.routes(services) for surface in surfaces),
        health_routes(
            gateway,
            health,
            lambda: health_details(wiring),
            lambda: database_problem(wiring),
        ),
        metrics_routes(lambda: read_metrics(wiring), CONTENT_TYPE, lambda: read_summary(wiring)),
        *((console_routes(wiring, plane),) if settings.console == "on" else ()),
    )


def periodic_probes(wiring: Wiring, workers: int) -> PeriodicProbes:
    """Return the periodic health probes of this process, one of `workers`."""
    return PeriodicProbes(wiring.gateway, _prober(wiring, _HEALTH_TTL), workers=workers)


def _prober(wiring: Wiring, ttl: float) -> Prober:
    return Prober(wiring.gateway, ttl=ttl, on_answer=wiring.metrics.provider_answered)


def _guards(settings: Settings, keys: Keys) -> tuple[BearerGuard, ...]:
    name = "admin key (ADMIN_KEY)"
    guards = (BearerGuard(("/admin",), keys.admin.secret, name, reading_token=keys.viewer),)
    if settings.ops_token is None:
        return guards
    watched = ("/metrics", "/docs", "/openapi.json", "/health/", "/info")
    return (*guards, BearerGuard(watched, settings.ops_token, "operations token (OPS_TOKEN)"))


def _below(root_path: str, app: AsgiApp, tables: tuple[RouteTable, ...]) -> AsgiApp:
    served = [path for table in tables for path, _ in table.paths()]
    if (path := overlapping(root_path, (*served, *_OTHER_PATHS))) is not None:
        raise StartupError(
            f"ROOT_PATH is {root_path}, and the gateway itself serves {path}: requests could mean either. "
            "Choose another prefix, such as /gw."
        )
    return UnderRootPath(app, root_path)


def _with_cors(app: AsgiApp, origins: tuple[str, ...]) -> AsgiApp:
    from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415 - only where it is needed

    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=("*",),
        expose_headers=(
            "x-request-id", "x-llm-gateway-model", "x-llm-gateway-attempts", "x-llm-gateway-ignored",
            "x-llm-gateway-cache", "x-llm-gateway-cost-usd", "age", "retry-after", "x-should-retry",
            "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
        ),
    )  # fmt: skip
