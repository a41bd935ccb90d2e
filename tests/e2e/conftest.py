"""A fake provider, running gateways on both stores, and a desk from which one test sets up its own corner."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import openai
import pytest

from tests.conftest import Services
from tests.e2e.gateway_process import GatewayProcess, accepted
from tests.e2e.sql import run_sql
from tests.fakes.calls import Lane
from tests.fakes.script import Script
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database

STORES = ("sqlite", "postgresql")
# For tests that start gateways of their own: one worker and two, one store and the other, and all of it in a soak.
PLACES = (
    pytest.param("sqlite", 1),
    pytest.param("postgresql", 2),
    pytest.param("sqlite", 2, marks=pytest.mark.soak),
    pytest.param("postgresql", 1, marks=pytest.mark.soak),
)
# Gateways that many tests share; a test must not disturb the others on it.
_STRICT = {
    "PROVIDER_SUFFIX": "Proxy",
    "MAX_BODY_BYTES": "200000",
    "LLM_TIMEOUT": "1",
    "COMMIT_HOLD": "0.1",
    "BODY_TIMEOUT": "1",
    "MAX_REPLY_BYTES": "300000",
    "CORS_ORIGINS": "https://app.example,https://other.example",
}
# What clients of the agents' API send.
AGENTS_SECRET = "a-secret-of-our-own"
_GATEWAYS: pytest.StashKey[list[GatewayProcess]] = pytest.StashKey()
# Providers that desks may leave behind, since they are in nobody's way, before they are swept out.
_LEFTOVERS = 40
_numbers = itertools.count(1)

Launch = Callable[..., GatewayProcess]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the logs of a test's gateways under its failure."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            gateway = value.gateway if isinstance(value, Desk) else value
            if isinstance(gateway, GatewayProcess):
                report.sections.append(("gateway", gateway.log()))
        report.sections.extend(("gateway", gateway.log()) for gateway in item.stash.get(_GATEWAYS, []))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the second store to the soak where a module says that the store is not what it is about."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        indifferent = getattr(getattr(item, "module", None), "STORE_MATTERS", True) is False
        if indifferent and callspec is not None and callspec.params.get("gateway") == "postgresql":
            item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session")
def fake() -> Iterator[FakeUpstream]:
    """Return the fake provider."""
    started = FakeUpstream().start()
    yield started
    started.stop()


class Stores:
    """Gives each gateway a store of its own."""

    def __init__(self, services: Services, stack: ExitStack) -> None:
        self._services = services
        self._stack = stack

    def settings(self, store: str) -> dict[str, str]:
        """Return the settings that name a fresh store of this sort."""
        if store == "sqlite":
            return {}
        url = self._services.url_or_skip("PostgreSQL")
        return {"DB_URL": self._stack.enter_context(fresh_database(url))}


@pytest.fixture(scope="session")
def stores(services: Services) -> Iterator[Stores]:
    """Return the maker of stores that last for the session."""
    with ExitStack() as stack:
        yield Stores(services, stack)


def _serve(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    stores: Stores,
    **settings: object,
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp(f"{request.fixturename}-{request.param}")
    gateway = GatewayProcess(folder, **stores.settings(request.param), **settings)
    try:
        yield gateway.start()
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.fixture(scope="session", params=STORES)
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stores: Stores
) -> Iterator[GatewayProcess]:
    """Return a running gateway with default settings, for each store in turn."""
    yield from _serve(request, tmp_path_factory, stores)


@pytest.fixture(scope="session", params=("sqlite",))
def strict_gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stores: Stores
) -> Iterator[GatewayProcess]:
    """Return a running gateway with short deadlines, a small body limit, a prefix and CORS."""
    yield from _serve(request, tmp_path_factory, stores, **_STRICT)


@pytest.fixture(scope="session", params=STORES)
def pair_gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stores: Stores
) -> Iterator[GatewayProcess]:
    """Return a running gateway of two workers, for each store in turn."""
    yield from _serve(request, tmp_path_factory, stores, WORKERS=2)


@pytest.fixture(scope="session", params=("sqlite",))
def agents_gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stores: Stores
) -> Iterator[GatewayProcess]:
    """Return a running gateway that serves the agents' API."""
    yield from _serve(request, tmp_path_factory, stores, LLM_PROXY_SECRET=AGENTS_SECRET)


