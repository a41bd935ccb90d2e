"""The composition root: makes every part from the settings and puts them together; nobody else knows them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from loguru import logger
from starlette.middleware.cors import CORSMiddleware

from llm_gateway import __version__
from llm_gateway.admin.router import admin_router
from llm_gateway.admin.services import AdminServices
from llm_gateway.app.storage import Storage, find_keys, open_storage
from llm_gateway.core.errors import Unavailable
from llm_gateway.core.records import UsageRecord
from llm_gateway.core.secret import Secret
from llm_gateway.flow.catalog_editing import CatalogEditor
from llm_gateway.flow.gateway import Gateway, Lifecycle, Options
from llm_gateway.flow.probing import Prober
from llm_gateway.flow.reloading import Reloader, SnapshotHolder
from llm_gateway.http.body import BodyReader
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.http.shell import Guard, OtherRequest, RouteTable, Shell
from llm_gateway.http.surface import DataPlane
from llm_gateway.http.types import AsgiApp
from llm_gateway.infra.access_log import AccessLog
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.feed import ChangeFeed
from llm_gateway.infra.journal import FileJournal
from llm_gateway.infra.prometheus import CONTENT_TYPE, Metrics, gauge
from llm_gateway.infra.rate_limits import make_rate_limiter
from llm_gateway.infra.request_ids import RequestIds
from llm_gateway.infra.request_log import AttemptLog
from llm_gateway.infra.shipper import Shipper
from llm_gateway.infra.token_counter import TiktokenCounter
from llm_gateway.infra.upstream.aiohttp_transport import AiohttpUpstream
from llm_gateway.infra.upstream.by_scheme import UpstreamByScheme
from llm_gateway.infra.upstream.simulated import SimulatedUpstream
from llm_gateway.infra.vocabularies import Vocabularies
from llm_gateway.infra.worker_board import FileWorkerBoard
from llm_gateway.ops.documentation import add_documentation
from llm_gateway.ops.health import health_paths, health_routes
from llm_gateway.ops.metrics import metrics_routes
from llm_gateway.providers.registry import ADAPTERS, KINDS
from llm_gateway.settings import Settings
from llm_gateway.surfaces.openai.routes import openai_paths, openai_routes

# Seconds that a shutdown gives to what outlives requests: counting tokens, then shipping the journal.
_SETTLE = 5.0
_MODELS_TTL = 60.0
_HEALTH_TTL = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gateway whose parts have all started."""

    shell: AsgiApp
    lifecycle: Lifecycle
    storage: Storage


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Start every part, and stop them in reverse."""
    async with AsyncExitStack() as stack:
        keys = find_keys(settings)
        clock = SystemClock()
        storage = await stack.enter_async_context(open_storage(settings, keys, clock))
        run_dir = settings.data_dir / "run"
        namespace = storage.address.shown
        board = FileWorkerBoard(run_dir, namespace)
        stack.callback(board.close)

        holder = SnapshotHolder()
        reloader = Reloader(
            holder=holder,
            source=storage.catalog,
            kinds=KINDS,
            board=board,
            keeper=storage.keeper,
            clock=clock,
        )
        metrics = Metrics(
            lambda model: holder.current is not None and model in holder.current.explicit_models
        )
        journal = FileJournal(settings.data_dir / "journal", settings.journal_max_bytes, clock)
        shipper = Shipper(settings.data_dir / "journal", storage.usage, clock)
        access_log = AccessLog(settings.access_log, clock)
        counter = TiktokenCounter(
            Vocabularies(settings.data_dir / "vocabularies", settings.tiktoken_cache_dir)
        )
        stack.callback(counter.close)
        upstream = UpstreamByScheme(
            http=AiohttpUpstream(
                connect_timeout=settings.connect_timeout, allow_private=settings.allow_private_upstreams
            ),
            simulated=SimulatedUpstream(),
        )
        stack.push_async_callback(upstream.close)
        limiter = make_rate_limiter(
            workers=settings.workers,
            directory=run_dir,
            namespace=namespace,
            redis_url=_revealed(settings.redis_url),
            fail=settings.limits_fail,
        )
        stack.push_async_callback(limiter.close)
        gateway = Gateway(
            snapshots=holder,
            adapters=ADAPTERS,
            upstream=upstream,
            limiter=limiter,
            hasher=storage.hasher,
            journal=journal,
            observers=(metrics, access_log, AttemptLog()),
            counter=counter,
            clock=clock,
            options=Options(
                provider_suffix=settings.provider_suffix,
                llm_timeout=settings.llm_timeout,
                commit_hold=settings.commit_hold,
                max_reply_bytes=settings.max_reply_bytes,
                allow_anonymous=settings.allow_anonymous,
            ),
        )
        # What a stop must not lose is put away in this order: counts in the background, then the journal.
        stack.push_async_callback(access_log.close)
        stack.push_async_callback(shipper.drain, _SETTLE)
        stack.callback(journal.close)
        stack.push_async_callback(gateway.background.drain, _SETTLE)

        await _first_load(reloader)
        shipper.start()
        access_log.start()
        feed = ChangeFeed(storage.address, storage.catalog, board, reloader)
        await stack.enter_async_context(_in_background(feed.run()))

        async def flush() -> None:
            await shipper.flush()

        def now() -> list[Any]:
            return _gauges(board, reloader, journal, shipper)

        plane = DataPlane(
            gateway=gateway,
            bodies=BodyReader(
                max_bytes=settings.max_body_bytes,
                max_total_bytes=settings.max_inflight_body_bytes,
                timeout=settings.body_timeout,
            ),
            board=board,
            max_concurrency=settings.max_concurrency,
        )
        health = Prober(gateway, ttl=_HEALTH_TTL)
        routes = RouteTable.joined(
            (
                openai_routes(plane, Prober(gateway, ttl=_MODELS_TTL)),
                health_routes(gateway, health, lambda: _details(reloader, journal, shipper)),
                metrics_routes(lambda: metrics.render(now()), CONTENT_TYPE),
            )
        )
        services = AdminServices(
            editor=CatalogEditor(store=storage.rows, hasher=storage.hasher, reloader=reloader, kinds=KINDS),
            store=storage.rows,
            source=storage.catalog,
            reloader=reloader,
            usage=storage.usage,
            flush=flush,
        )
        shell: AsgiApp = Shell(
            routes,
            _framework(services),
            _guards(settings, keys.admin.secret),
            RequestIds(),
            lambda other: access_log.finished(_as_record(other, clock)),
        )
        if settings.cors_origins:
            shell = _with_cors(shell, settings.cors_origins)
        yield Running(shell=shell, lifecycle=gateway.lifecycle, storage=storage)


def _as_record(other: OtherRequest, clock: SystemClock) -> UsageRecord:
    """Return a line for the access log of a request that used no model."""
    ms = round(other.seconds * 1000, 3)
    return UsageRecord(
        request_id=other.request_id,
        created_at=clock.unix_us() - round(ms * 1000),
        endpoint=other.path,
        method=other.method,
        stream=False,
        status_code=other.status,
        outcome="ok" if 0 < other.status < 400 else "rejected",
        latency_ms=ms,
        client_ip=other.client_ip,
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
    token = _revealed(settings.ops_token)
    if token is None:
        return guards
    watched = ("/metrics", "/docs", "/openapi.json", "/health/")
    return (*guards, Guard(watched, Secret(token), "operations token (OPS_TOKEN)"))


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


async def _first_load(reloader: Reloader) -> None:
    """Load the configuration; a database that is down, with nothing kept, leaves the gateway unready."""
    try:
        await reloader.start()
    except Unavailable as error:
        logger.error("No configuration yet, no request is taken: {}", error.message)
    for fault in reloader.status.refused.faults if reloader.status.refused else ():
        logger.error("The stored configuration is refused: {}", fault)


@asynccontextmanager
async def _in_background(work: Any) -> AsyncIterator[None]:  # noqa: ANN401 - any coroutine
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _gauges(board: FileWorkerBoard, reloader: Reloader, journal: FileJournal, shipper: Shipper) -> list[Any]:
    status = reloader.status
    return [
        gauge("llm_proxy_active_requests", "Requests in flight on this machine.", board.active()),
        gauge("llm_gateway_config_version", "Configuration version in force.", status.version or 0),
        gauge(
            "llm_gateway_config_refused",
            "1 while the stored configuration is refused and an older one is in force.",
            float(status.refused is not None),
        ),
        gauge("llm_gateway_journal_backlog_bytes", "Usage facts not yet stored.", shipper.backlog_bytes),
        gauge("llm_gateway_journal_lost_facts", "Usage facts that could not be written.", journal.lost),
        gauge("llm_gateway_journal_rejected_facts", "Usage facts set aside as unreadable.", shipper.rejected),
    ]


def _details(reloader: Reloader, journal: FileJournal, shipper: Shipper) -> dict[str, Any]:
    status = reloader.status
    return {
        "config": {
            "version": status.version,
            "is_kept_copy": status.is_kept_copy,
            "refused_version": status.refused.version if status.refused else None,
            "error": status.error,
        },
        "usage": {"backlog_bytes": shipper.backlog_bytes, "lost": journal.lost, "rejected": shipper.rejected},
    }


def _revealed(secret: Any) -> str | None:  # noqa: ANN401 - pydantic's SecretStr, or None
    return None if secret is None else secret.get_secret_value()
