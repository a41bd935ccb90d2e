"""The FastAPI application: the admin API, the documentation, and errors for every other path."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from llm_gateway import __version__
from llm_gateway.admin.router import admin_router
from llm_gateway.admin.services import AdminServices
from llm_gateway.app.provider_kinds import provider_kinds
from llm_gateway.app.wiring import Wiring
from llm_gateway.flow.config.browser import CatalogBrowser
from llm_gateway.flow.config.editor import CatalogEditor
from llm_gateway.flow.config.history import CatalogHistory
from llm_gateway.flow.explain.earlier import explain_earlier
from llm_gateway.flow.explain.explainer import explain
from llm_gateway.flow.explain.prices import prices_in_force
from llm_gateway.flow.provider_checks.trials import ProviderTester
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.http.types import AsgiApp, Receive, Scope, Send
from llm_gateway.infra.logs.event_log import TrialLog
from llm_gateway.ops.health import health_paths
from llm_gateway.ops.openapi import add_documentation
from llm_gateway.surfaces.base import Surface
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS


def make_fastapi_app(wiring: Wiring, surfaces: tuple[Surface, ...]) -> FastAPI:
    """Return the application for everything that is not on the data path."""
    app = FastAPI(
        title="LLM gateway",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # The dispatcher removes a slash at the end; a redirect would name the host in the client's Host header.
        redirect_slashes=False,
    )
    app.state.admin = admin_services(wiring)
    app.include_router(admin_router())
    add_documentation(app, lambda: _openapi_paths(surfaces))
    add_error_handlers(app, OPENAI_ERRORS)
    app.add_middleware(BodiesAreJson)
    return app


class BodiesAreJson:
    """Makes FastAPI read every body as JSON: `curl -d` sends another content type unless it is told."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            others = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
            scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
        await self._app(scope, receive, send)


def _openapi_paths(surfaces: tuple[Surface, ...]) -> dict[str, Any]:
    paths = health_paths()
    for surface in surfaces:
        paths |= surface.openapi_paths()
    return paths


def admin_services(wiring: Wiring) -> AdminServices:
    storage, unserved = wiring.storage, wiring.gateway.selector.unserved
    history = CatalogHistory(storage.history, storage.catalog)

    editor = CatalogEditor(
        store=storage.rows,
        hasher=storage.hasher,
        reloader=wiring.reloader,
        kinds=provider_kinds(),
        operator_keys=storage.operator_keys,
    )
    return AdminServices(
        editor=editor,
        catalog=CatalogBrowser(
            store=storage.rows,
            source=storage.catalog,
            snapshots=wiring.gateway.snapshots,
            model_absences=lambda snapshot, model: unserved.warnings(
                snapshot, model, wiring.clock.monotonic()
            ),
        ),
        source=storage.catalog,
        reloader=wiring.reloader,
        usage=storage.usage,
        events=storage.events,
        balances=wiring.storage.balances,
        tester=ProviderTester(
            wiring.gateway, provider_kinds(), TrialLog(wiring.worker_registry.note_provider_tested)
        ),
        flush=wiring.shipper.flush,
        log_level=wiring.log_level,
        account=storage.namespace,
        explain=lambda question: explain(wiring.gateway, question),
        explain_earlier=lambda question, version: explain_earlier(
            wiring.gateway, history, provider_kinds(), question, version
        ),
        history=history,
        prices_in_force=lambda provider, model, at: prices_in_force(wiring.gateway, provider, model, at),
        time_zone=wiring.time_zone,
    )
