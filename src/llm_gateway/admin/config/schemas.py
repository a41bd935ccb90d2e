"""What the admin API says of the configuration in force."""

from __future__ import annotations

from pydantic import BaseModel, Field

from llm_gateway.admin.times import iso_time
from llm_gateway.flow.config.reloader import ConfigStatus
from llm_gateway.flow.ports.listeners import ConfigRejection


class RefusedConfig(BaseModel):
    """A stored configuration that is not served."""

    version: int
    faults: list[str]
    at: str


class ConfigVersion(BaseModel):
    """The configuration in force on the worker that answers."""

    version: int | None = Field(description="In force; null while there is none.")
    loaded_at: str | None
    database_version: int | None = Field(description="Stored; null while the database does not answer.")
    is_kept_copy: bool = Field(
        description="In force from DATA_DIR, since the database gave nothing valid at start."
    )
    refused: RefusedConfig | None = Field(description="The newest stored one, when it cannot be served.")
    error: str | None = Field(description="Why the last load failed, if it did.")
    stale_workers: list[int] = Field(
        default=[], description="Process ids of workers of this machine that do not have it yet, if any."
    )


def shown(status: ConfigStatus, database_version: int | None) -> ConfigVersion:
    """Return what an operator sees of `status`."""
    return ConfigVersion(
        version=status.version,
        loaded_at=None if status.loaded_at is None else iso_time(status.loaded_at),
        database_version=database_version,
        is_kept_copy=status.is_kept_copy,
        refused=None if status.refused is None else _refused(status.refused),
        error=status.error,
    )


def _refused(refusal: ConfigRejection) -> RefusedConfig:
    return RefusedConfig(version=refusal.version, faults=list(refusal.faults), at=iso_time(refusal.at))
