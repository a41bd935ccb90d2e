"""What the pages work with; the composition root makes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.config.browser import CatalogBrowser
from llm_gateway.flow.config.editor import CatalogEditor
from llm_gateway.flow.config.history import CatalogHistory
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.explain.answer import ExplainedRoute, Explanation, Question
from llm_gateway.flow.explain.prices import ModelPrices
from llm_gateway.flow.gateway import Lifecycle
from llm_gateway.flow.ports.budgets import BalanceReader
from llm_gateway.flow.ports.catalog import CatalogSource, Snapshots
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.sessions import Session
from llm_gateway.flow.ports.usage import UsageReader
from llm_gateway.flow.ports.use_limits import UseStore
from llm_gateway.flow.ports.workers import DeploymentStateReader, MachineState, WorkerRegistry
from llm_gateway.flow.provider_checks.trials import ProviderTester
from llm_gateway.flow.sessions import Sessions
from llm_gateway.http.client_address import TrustedProxies
from llm_gateway.http.model_routes.data_plane import Handler

_SERVICES = "llm_gateway.console.services"
_SESSION = "llm_gateway.console.session"
_ROOT = "llm_gateway.console.root"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleServices:
    """The collaborators of the pages."""

    sessions: Sessions
    editor: CatalogEditor
    catalog: CatalogBrowser
    source: CatalogSource
    snapshots: Snapshots
    reloader: Reloader
    usage: UsageReader
    balances: BalanceReader
    # What is used of limits.
    use: UseStore
    tester: ProviderTester
    # Returns when every record that was journalled before is in the database; False if that takes too long.
    flush: Callable[[], Awaitable[bool]]
    # Explains how a request would be routed; raises NotFound for an unknown credential.
    explain: Callable[[Question], Explanation]
    # Explains the route that a model has in a snapshot, in force or not.
    explain_route: Callable[[Snapshot, str], ExplainedRoute]
    # Explains it by an earlier config version; raises NotFound, Unprocessable for one that cannot be rebuilt.
    explain_earlier: Callable[[Question, int], Awaitable[Explanation]]
    history: CatalogHistory
    worker_registry: WorkerRegistry
    # What requests to a provider (its key) and an upstream model are priced by, at an instant or now.
    prices_in_force: Callable[[str, str, int | None], ModelPrices]
    # The kinds of providers, those of plug-ins too.
    kinds: Mapping[str, Kind]
    # Breakers and health, in all workers of this server.
    deployment_states: DeploymentStateReader
    machine: MachineState
    # Whether BUDGET_WEBHOOK_URL is set.
    has_budget_webhook: bool
    # Returns the handler of chats as a credential, by its id.
    chat_as: Callable[[int], Handler]
    # Streams that follow the gateway end when it drains.
    lifecycle: Lifecycle
    clock: Clock
    proxies: TrustedProxies
    # The IANA name of the time zone of days and months.
    time_zone: str
    # Of the gateway.
    version: str


def services_of(request: Request) -> ConsoleServices:
    """Return what the pages work with."""
    services: ConsoleServices = request.scope[_SERVICES]
    return services


def session_of(request: Request) -> Session | None:
    """Return whose request this is; None on the page that signs in."""
    session: Session | None = request.scope.get(_SESSION)
    return session


def root_of(request: Request) -> str:
    """Return the path prefix of the whole gateway, "" without one."""
    root: str = request.scope.get(_ROOT, "")
    return root


def with_services(request: Request, services: ConsoleServices, root: str) -> None:
    """Store what the pages work with."""
    request.scope[_SERVICES] = services
    request.scope[_ROOT] = root


def with_session(request: Request, session: Session) -> None:
    """Store whose request this is."""
    request.scope[_SESSION] = session
