"""An admin in front of a gateway on a real store, without a server in between."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any

import httpx
from fastapi import FastAPI

from llm_gateway.admin.router import admin_router
from llm_gateway.admin.services import AdminServices
from llm_gateway.core.log_levels import LogLevel
from llm_gateway.flow.explain.earlier import explain_earlier
from llm_gateway.flow.explain.explainer import explain
from llm_gateway.flow.explain.prices import prices_in_force
from llm_gateway.flow.ports.listeners import ProviderTest
from llm_gateway.flow.ports.workers import LogLevelSwitch
from llm_gateway.flow.provider_checks.trials import ProviderTester
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.infra.database.budgets.balances import BalanceRepository
from llm_gateway.infra.database.budgets.definitions import DefinitionReader
from llm_gateway.providers.registry import KINDS
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream
from tests.fakes.stores import Store


class FakeLogLevelSwitch(LogLevelSwitch):
    """The level of a log that nobody writes."""

    default: LogLevel = "info"

    def __init__(self) -> None:
        self.chosen: LogLevel | None = None

    def level(self) -> LogLevel:
        return self.chosen or self.default

    def set(self, level: LogLevel | None) -> None:
        self.chosen = level


class AdminClient:
    """One admin in front of one gateway."""

    def __init__(self, store: Store, client: httpx.AsyncClient) -> None:
        self.store = store
        self.client = client
        self.flushed = 0
        # Whether the store takes rows.
        self.flushes = True
        # What the providers answer to tests, and what the log hears of them.
        self.bench = FakeGateway(upstream=ScriptedUpstream())
        self.heard: list[ProviderTest] = []
        self.log_level = FakeLogLevelSwitch()
        # Calls nobody: for what is said of requests that are not made.
        self.gateway = dataclasses.replace(self.bench.gateway, snapshots=store.holder)

    async def ask(self, method: str, path: str, status: int = 200, **arguments: Any) -> Any:
        answer = await self.client.request(method, f"/admin/v1{path}", **arguments)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def refused(self, method: str, path: str, status: int = 422, **arguments: Any) -> dict[str, Any]:
        error: dict[str, Any] = (await self.ask(method, path, status, **arguments))["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    def tested(self, result: ProviderTest) -> None:
        self.heard.append(result)

    async def flush(self) -> bool:
        self.flushed += 1
        return self.flushes


@asynccontextmanager
async def admin_client(store: Store) -> AsyncIterator[AdminClient]:
    app = FastAPI()
    add_error_handlers(app, OPENAI_ERRORS)
    app.include_router(admin_router())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as client:
        desk = AdminClient(store, client)
        app.state.admin = AdminServices(
            editor=store.editor,
            catalog=store.browser,
            source=store.catalog,
            reloader=store.reloader,
            usage=store.usage,
            events=store.events,
            balances=BalanceRepository(store.engine, DefinitionReader(UTC)),
            tester=ProviderTester(desk.bench.gateway, KINDS, desk),
            flush=desk.flush,
            log_level=desk.log_level,
            account="gateway",
            explain=lambda question: explain(desk.gateway, question),
            explain_earlier=lambda question, version: explain_earlier(
                desk.gateway, store.history, KINDS, question, version
            ),
            history=store.history,
            prices_in_force=lambda provider, model, at: prices_in_force(desk.gateway, provider, model, at),
        )
        yield desk