@pytest.fixture
def launch(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, services: Services
) -> Iterator[Launch]:
    """Return a starter of gateways of this test's own: `launch(store="sqlite", WORKERS=2)`."""
    started: list[GatewayProcess] = []
    request.node.stash[_GATEWAYS] = started
    with ExitStack() as stack:
        stores = Stores(services, stack)

        def start(store: str = "sqlite", **settings: object) -> GatewayProcess:
            folder = tmp_path_factory.mktemp("launched")
            given = {} if "DB_URL" in settings else stores.settings(store)
            gateway = GatewayProcess(folder, **given, **settings)
            started.append(gateway)
            return gateway.start()

        yield start
        for gateway in started:
            gateway.close()


class Desk:
    """One test's own corner of a shared gateway: a model that nobody else uses, its provider and a key."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self.fake = fake
        self.number = next(_numbers)
        self.model = f"model-{self.number}"
        self.upstream_model = f"upstream-model-{self.number}"
        self._providers: list[int] = []

    def provider(self, name: str = "main", **fields: Any) -> Lane:
        """Add a provider that serves this desk's model, and return the lane that plays it."""
        lane = self.fake.lane(f"{name}-{self.number}")
        given = {"model_mapping": {self.model: self.upstream_model}, "api_base": lane.base_url} | fields
        self._providers.append(self.gateway.create_provider(lane.name, **given)["id"])
        return lane

    def failing(self, plan: Script, name: str = "failing", **fields: Any) -> Lane:
        """Add a provider that answers everything with `plan`."""
        lane = self.provider(name, **fields)
        lane.default = plan
        return lane

    @property
    def key(self) -> str:
        """Return a key that may do everything; every desk of a gateway has the same."""
        if self.gateway.shared_key is None:
            self.gateway.shared_key = self.gateway.create_credential(self.name)
        return self.gateway.shared_key

    @property
    def name(self) -> str:
        """Return the name of the credential behind `key`."""
        return "everybody"

    def credential(self, suffix: str = "", **fields: Any) -> str:
        """Create a credential and return its key."""
        return self.gateway.create_credential(f"desk-{self.number}{suffix}", **fields)

    @property
    def sdk(self) -> openai.OpenAI:
        """Return the official client with `key`."""
        return self.gateway.sdk(self.key)

    @property
    def async_sdk(self) -> openai.AsyncOpenAI:
        """Return the official asyncio client with `key`."""
        return self.gateway.async_sdk(self.key)

    def body(self, **fields: Any) -> dict[str, Any]:
        """Return a chat request for this desk's model."""
        return {"model": self.model, "messages": [{"role": "user", "content": "hello"}]} | fields

    def chat(self, **fields: Any) -> Any:
        """POST a chat request, and return the response."""
        return self.gateway.post("/v1/chat/completions", self.key, json=self.body(**fields))

    def clear(self) -> None:
        """Leave this desk: its providers go in one sweep with those of other desks, its clients now."""
        self.gateway.close_clients()
        self.gateway.leftovers += self._providers
        if len(self.gateway.leftovers) > _LEFTOVERS:
            numbers = ", ".join(map(str, self.gateway.leftovers))
            run_sql(self.gateway, f"DELETE FROM providers WHERE id IN ({numbers})")
            accepted(self.gateway.admin.post("/config/reload"))
            self.gateway.leftovers.clear()


@pytest.fixture
def desk(gateway: GatewayProcess, fake: FakeUpstream) -> Iterator[Desk]:
    """Return a corner of the gateway with default settings."""
    made = Desk(gateway, fake)
    yield made
    made.clear()


@pytest.fixture
def strict_desk(strict_gateway: GatewayProcess, fake: FakeUpstream) -> Iterator[Desk]:
    """Return a corner of the strict gateway."""
    made = Desk(strict_gateway, fake)
    yield made
    made.clear()


@pytest.fixture
def pair_desk(pair_gateway: GatewayProcess, fake: FakeUpstream) -> Iterator[Desk]:
    """Return a corner of the gateway of two workers."""
    made = Desk(pair_gateway, fake)
    yield made
    made.clear()


@pytest.fixture
def agents_desk(agents_gateway: GatewayProcess, fake: FakeUpstream) -> Iterator[Desk]:
    """Return a corner of the gateway that serves the agents' API."""
    made = Desk(agents_gateway, fake)
    yield made
    made.clear()


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[TcpProxy]:
    """Return a proxy in front of PostgreSQL."""
    parts = urlsplit(postgres_url)
    assert parts.hostname is not None
    started = TcpProxy((parts.hostname, parts.port or 5432)).start()
    yield started
    started.stop()


@pytest.fixture
def proxied_url(postgres_url: str, proxy: TcpProxy) -> str:
    """Return the database's URL by way of the proxy."""
    parts = urlsplit(postgres_url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))
