"""`/admin/v1/config`: which configuration is in force, and reading the database again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from llm_gateway.admin.config.schemas import ConfigVersion, shown
from llm_gateway.admin.filters import Cursor
from llm_gateway.admin.services import Services
from llm_gateway.admin.write_options import set_etag
from llm_gateway.core.errors import Unprocessable
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.resources.history import VersionDetail, VersionPage, version_detail, version_summary
from llm_gateway.resources.shapes import read_id

router = APIRouter(prefix="/config", tags=["config"])

# A version may hold a record of 256 KiB.
_Limit = Annotated[int, Query(ge=1, le=200, description="Versions per page, at most.")]


@router.get("/versions")
async def list_versions(services: Services, cursor: Cursor = None, limit: _Limit = 50) -> VersionPage:
    """List the versions of the configuration, newest first: who changed what."""
    page = await services.history.page(cursor, limit)
    return VersionPage(data=[version_summary(entry) for entry in page.items], next_cursor=page.next_cursor)


@router.get("/versions/{version}", responses={404: {"description": "There is no such version."}})
async def show_version(version: Annotated[str, Path()], services: Services) -> VersionDetail:
    """Show what one version changed, with the values before and after."""
    return version_detail(await services.history.get(read_id(version, "config version")))


@router.get("/version", response_model_exclude_unset=True)
async def get_version(services: Services, response: Response) -> ConfigVersion:
    """Show the configuration in force, and what is wrong with a newer one."""
    stored: int | None
    try:
        stored = await services.source.version()
    except StoreUnavailable:
        stored = None
    else:
        set_etag(response, stored)
    return shown(services.reloader.status, stored)


@router.post("/reload", response_model_exclude_unset=True)
async def reload(services: Services) -> ConfigVersion:
    """Read the database again (for rows changed by SQL), and answer when every worker here has it in force.

    422 `config_refused` names faulty rows; all others are in force.
    """
    status = await services.reloader.reload()
    stale_workers = await services.reloader.await_everyone(status.version or 0)
    if status.refused is not None:
        faults = "; ".join(str(fault) for fault in status.refused.faults)
        raise Unprocessable(
            f"Version {status.refused.version} is in force except for faulty rows, which stay as they were, or are"
            f" left out or refused: {faults}",
            code="config_refused",
        )
    answer = shown(status, status.version or 0)
    if stale_workers:
        answer.stale_workers = list(stale_workers)
    return answer
