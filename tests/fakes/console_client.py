"""A browser in front of the console of a gateway on a real store, without a server in between."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from html.parser import HTMLParser
from unittest.mock import Mock

import httpx

from llm_gateway.console.app import make_console
from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.secret import Secret
from llm_gateway.flow.explain.earlier import explain_earlier
from llm_gateway.flow.explain.explainer import explain, explain_route
from llm_gateway.flow.explain.prices import prices_in_force
from llm_gateway.flow.gateway import Lifecycle
from llm_gateway.flow.ports.listeners import ProviderTest
from llm_gateway.flow.ports.sessions import Role
from llm_gateway.flow.ports.workers import DeploymentStateReader, MachineState, SharedDeploymentState
from llm_gateway.flow.provider_checks.trials import ProviderTester
from llm_gateway.flow.sessions import Sessions
from llm_gateway.http.client_address import TrustedProxies
from llm_gateway.infra.database.budgets.balances import BalanceRepository
from llm_gateway.infra.database.budgets.definitions import DefinitionReader
from llm_gateway.infra.use_limits.shared import SharedUseStore
from llm_gateway.providers.registry import KINDS
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream
from tests.fakes.session_store import MemorySessionStore
from tests.fakes.stores import Store

ORIGIN = "http://gateway.test"
_KEYS: dict[Role, Secret] = {"admin": Secret("the-admin-key"), "viewer": Secret("the-viewer-key")}


class _NobodyListens:
    def tested(self, result: ProviderTest) -> None:
        del result


class Flush:
    """Whether the store takes usage rows."""

    succeeds = True

    async def __call__(self) -> bool:
        return self.succeeds


class FakeDeploymentStates(DeploymentStateReader):
    """What a test says of two workers."""

    def __init__(self) -> None:
        self.shared: list[SharedDeploymentState] = []
        self.healthy: dict[str, bool] = {}

    def deployments(self) -> list[SharedDeploymentState]:
        return self.shared

    def workers(self) -> int:
        return 2

    def health(self) -> Mapping[str, bool]:
        return self.healthy


class Browser:
    """Signed in; it sends forms as browsers do."""

    def __init__(
        self, store: Store, services: ConsoleServices, client: httpx.AsyncClient, flush: Flush
    ) -> None:
        self.store = store
        self.flush = flush
        self.services = services
        self.client = client

    async def sign_in(self, role: Role) -> None:
        self.client.cookies.clear()
        answer = await self.post("/console/sign-in", {"key": _KEYS[role].reveal()})
        assert answer.status_code == 303

    async def get(self, path: str, status: int = 200, **query: str) -> str:
        answer = await self.client.get(path, params=query or None)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
        return answer.text

    async def post(self, path: str, fields: Mapping[str, str]) -> httpx.Response:
        return await self.client.post(path, data=dict(fields), headers={"origin": ORIGIN})

    async def fill(self, path: str, **typed: str | None) -> httpx.Response:
        """Open the page with a form, type into its fields (None: uncheck), and send it."""
        fields = form_fields(await self.get(path))
        for name, text in typed.items():
            key = name.replace("__", ".")
            if text is None:
                fields.pop(key, None)
            else:
                fields[key] = text
        return await self.post(path.partition("?")[0], fields)


class _Forms(HTMLParser):
    """Collects what a browser sends of the forms that are sent by POST, but for those of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._is_inside = False
        self._textarea: str | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: text or "" for name, text in attrs}
        name = values.get("name", "")
        if tag == "form":
            self._is_inside = values.get("method") == "post" and not values["action"].endswith("/sign-out")
        elif not self._is_inside:
            return
        elif tag == "input":
            if values.get("type") != "checkbox" or "checked" in values:
                self.fields[name] = values.get("value", "")
        elif tag == "textarea":
            self.fields[name] = ""
            self._textarea = name
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select is not None:
            self._choose(self._select, values)

    def _choose(self, select: str, values: Mapping[str, str]) -> None:
        # Without a selected option, the first one is sent.
        if "selected" in values or select not in self.fields:
            self.fields[select] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False
        elif tag == "textarea":
            self._textarea = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            # Browsers drop a line break that the text begins with, and send others as CRLF.
            self.fields[self._textarea] += data.replace("\n", "\r\n")


def form_fields(html: str) -> dict[str, str]:
    """Return what a browser would send of the form in a page."""
    parser = _Forms()
    parser.feed(html)
    return parser.fields


@asynccontextmanager
async def console_browser(
    store: Store, role: Role = "admin", upstream: ScriptedUpstream | None = None
) -> AsyncIterator[Browser]:
    """Yield a browser that is signed in to the console of the gateway on `store`."""
    bench = FakeGateway(upstream=upstream or ScriptedUpstream())
    gateway = dataclasses.replace(bench.gateway, snapshots=store.holder, clock=store.clock)
    flush = Flush()
    attempts = SharedUseStore(store.file.path.parent, "console", UTC)

    services = ConsoleServices(
        sessions=Sessions(
            store=MemorySessionStore(),
            attempts=attempts,
            hasher=store.hasher,
            clock=store.clock,
            keys=_KEYS,
            hours=12.0,
        ),
        editor=store.editor,
        catalog=store.browser,
        source=store.catalog,
        snapshots=store.holder,
        reloader=store.reloader,
        usage=store.usage,
        balances=BalanceRepository(store.engine, DefinitionReader(UTC)),
        use=attempts,
        tester=ProviderTester(gateway, KINDS, _NobodyListens()),
        flush=flush,
        explain=lambda question: explain(gateway, question),
        explain_route=lambda snapshot, model: explain_route(gateway, snapshot, model),
        kinds=KINDS,
        deployment_states=FakeDeploymentStates(),
        machine=Mock(spec=MachineState),
        has_budget_webhook=False,
        chat_as=Mock(),
        explain_earlier=lambda question, version: explain_earlier(
            gateway, store.history, KINDS, question, version
        ),
        history=store.history,
        worker_registry=store.worker_registry,
        prices_in_force=lambda provider, model, at: prices_in_force(gateway, provider, model, at),
        lifecycle=Lifecycle(),
        clock=store.clock,
        proxies=TrustedProxies(()),
        time_zone="UTC",
        version="0",
    )
    transport = httpx.ASGITransport(make_console(services), raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, timeout=60) as client:
            browser = Browser(store, services, client, flush)
            await browser.sign_in(role)
            yield browser
    finally:
        await attempts.close()
