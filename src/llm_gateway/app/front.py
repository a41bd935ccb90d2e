"""Puts the HTTP rooms behind one shell: the data plane raw, everything else through FastAPI."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from llm_gateway import __version__
from llm_gateway.admin.router import admin_router
from llm_gateway.admin.services import AdminServices
from llm_gateway.app.parts import Parts
from llm_gateway.app.reporting import as_record, details, gauges
from llm_gateway.core.secret import Secret
from llm_gateway.flow.catalog_editing import CatalogEditor
from llm_gateway.flow.probing import Prober
from llm_gateway.http.body import BodyReader
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.http.shell import Guard, RouteTable, Shell
from llm_gateway.http.surface import DataPlane
from llm_gateway.http.types import AsgiApp
from llm_gateway.infra.prometheus import CONTENT_TYPE
from llm_gateway.infra.request_ids import RequestIds
from llm_gateway.ops.documentation import add_documentation
from llm_gateway.ops.health import health_paths, health_routes
from llm_gateway.ops.metrics import metrics_routes
from llm_gateway.providers.registry import KINDS
from llm_gateway.settings import Settings
from llm_gateway.surfaces.openai.routes import openai_paths, openai_routes

# How long, in seconds, a provider's list of models and its health are believed.
_MODELS_TTL = 60.0
_HEALTH_TTL = 5.0


def make_shell(settings: Settings, admin_key: Secret, parts: Parts) -> AsgiApp:
    """Return the outermost ASGI callable."""
    shell: AsgiApp = Shell(
        _routes(settings, parts),
        _framework(_admin_services(parts)),
        _guards(settings, admin_key),
        RequestIds(),
        lambda other: parts.access_log.finished(as_record(other, parts.clock)),
    )
    return _with_cors(shell, settings.cors_origins) if settings.cors_origins else shell


def _routes(settings: Settings, parts: Parts) -> RouteTable:
    gateway = parts.gateway
    bodies = BodyReader(
        max_bytes=settings.max_body_bytes,
        max_total_bytes=settings.max_inflight_body_bytes,
        timeout=settings.body_timeout,
    )
    plane = DataPlane(
        gateway=gateway, bodies=bodies, board=parts.board, max_concurrency=settings.max_concurrency
    )
    return RouteTable.joined(
        (
            openai_routes(plane, Prober(gateway, ttl=_MODELS_TTL)),
            health_routes(gateway, Prober(gateway, ttl=_HEALTH_TTL), lambda: details(parts)),
            metrics_routes(lambda: parts.metrics.render(gauges(parts)), CONTENT_TYPE),
        )
    )


def _admin_services(parts: Parts) -> AdminServices:
    storage = parts.storage

    async def flush() -> None:
        await parts.shipper.flush()

    editor = CatalogEditor(store=storage.rows, hasher=storage.hasher, reloader=parts.reloader, kinds=KINDS)
    return AdminServices(
        editor=editor,
        store=storage.rows,
        source=storage.catalog,
        reloader=parts.reloader,
        usage=storage.usage,
        flush=flush,
    )


def _framework(services: AdminServices) -> FastAPI:
    """Return the FastAPI application for everything that is not on the data path."""
    app = FastAPI(title="LLM gateway", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.admin = services
    app.include_router(admin_router())
    add_documentation(app, lambda: {**openai_paths(), **health_paths()})
    add_error_handlers(app)
    return app


def _guards(settings: Settings, admin_key: Secret) -> tuple[Guard, ...]:
    guards = (Guard(("/admin",), admin_key, "admin key (ADMIN_KEY)"),)
    if settings.ops_token is None:
        return guards
    token = Secret(settings.ops_token.get_secret_value())
    watched = ("/metrics", "/docs", "/openapi.json", "/health/")
    return (*guards, Guard(watched, token, "operations token (OPS_TOKEN)"))


def _with_cors(shell: AsgiApp, origins: tuple[str, ...]) -> AsgiApp:
    return CORSMiddleware(
        shell,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=("*",),
        expose_headers=(
            "x-request-id", "x-llm-gateway-model", "retry-after",
            "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
        ),
    )  # fmt: skip
