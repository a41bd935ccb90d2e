"""The console, made at the first request for one of its pages: its import takes a third of a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llm_gateway.app.wiring import Wiring
from llm_gateway.http.data_plane import DataPlane
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.http.types import AsgiApp, Receive, Scope, Send

if TYPE_CHECKING:
    from llm_gateway.console.services import ConsoleServices


def console_routes(wiring: Wiring, plane: DataPlane) -> RouteTable:
    """Return the routes of the console; it signs its users in by itself, so no guard stands before it."""
    app = _OnFirstPage(wiring, plane)

    async def serve(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del request_id
        await app(scope, receive, send)

    return RouteTable(
        exact={("GET", "/"): serve, ("GET", "/console"): serve},
        prefix={("GET", "/console/"): serve, ("POST", "/console/"): serve},
    )


class _OnFirstPage:
    """Imports and makes the console when it is first asked for."""

    def __init__(self, wiring: Wiring, plane: DataPlane) -> None:
        self._wiring = wiring
        self._plane = plane
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
        from llm_gateway.console.app import make_console  # noqa: PLC0415 - see the class

        return make_console(_services(self._wiring, self._plane))


def _services(wiring: Wiring, plane: DataPlane) -> ConsoleServices:
    from llm_gateway import __version__  # noqa: PLC0415
    from llm_gateway.app.fastapi_app import admin_services  # noqa: PLC0415 - it imports FastAPI
    from llm_gateway.console.services import ConsoleServices  # noqa: PLC0415
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
        tester=admin.tester,
        flush=admin.flush,
        explain=admin.explain,
        prices_in_force=admin.prices_in_force,
        chat_as=chats_as_credentials(plane),
        lifecycle=wiring.gateway.lifecycle,
        clock=wiring.clock,
        proxies=plane.proxies,
        time_zone=wiring.time_zone,
        version=__version__,
    )
