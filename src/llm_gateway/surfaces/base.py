"""A surface: the routes of one client API, and their part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.data_plane import DataPlane
from llm_gateway.http.dispatcher import RouteTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One client API."""

    name: str
    routes: Callable[[DataPlane, Prober], RouteTable]
    openapi_paths: Callable[[], dict[str, Any]]
