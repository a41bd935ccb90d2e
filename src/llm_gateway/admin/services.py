"""What the admin routes work with; the composition root puts it on the application's state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from llm_gateway.flow.config.browser import CatalogBrowser
from llm_gateway.flow.config.editor import CatalogEditor
from llm_gateway.flow.config.history import CatalogHistory
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.explain.answer import Explanation, Question
from llm_gateway.flow.explain.prices import ModelPrices
from llm_gateway.flow.ports.budgets import BalanceReader
from llm_gateway.flow.ports.catalog import CatalogSource
from llm_gateway.flow.ports.telemetry import EventReader
from llm_gateway.flow.ports.usage import UsageReader
from llm_gateway.flow.ports.workers import LogLevelSwitch
from llm_gateway.flow.provider_checks.trials import ProviderTester


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices:
    """The collaborators of the admin API, found at `request.app.state.admin`."""

    editor: CatalogEditor
    catalog: CatalogBrowser
    source: CatalogSource
    reloader: Reloader
    usage: UsageReader
    events: EventReader
    balances: BalanceReader
    tester: ProviderTester
    # Returns when every record that was journalled before is in the database; False if that takes too long.
    flush: Callable[[], Awaitable[bool]]
    log_level: LogLevelSwitch
    # Names this gateway's database in files for other programs.
    account: str
    # Explains how a request would be routed; raises NotFound for an unknown credential.
    explain: Callable[[Question], Explanation]
    # Explains it by an earlier config version; raises NotFound, Unprocessable for one that cannot be rebuilt.
    explain_earlier: Callable[[Question, int], Awaitable[Explanation]]
    history: CatalogHistory
    # What requests to a provider (its key) and an upstream model are priced by, at an instant or now.
    prices_in_force: Callable[[str, str, int | None], ModelPrices]
    # The IANA name of the time zone of days and months.
    time_zone: str = "UTC"


def _services(request: Request) -> AdminServices:
    services: AdminServices = request.app.state.admin
    return services


Services = Annotated[AdminServices, Depends(_services)]
