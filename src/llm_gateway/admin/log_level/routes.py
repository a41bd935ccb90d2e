"""`/admin/v1/log-level`: what is logged, changed while the gateway runs."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from llm_gateway.admin.services import Services
from llm_gateway.core.log_levels import LogLevel
from llm_gateway.flow.ports.workers import LogLevelSwitch
from llm_gateway.resources.shapes import Body

router = APIRouter(prefix="/log-level", tags=["log level"])


class NewLogLevel(Body):
    """The level to put in force."""

    level: LogLevel | None = Field(description="The lowest level that is logged; null = `default`.")


class LogLevelView(BaseModel):
    """The level of the log in all workers of this machine."""

    level: LogLevel = Field(description="The lowest level that is logged.")
    default: LogLevel = Field(description="What the settings say, and what is in force after a restart.")


@router.get("")
async def get_log_level(services: Services) -> LogLevelView:
    """Show the lowest level that is logged."""
    return _shown(services.log_level)


@router.put("")
async def set_log_level(body: NewLogLevel, services: Services) -> LogLevelView:
    """Change what every worker of this machine logs, within a second and until the gateway is restarted."""
    services.log_level.set(body.level)
    return _shown(services.log_level)


def _shown(switch: LogLevelSwitch) -> LogLevelView:
    return LogLevelView(level=switch.level(), default=switch.default)
