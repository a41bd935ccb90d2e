"""The console, made at the first request for one of its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.app.on_demand.first_use import OnFirstUse
from llm_gateway.app.provider_kinds import provider_kinds
from llm_gateway.app.wiring import Wiring
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import AsgiApp, Receive, Scope, Send

if TYPE_CHECKING:
    from llm_gateway.console.services import ConsoleServices


def console_routes(wiring: Wiring, plane: DataPlane) -> RouteTable:
    """Return the routes of the console; it signs its users in by itself, so no guard stands before it."""
    app = OnFirstUse(lambda: _make(wiring, plane))

    async def serve(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del request_id
        await app(scope, receive, send)

    return RouteTable(
        exact={("GET", path): serve for path in ("/", "/console", "/console/")},
        prefix={("GET", "/console/"): serve, ("POST", "/console/"): serve},
    )


def _make(wiring: Wiring, plane: DataPlane) -> AsgiApp:
    from llm_gateway.console.app import make_console  # noqa: PLC0415 - it takes a third of a second

    return make_console(_services(wiring, plane))


def _services(wiring: Wiring, plane: DataPlane) -> ConsoleServices:
    from llm_gateway import __version__  # noqa: PLC0415
    from llm_gateway.app.on_demand.fastapi_app import admin_services  # noqa: PLC0415 - it imports FastAPI
    from llm_gateway.console.services import ConsoleServices  # noqa: PLC0415
    from llm_gateway.flow.explain.explainer import explain_route  # noqa: PLC0415
    from llm_gateway.surfaces.openai.on_behalf import chats_as_credentials  # noqa: PLC0415

    admin = admin_services(wiring)
    return ConsoleServices(
        sessions=wiring.sessions,
        editor=admin.editor,
        catalog=admin.catalog,
        source=admin.source,
        snapshots=wiring.gateway.snapshots,
        reloader=admin.reloader,
        usage=admin.usage,
        balances=admin.balances,
        use=wiring.use_store,
        tester=admin.tester,
        flush=admin.flush,
        explain=admin.explain,
        explain_route=lambda snapshot, model: explain_route(wiring.gateway, snapshot, model),
        explain_earlier=admin.explain_earlier,
        history=admin.history,
        worker_registry=wiring.worker_registry,
        prices_in_force=admin.prices_in_force,
        machine=wiring.worker_registry,
        has_budget_webhook=wiring.budget_webhook is not None,
        kinds=provider_kinds(),
        deployment_states=wiring.deployment_states,
        chat_as=chats_as_credentials(plane),
        lifecycle=wiring.gateway.lifecycle,
        clock=wiring.clock,
        proxies=plane.proxies,
        time_zone=wiring.time_zone,
        version=__version__,
    )
