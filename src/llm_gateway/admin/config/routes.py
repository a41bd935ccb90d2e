"""`/admin/v1/config`: which configuration is in force, and reading the database again."""

from __future__ import annotations

from fastapi import APIRouter, Response

from llm_gateway.admin.config.schemas import ConfigVersion, shown
from llm_gateway.admin.services import Services
from llm_gateway.admin.write_options import set_etag
from llm_gateway.core.errors import Unprocessable
from llm_gateway.flow.ports.catalog import StoreUnavailable

router = APIRouter(prefix="/config", tags=["config"])


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
