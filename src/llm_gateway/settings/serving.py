"""Settings of the server process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from llm_gateway.core.calendar import read_zone
from llm_gateway.core.log_levels import LogLevel
from llm_gateway.settings.origins import never_matches
from llm_gateway.settings.values import setting, split_at_commas


def _read_origins(text: str) -> tuple[str, ...]:
    origins = split_at_commas(text)
    for origin in origins:
        if (reason := never_matches(origin, is_alone=len(origins) == 1)) is not None:
            raise ValueError(f"{origin!r} {reason}")
    return origins


def _read_networks(text: str) -> tuple[str, ...]:
    networks = split_at_commas(text)
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"{error}; write an address, or a network such as 10.0.0.0/8") from None
    return networks


def _read_zone_name(name: str) -> str:
    read_zone(name)
    return name


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """How the gateway is served."""

    host: str = setting("127.0.0.1", description="Address to listen on. Use 0.0.0.0 in containers.")
    port: int = setting(18000, ge=0, le=65535, description="Port to listen on; 0 picks a free port.")
    workers: int = setting(1, ge=1, le=128, description="Number of worker processes.")
    data_dir: Path = setting(
        Path("data"),
        description="Folder for all files that the gateway writes: database, journal, keys, logs.",
    )
    debug: bool = setting(
        False, description="Adds log lines, and tracebacks to the log. Responses never contain them."
    )
    log_level: LogLevel = setting("info", description="Lowest level that is logged.")
    log_format: Literal["text", "json"] = setting(
        "text", description="How messages look on standard error: text, or a JSON object a line."
    )
    access_log: Literal["all", "errors", "off"] = setting(
        "all",
        description="Requests that are logged as a JSON line on standard output: all, errors (4xx, 5xx, cut),"
        " off.",
    )
    drain_timeout: float = setting(
        300.0, ge=0, description="Seconds that open requests and streams may take to finish after SIGTERM."
    )
    time_zone: str = setting(
        "UTC",
        read=_read_zone_name,
        description="Time zone of calendar days and months, for limits and budgets: an IANA name such as "
        "Europe/Berlin.",
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        read=_read_origins,
        description="Browser origins that may call the gateway, comma-separated; * allows any.",
    )

    trusted_proxies: tuple[str, ...] = setting(
        (),
        read=_read_networks,
        description="Addresses or networks (10.0.0.0/8) of proxies in front of the gateway, comma-separated. From "
        "these, X-Forwarded-For tells the client's address for logs and usage rows.",
    )

    @property
    def zone(self) -> tzinfo:
        """The time zone itself."""
        return read_zone(self.time_zone)
