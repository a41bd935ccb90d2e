"""A gateway for dgen-ping's clients, and a desk from which one test calls it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stores
from tests.e2e.gateway_process import GatewayProcess, accepted
from tests.fakes.calls import Lane
from tests.fakes.upstream import FakeUpstream

SECRET = "0123456789abcdef0123456789abcdef"
_numbers = itertools.count(1)


class PingDesk:
    """One test's own model, and a user of its own."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self.fake = fake
        self.number = next(_numbers)
        self.user = f"user{self.number}"
        self.model = f"ping-model-{self.number}"
        self.upstream_model = f"upstream-{self.model}"
        self._token: str | None = None

    @property
    def token(self) -> str:
        """Return the user's token."""
        if self._token is None:
            self._token = self.generate({"soeid": self.user}).json()["token"]
        return self._token

    def generate(self, body: Any, secret: str | None = SECRET) -> httpx.Response:
        headers = {} if secret is None else {"x-token-secret": secret}
        return self.gateway.http.post("/generate-token", json=body, headers=headers)

    def verify(self, token: Any, secret: str = SECRET) -> dict[str, Any]:
        return accepted(
            self.gateway.http.post("/verify-token", json={"token": token}, headers={"x-token-secret": secret})
        )

    def provider(self, name: str = "main", **fields: Any) -> Lane:
        """Add a provider that serves this desk's model, and return the lane that plays it."""
        lane = self.fake.lane(f"ping-{name}-{self.number}")
        given = {"model_mapping": {self.model: self.upstream_model}, "api_base": lane.base_url} | fields
        self.gateway.create_provider(lane.name, **given)
        return lane

    def body(self, **fields: Any) -> dict[str, Any]:
        """Return S0's request for this desk's model."""
        return {
            "soeid": "ab1234",
            "project_name": "risk-analysis",
            "prompt": "Explain the concept of market volatility",
            "model": self.model,
            "temperature": 0.7,
            "max_tokens": 2000,
        } | fields

    def post(self, path: str, token: str | None = "", **arguments: Any) -> httpx.Response:
        """POST with a token: the desk's own unless one is given, none if it is None."""
        headers = {} if token is None else {"x-api-token": token or self.token}
        return self.gateway.http.post(path, headers=headers | arguments.pop("headers", {}), **arguments)

    def complete(self, token: str | None = "", **fields: Any) -> httpx.Response:
        return self.post("/api/llm/completion", token, json=self.body(**fields))

    def row_of(self, answer: httpx.Response) -> dict[str, Any]:
        return self.gateway.usage_row(answer.headers["x-request-id"])


@pytest.fixture(scope="session")
def ping_gateway(tmp_path_factory: pytest.TempPathFactory, stores: Stores) -> Iterator[GatewayProcess]:
    """Return a running gateway with a secret for tokens, and without the default token."""
    folder = tmp_path_factory.mktemp("ping")
    gateway = GatewayProcess(
        folder, **stores.settings("sqlite"), TOKEN_SECRET=SECRET, RATE_LIMIT=1000, RETRY_ATTEMPTS=1
    )
    try:
        yield gateway.start()
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.fixture
def ping(ping_gateway: GatewayProcess, fake: FakeUpstream) -> PingDesk:
    return PingDesk(ping_gateway, fake)
