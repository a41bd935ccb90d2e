"""Puts the HTTP rooms behind one shell: the data plane raw, everything else through FastAPI when it is asked for."""

from __future__ import annotations

import asyncio

from llm_gateway.app.reporting import as_record, details, gauges
from llm_gateway.app.wiring import Wiring
from llm_gateway.core.secret import Secret
from llm_gateway.flow.provider_checks.probes import PeriodicProbes, Prober
from llm_gateway.http.body import BodyReader
from llm_gateway.http.data_plane import DataPlane
from llm_gateway.http.dispatcher import Dispatcher, Guard, RouteTable
from llm_gateway.http.types import AsgiApp, Receive, Scope, Send
from llm_gateway.infra.metrics.prometheus import CONTENT_TYPE
from llm_gateway.infra.request_ids import RequestIds
from llm_gateway.ops.health import health_routes
from llm_gateway.ops.metrics_endpoint import metrics_routes
from llm_gateway.settings import Settings
from llm_gateway.surfaces.openai.routes import openai_routes

# How long, in seconds, a provider's list of models and its health are believed.
_MODELS_TTL = 60.0
_HEALTH_TTL = 5.0


def make_shell(settings: Settings, admin_key: Secret, parts: Wiring) -> AsgiApp:
    """Return the outermost ASGI callable."""
    shell: AsgiApp = Dispatcher(
        _routes(settings, parts),
        _OnFirstUse(parts),
        _guards(settings, admin_key),
        RequestIds(),
        lambda other: parts.access_log.finished(as_record(other, parts.clock)),
    )
    return _with_cors(shell, settings.cors_origins) if settings.cors_origins else shell


class _OnFirstUse:
    """FastAPI and its routes: half a second of imports that a worker of the data plane may never need."""

    def __init__(self, parts: Wiring) -> None:
        self._parts = parts
        self._made: AsgiApp | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            async with self._one_at_a_time:
                if self._made is None:
                    # In a thread: streams go on meanwhile.
                    self._made = await asyncio.to_thread(self._make)
        await self._made(scope, receive, send)

    def _make(self) -> AsgiApp:
        from llm_gateway.app.fastapi_app import make_framework  # noqa: PLC0415 - see the class

        return make_framework(self._parts)


def _routes(settings: Settings, parts: Wiring) -> RouteTable:
    gateway = parts.gateway
    bodies = BodyReader(
        max_bytes=settings.max_body_bytes,
        max_total_bytes=settings.max_inflight_body_bytes,
        max_values=settings.max_body_values,
        timeout=settings.body_timeout,
    )
    plane = DataPlane(
        gateway=gateway, bodies=bodies, board=parts.board, max_concurrency=settings.max_concurrency
    )
    return RouteTable.joined(
        (
            openai_routes(plane, _prober(parts, _MODELS_TTL)),
            health_routes(gateway, _prober(parts, _HEALTH_TTL), lambda: details(parts)),
            metrics_routes(lambda: parts.metrics.render(gauges(parts)), CONTENT_TYPE),
        )
    )


def periodic_probes(parts: Wiring, workers: int) -> PeriodicProbes:
    """Return what asks the providers that want to be asked, in each of `workers` processes."""
    return PeriodicProbes(parts.gateway, _prober(parts, _HEALTH_TTL), workers=workers)


def _prober(parts: Wiring, ttl: float) -> Prober:
    return Prober(parts.gateway, ttl=ttl, answered=parts.metrics.provider_answered)


def _guards(settings: Settings, admin_key: Secret) -> tuple[Guard, ...]:
    guards = (Guard(("/admin",), admin_key, "admin key (ADMIN_KEY)"),)
    if settings.ops_token is None:
        return guards
    token = Secret(settings.ops_token.get_secret_value())
    watched = ("/metrics", "/docs", "/openapi.json", "/health/")
    return (*guards, Guard(watched, token, "operations token (OPS_TOKEN)"))


def _with_cors(shell: AsgiApp, origins: tuple[str, ...]) -> AsgiApp:
    from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415 - Starlette, for those who need it

    return CORSMiddleware(
        shell,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=("*",),
        expose_headers=(
            "x-request-id", "x-llm-gateway-model", "x-llm-gateway-attempts", "x-llm-gateway-ignored",
            "x-llm-gateway-cache", "age", "retry-after",
            "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
        ),
    )  # fmt: skip
