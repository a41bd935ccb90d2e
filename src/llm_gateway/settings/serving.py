"""Settings of the server process."""

from __future__ import annotations

from datetime import tzinfo
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from llm_gateway.core.calendar import read_zone
from llm_gateway.core.log_levels import LogLevel
from llm_gateway.settings.origins import never_matches
from llm_gateway.settings.values import SettingsSection


class ServingSettings(SettingsSection):
    """How the gateway is served."""

    host: str = Field("127.0.0.1", description="Address to listen on. Use 0.0.0.0 in containers.")
    port: int = Field(18000, ge=0, le=65535, description="Port to listen on; 0 picks a free port.")
    workers: int = Field(1, ge=1, le=128, description="Number of worker processes.")
    data_dir: Path = Field(
        Path("data"),
        description="Folder for all files that the gateway writes: database, journal, keys, logs.",
    )
    debug: bool = Field(
        False, description="Adds log lines, and tracebacks to the log. Responses never contain them."
    )
    log_level: LogLevel = Field("info", description="Lowest level that is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="How messages look on standard error: text, or a JSON object a line."
    )
    access_log: Literal["all", "errors", "off"] = Field(
        "all",
        description="Requests that are logged as a JSON line on standard output: all, errors (4xx, 5xx, cut),"
        " off.",
    )
    drain_timeout: float = Field(
        300.0, ge=0, description="Seconds that open requests and streams may take to finish after SIGTERM."
    )
    time_zone: str = Field(
        "UTC",
        description="Time zone of calendar days and months, for limits and budgets: an IANA name such as "
        "Europe/Berlin.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Browser origins that may call the gateway, comma-separated; * allows any."
    )

    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Addresses or networks (10.0.0.0/8) of proxies in front of the gateway, comma-separated. From "
        "these, X-Forwarded-For tells the client's address for logs and usage rows.",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _can_match(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if (reason := never_matches(origin, is_alone=len(origins) == 1)) is not None:
                raise ValueError(f"{origin!r} {reason}")
        return origins

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        read_zone(name)
        return name

    @property
    def zone(self) -> tzinfo:
        """The time zone itself."""
        return read_zone(self.time_zone)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}; write an address, or a network such as 10.0.0.0/8") from None
        return networks
