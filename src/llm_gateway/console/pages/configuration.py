"""The configuration in force: of this worker and of the others, what is wrong with it, and reading it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.links import see_other
from llm_gateway.console.rendering import page
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.config.faults import Fault
from llm_gateway.flow.config.rows.history import HistoryEntry
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.listeners import ConfigRejection

PATH: Final = "/console/configuration"
# Versions that the page of the configuration shows.
_NEWEST: Final = 10
# Rows with faults, and workers, that it lists.
_MOST: Final = 200
_PAGES: Final[Mapping[str, str]] = {
    "provider": "/console/providers",
    "credential": "/console/credentials",
    "model": "/console/models",
    "task type": "/console/task-types",
    "tenant": "/console/tenants",
    "project": "/console/projects",
    "budget": "/console/budgets",
    "price": "/console/prices",
}


async def show_configuration(request: Request) -> Response:
    """Show which version is in force where, and the newest versions."""
    return await _configuration(request, done=request.query_params.get("done"))


async def reload_configuration(request: Request) -> Response:
    """Read the database again, and wait until every worker of this machine has what it holds."""
    services = services_of(request)
    try:
        status = await services.reloader.reload()
    except StoreUnavailable as error:
        return await _configuration(
            request, status=error.status, problem=f"The configuration stays as it was. {error.message}"
        )
    await services.reloader.await_everyone(status.version or 0)
    return see_other(request, PATH, done="reloaded")


async def _configuration(
    request: Request, *, status: int = 200, done: str | None = None, problem: str | None = None
) -> Response:
    services = services_of(request)
    in_force = services.reloader.status
    workers = services.worker_registry.workers()
    stored = await _stored_version(services)
    newest = max([stored or 0, in_force.version or 0, *(worker.version or 0 for worker in workers)])
    refused = in_force.refused
    return page(
        request,
        "configuration/page.html",
        status=status,
        path=PATH,
        in_force=in_force,
        stored=stored,
        newest=newest,
        workers=workers[:_MOST],
        more_workers=max(len(workers) - _MOST, 0),
        faults=() if refused is None else _faults(refused),
        more_faults=0 if refused is None else max(len(refused.faults) - _MOST, 0),
        pages=_PAGES,
        entries=await _newest_entries(services),
        done=done,
        problem=problem,
    )


def _faults(refused: ConfigRejection) -> list[tuple[Fault, bool]]:
    """Return the first faults, and whether the row of each stays as it was."""
    kept = set(refused.kept)
    return [(fault, f"{fault.resource} {fault.row!r}" in kept) for fault in refused.faults[:_MOST]]


async def _stored_version(services: ConsoleServices) -> int | None:
    try:
        return await services.source.version()
    except StoreUnavailable:
        return None


async def _newest_entries(services: ConsoleServices) -> list[HistoryEntry] | None:
    try:
        return (await services.history.page(None, _NEWEST)).items
    except StoreUnavailable:
        return None


ROUTES: Final = [
    Route(PATH, show_configuration, methods=["GET"]),
    Route(f"{PATH}/reload", reload_configuration, methods=["POST"]),
]
