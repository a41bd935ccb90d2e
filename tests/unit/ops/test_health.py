"""Health endpoints: readiness and its reason, the health of each provider, open breakers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from llm_gateway.flow.provider_checks.probes import Probe
from llm_gateway.http.types import Message
from llm_gateway.ops.health import health_paths, health_routes

HEALTHY = Probe(
    provider="a",
    status="healthy",
    latency_ms=3.5,
    checked_at=1_750_000_000_123_456,
    error=None,
    models=(),
)
UNHEALTHY = msgspec.structs.replace(HEALTHY, provider="b", status="unhealthy", error="status 500")


class Breaker:
    def state(self, now: float) -> str:
        return "open" if now < 5 else "half_open"

    def trial_in(self, now: float) -> float:
        return 5 - now


class Endpoints:
    """The endpoints of a gateway whose state a test sets."""

    def __init__(self) -> None:
        self.probes: dict[str, Probe] = {"a": HEALTHY}
        self.open_breakers: dict[str, tuple[Any, ...]] = {}
        self.gateway = SimpleNamespace(
            lifecycle=SimpleNamespace(draining=False),
            snapshots=SimpleNamespace(current=SimpleNamespace(faults=())),
            selector=SimpleNamespace(open_breakers=lambda: self.open_breakers),
            clock=SimpleNamespace(monotonic=lambda: 2.0),
        )
        self.problems: list[str] = []
        self._routes = health_routes(
            cast("Any", self.gateway),
            cast("Any", self),
            lambda: {"usage": {"lost": 0}, "problems": self.problems},
        )

    async def probe_all(self, snapshot: object) -> dict[str, Probe]:
        assert snapshot is self.gateway.snapshots.current
        return self.probes

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError("the body was read")

        await self._routes.exact["GET", path]({"type": "http"}, receive, send, "id")
        body = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], json.loads(body)


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


async def test_a_gateway_with_a_configuration_is_ready(endpoints: Endpoints) -> None:
    assert await endpoints.get("/health/ready") == (200, {"status": "ready"})


async def test_readiness_names_what_is_missing_and_liveness_does_not_depend_on_it(
    endpoints: Endpoints,
) -> None:
    endpoints.gateway.snapshots.current = None
    assert await endpoints.get("/health/ready") == (
        503,
        {"status": "not ready", "reason": "no configuration yet"},
    )
    endpoints.gateway.lifecycle.draining = True
    assert await endpoints.get("/health/ready") == (503, {"status": "not ready", "reason": "shutting down"})
    assert await endpoints.get("/health") == (200, {"status": "ok"})


async def test_details_show_each_provider(endpoints: Endpoints) -> None:
    endpoints.probes["b"] = UNHEALTHY
    status, body = await endpoints.get("/health/detailed")
    assert (status, body["status"], body["usage"]) == (200, "degraded", {"lost": 0})
    assert body["providers"]["a"] == {
        "status": "healthy",
        "latency_ms": 3.5,
        "checked_at": "2025-06-15T15:06:40.123456Z",
        "error": None,
    }
    assert body["providers"]["b"]["error"] == "status 500"
    assert body["problems"] == ["Provider 'b' is unhealthy."]
    del endpoints.probes["b"]
    body = (await endpoints.get("/health/detailed"))[1]
    assert (body["status"], body["problems"]) == ("healthy", [])


async def test_whatever_is_wrong_is_named_and_degrades_the_status(endpoints: Endpoints) -> None:
    endpoints.gateway.snapshots.current.faults = ("provider 'a': weight: no number",)
    endpoints.problems = ["The journal is 51% full."]
    status, body = await endpoints.get("/health/detailed")
    assert (status, body["status"]) == (200, "degraded")
    assert body["problems"] == ["provider 'a': weight: no number", "The journal is 51% full."]


async def test_details_of_a_gateway_that_is_not_ready_say_why(endpoints: Endpoints) -> None:
    endpoints.gateway.snapshots.current = None
    status, body = await endpoints.get("/health/detailed")
    assert (status, body["status"], body["reason"]) == (503, "unavailable", "no configuration yet")
    assert body["providers"] == {}


async def test_details_list_open_breakers_at_most_100_per_provider(endpoints: Endpoints) -> None:
    states = tuple(SimpleNamespace(upstream_model=f"m{n}", breaker=Breaker()) for n in range(101))
    endpoints.open_breakers = {"a": states}
    _, body = await endpoints.get("/health/detailed")
    assert len(body["breakers"]["a"]) == 100
    assert body["breakers"]["a"][0] == {"upstream_model": "m0", "state": "open", "trial_in": 3.0}


def test_every_endpoint_is_in_the_api_document(endpoints: Endpoints) -> None:
    paths = {path for _, path in endpoints._routes.exact}
    assert health_paths().keys() == {*paths, "/metrics"}
