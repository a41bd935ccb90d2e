"""What the admin API says of the configuration in force."""

from __future__ import annotations

from pydantic import BaseModel, Field

from llm_gateway.admin.times import iso_time
from llm_gateway.flow.config.reloader import ConfigOrigin, ConfigStatus
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
    source: ConfigOrigin | None = Field(
        description="Where the one in force was read from; the file in DATA_DIR is used when the database gives "
        "nothing valid at the start. null while there is none."
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
        source=status.source,
        refused=None if status.refused is None else _refused(status.refused),
        error=status.error,
    )


def _refused(refusal: ConfigRejection) -> RefusedConfig:
    return RefusedConfig(
        version=refusal.version, faults=[str(fault) for fault in refusal.faults], at=iso_time(refusal.at)
    )
