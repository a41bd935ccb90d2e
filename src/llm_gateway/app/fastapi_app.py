"""The FastAPI application: the admin API, the documentation, and errors for every other path."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from llm_gateway import __version__
from llm_gateway.admin.router import admin_router
from llm_gateway.admin.services import AdminServices
from llm_gateway.app.wiring import Wiring
from llm_gateway.flow.config.browser import CatalogBrowser
from llm_gateway.flow.config.editor import CatalogEditor
from llm_gateway.flow.explain.explainer import explain
from llm_gateway.flow.provider_checks.trials import ProviderTester
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.infra.logs.event_log import TrialLog
from llm_gateway.ops.health import health_paths
from llm_gateway.ops.openapi import add_documentation
from llm_gateway.providers.registry import KINDS
from llm_gateway.surfaces.base import Surface
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS


def make_fastapi_app(wiring: Wiring, surfaces: tuple[Surface, ...]) -> FastAPI:
    """Return the application for everything that is not on the data path."""
    app = FastAPI(title="LLM gateway", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.admin = _admin_services(wiring)
    app.include_router(admin_router())
    add_documentation(app, lambda: _openapi_paths(surfaces))
    add_error_handlers(app, OPENAI_ERRORS)
    return app


def _openapi_paths(surfaces: tuple[Surface, ...]) -> dict[str, Any]:
    paths = health_paths()
    for surface in surfaces:
        paths |= surface.openapi_paths()
    return paths


def _admin_services(wiring: Wiring) -> AdminServices:
    storage = wiring.storage

    async def flush() -> None:
        await wiring.shipper.flush()

    editor = CatalogEditor(store=storage.rows, hasher=storage.hasher, reloader=wiring.reloader, kinds=KINDS)
    return AdminServices(
        editor=editor,
        catalog=CatalogBrowser(
            store=storage.rows, source=storage.catalog, snapshots=wiring.gateway.snapshots
        ),
        source=storage.catalog,
        reloader=wiring.reloader,
        usage=storage.usage,
        tester=ProviderTester(wiring.gateway, KINDS, TrialLog()),
        flush=flush,
        explain=lambda question: explain(wiring.gateway, question),
    )
