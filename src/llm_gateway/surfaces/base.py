"""What a surface is: the routes of one client dialect, and their part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.data_plane import DataPlane
from llm_gateway.http.dispatcher import RouteTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """An API that clients speak."""

    name: str
    routes: Callable[[DataPlane, Prober], RouteTable]
    openapi_paths: Callable[[], dict[str, Any]]
