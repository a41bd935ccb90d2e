"""The FastAPI application: the admin API, the documentation, and errors for every other path."""

from __future__ import annotations

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
from llm_gateway.surfaces.openai.routes import openai_paths


def make_framework(parts: Wiring) -> FastAPI:
    """Return the application for everything that is not on the data path."""
    app = FastAPI(title="LLM gateway", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.admin = _admin_services(parts)
    app.include_router(admin_router())
    add_documentation(app, lambda: {**openai_paths(), **health_paths()})
    add_error_handlers(app)
    return app


def _admin_services(parts: Wiring) -> AdminServices:
    storage = parts.storage

    async def flush() -> None:
        await parts.shipper.flush()

    editor = CatalogEditor(store=storage.rows, hasher=storage.hasher, reloader=parts.reloader, kinds=KINDS)
    return AdminServices(
        editor=editor,
        catalog=CatalogBrowser(store=storage.rows, source=storage.catalog, snapshots=parts.gateway.snapshots),
        source=storage.catalog,
        reloader=parts.reloader,
        usage=storage.usage,
        tester=ProviderTester(parts.gateway, KINDS, TrialLog()),
        flush=flush,
        explain=lambda question: explain(parts.gateway, question),
    )
