"""A surface: the routes of one client API, and their part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec

from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.accounting.use_limit import AccountsOf
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.ledger import EventJournal
from llm_gateway.flow.ports.limits import Limit
from llm_gateway.flow.ports.query_log import QueryLog
from llm_gateway.flow.ports.usage import UsageReader
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.http.model_routes.data_plane import DataPlane


class SurfaceServices(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes of surfaces work with."""

    plane: DataPlane
    prober: Prober
    # Whose results are some seconds old at most.
    health: Prober
    usage: UsageReader
    # Returns when every record that was journalled before is in the database; False if that takes too long.
    flush: Callable[[], Awaitable[bool]]
    # Returns a limit on the callers of a surface alone, without those of the configuration.
    limit_callers: Callable[[AccountsOf], Limit]
    # Takes events that clients report.
    events: EventJournal
    # Takes the text of queries, which only a setting allows.
    query_log: QueryLog

    def tuned_plane(self, options: Options, callers: AccountsOf) -> DataPlane:
        """Return the data plane with other options; the limits on `callers` come before the configuration's."""
        gateway = self.plane.gateway
        options = replace(options, limits_every_caller=True)
        limit = all_of(self.limit_callers(callers), gateway.limit)
        return msgspec.structs.replace(self.plane, gateway=replace(gateway, options=options, limit=limit))


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """One client API."""

    name: str
    routes: Callable[[SurfaceServices], RouteTable]
    openapi_paths: Callable[[], dict[str, Any]]
