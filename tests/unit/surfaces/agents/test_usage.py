"""What agents are told of their usage."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import Unauthenticated, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.usage import UsageFilter, UseTotals
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.surfaces.agents.openapi import agents_paths
from llm_gateway.surfaces.agents.options import AgentsOptions
from llm_gateway.surfaces.agents.routes import agents_surface
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.usage_reader import ListedUsage, surface_services
from tests.fakes.worker_registry import FakeWorkerRegistry

PATH = "/internal/llm/usage"


class Totals(ListedUsage):
    """Adds up to what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[UsageFilter] = []
        self.answer = UseTotals(0, 0, 0, 0, 0, 0, 0, None)

    async def totals(self, wanted: UsageFilter) -> UseTotals:
        self.wanted.append(wanted)
        return self.answer


class Service:
    """The surface over a gateway of fakes."""

    def __init__(self) -> None:
        bench = FakeGateway(
            provider("a", model_mapping={"m": "up"}), upstream=ScriptedUpstream(a=FakeReply(b"{}"))
        )
        plane = DataPlane(
            gateway=bench.gateway,
            bodies=BodyReader(max_bytes=10, max_total_bytes=10, timeout=1),
            worker_registry=FakeWorkerRegistry(),
            max_concurrency=1,
        )
        self.usage = Totals()
        surface = agents_surface(AgentsOptions(secret=Secret("ours"), requests_per_minute=7))
        services = surface_services(plane, Prober(bench.gateway, ttl=60), self.usage)
        self.table = surface.routes(services)

    async def get(self, query: str = "", secret: bytes = b"ours", path: str = PATH) -> dict[str, Any]:
        scope = http_scope("GET", path, (b"x-internal-secret", secret), query_string=query.encode())
        wire = Wire()
        await self.table.exact["GET", path](scope, wire.receive, wire.send, "an-id")
        assert (wire.status, wire.headers[b"x-request-id"]) == (200, b"an-id")
        answer: dict[str, Any] = msgspec.json.decode(wire.body)
        return answer


@pytest.fixture
def service() -> Service:
    return Service()


async def test_s2_12_totals_become_the_documented_fields_and_more(service: Service) -> None:
    service.usage.answer = UseTotals(42, 41, 10_000, 2_345, 12_345, 420_000, 3, 987.65432)
    assert await service.get(
        "agent_id=agent:sofia&microdao_id=d&channel_id=c&since=1700000000&until=1700000001"
    ) == {
        "total_requests": 42,
        "total_tokens": 12_345,
        "avg_latency_ms": 987.654,
        "success_rate": 0.9762,
        "prompt_tokens": 10_000,
        "completion_tokens": 2_345,
        "cost_usd": "0.00042",
        "unpriced_requests": 3,
        "requests_per_minute": 7,
        "is_complete": True,
    }
    assert service.usage.wanted == [
        UsageFilter(
            credential="surface:agents",
            agent="agent:sofia",
            tenant="d",
            channel="c",
            since=1_700_000_000_000_000,
            until=1_700_000_001_000_000,
        )
    ]


async def test_the_document_has_every_field_of_an_answer(service: Service) -> None:
    (operation,) = agents_paths()[PATH].values()
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(schema["properties"]) == list(await service.get())


async def test_without_requests_every_number_is_zero(service: Service) -> None:
    answer = await service.get()
    assert (answer["total_requests"], answer["avg_latency_ms"], answer["success_rate"]) == (0, 0.0, 0.0)
    assert service.usage.wanted == [UsageFilter(credential="surface:agents")]


async def test_rows_that_may_be_missing_are_admitted(service: Service) -> None:
    service.usage.is_complete = False
    assert (await service.get())["is_complete"] is False


async def test_the_secret_and_the_query_are_checked(service: Service) -> None:
    with pytest.raises(Unauthenticated):
        await service.get(secret=b"theirs")
    with pytest.raises(Unprocessable) as refused:
        await service.get("agent=x")
    assert refused.value.param == "agent"
    assert service.usage.wanted == []


async def test_s2_11_models_have_their_provider_and_its_name_for_them(service: Service) -> None:
    assert await service.get(path="/internal/llm/models") == {
        "models": [{"name": "m", "provider": "a", "physical_name": "up", "max_tokens": None}]
    }
