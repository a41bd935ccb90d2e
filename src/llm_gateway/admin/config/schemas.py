"""The configuration in force, as the admin API shows it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from llm_gateway.core.times import iso_time
from llm_gateway.flow.config.reloader import ConfigOrigin, ConfigStatus
from llm_gateway.flow.ports.listeners import ConfigRejection


class RefusedConfig(BaseModel):
    """The faulty rows of the configuration in force. `at` is an ISO 8601 time."""

    version: int
    faults: list[str]
    kept: list[str] = Field(description="Those of them that stay as they were when they were last valid.")
    at: str


class ConfigVersion(BaseModel):
    """The configuration in force on the worker that answers."""

    version: int | None = Field(description="The version in force; null if there is none.")
    loaded_at: str | None
    database_version: int | None = Field(
        description="The stored version; null while the database is not available."
    )
    source: ConfigOrigin | None = Field(
        description="Where the configuration in force was read from; `last_good_file` if the database was not "
        "available at the start. null if there is none."
    )
    refused: RefusedConfig | None = Field(
        description="Rows that are not served as they are stored; null if there are none."
    )
    error: str | None = Field(description="Why the last load failed; null if it succeeded.")
    stale_workers: list[int] = Field(
        default=[], description="Process ids of workers on this machine that still use an older version."
    )


def shown(status: ConfigStatus, database_version: int | None) -> ConfigVersion:
    """Return `status` as the admin API shows it."""
    return ConfigVersion(
        version=status.version,
        loaded_at=None if status.loaded_at is None else iso_time(status.loaded_at),
        database_version=database_version,
        source=status.source,
        refused=None if status.refused is None else _refused(status.refused),
        error=status.error,
    )


def _refused(rejection: ConfigRejection) -> RefusedConfig:
    return RefusedConfig(
        version=rejection.version,
        faults=[str(fault) for fault in rejection.faults],
        kept=list(rejection.kept),
        at=iso_time(rejection.at),
    )
