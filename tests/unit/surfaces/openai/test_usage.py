"""What a key sees of its own requests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.dispatcher import Dispatcher
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from llm_gateway.surfaces.openai.routes import OPENAI
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import KEY, FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.usage_reader import ListedUsage, surface_services
from tests.fakes.worker_registry import FakeWorkerRegistry


class App:
    """The dispatcher over a gateway of fakes, and the usage rows that there are."""

    def __init__(self) -> None:
        self.bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=FakeReply(b"{}")))
        plane = DataPlane(
            gateway=self.bench.gateway,
            bodies=BodyReader(max_bytes=1000, max_total_bytes=1000, timeout=1),
            worker_registry=FakeWorkerRegistry(),
            max_concurrency=1,
        )
        self.usage = ListedUsage()
        table = OPENAI.routes(surface_services(plane, Prober(self.bench.gateway, ttl=60), self.usage))
        self.app = Dispatcher((table,), self.nowhere, (), OPENAI_ERRORS, lambda: "an-id", lambda _: None)
        snapshot = self.bench.gateway.snapshots.current
        assert snapshot is not None
        account = next(iter(snapshot.accounts.values()))
        self.owner = account.credential.name

    async def nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("nothing is there")

    async def get(self, path: str, key: str = KEY) -> tuple[int, dict[str, Any]]:
        wire = Wire(b"")
        path, _, query = path.partition("?")
        scope = http_scope("GET", path, (b"authorization", b"Bearer " + key.encode()))
        scope["query_string"] = query.encode()
        await self.app(scope, wire.receive, wire.send)
        return wire.status, msgspec.json.decode(wire.body)

    def add(self, number: int, **fields: Any) -> None:
        record = UsageRecord(
            f"id-{number}", number * 1_000_000, "/v1/chat/completions", "POST", False, 200, "ok",
            credential=self.owner, provider="secret-provider", model="m", prompt_tokens=5, client_ip="127.0.0.1",
        )  # fmt: skip
        self.usage.records.append(msgspec.structs.replace(record, **fields))


@pytest.fixture
def app() -> App:
    return App()


async def test_a_request_shows_its_cost_and_what_it_is_made_of(app: App) -> None:
    app.add(
        1,
        cost_nano_usd=420_000,
        cost_source="catalog",
        cost_breakdown={"input_tokens": (100, 400_000), "output_tokens": (2, 20_000)},
    )
    status, row = await app.get("/v1/usage/id-1")
    assert status == 200
    assert (row["cost_usd"], row["cost_source"]) == ("0.00042", "catalog")
    assert row["cost_breakdown"][1] == {"unit": "output_tokens", "quantity": 2, "cost_usd": "0.00002"}
    assert row["created_at"] == "1970-01-01T00:00:01.000000Z"


async def test_an_unknown_cost_is_null_and_says_why(app: App) -> None:
    app.add(1, cost_source="none", unpriced="unknown_model")
    _, row = await app.get("/v1/usage/id-1")
    assert (row["cost_usd"], row["cost_source"], row["unpriced"]) == (None, "none", "unknown_model")


async def test_nothing_of_the_providers_is_shown(app: App) -> None:
    app.add(1, upstream_model="secret-model", tenant="acme")
    _, row = await app.get("/v1/usage/id-1")
    assert "secret" not in msgspec.json.encode(row).decode()
    assert not {"client_ip", "config_version", "provider", "upstream_model"} & row.keys()


async def test_others_requests_are_not_found(app: App) -> None:
    app.add(1, credential="another")
    status, body = await app.get("/v1/usage/id-1")
    assert (status, body["error"]["code"]) == (404, "not_found")
    assert (await app.get("/v1/usage"))[1]["data"] == []


async def test_a_list_has_pages_newest_first(app: App) -> None:
    for number in range(5):
        app.add(number)
    seen: list[str] = []
    page: dict[str, Any] = {}
    cursor = ""
    for _ in range(3):
        _, page = await app.get(f"/v1/usage?limit=2{cursor}")
        seen += [row["request_id"] for row in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"id-{number}" for number in (4, 3, 2, 1, 0)]
    assert page["next_cursor"] is None


async def test_a_list_has_filters(app: App) -> None:
    for number in range(5):
        app.add(number, model="m" if number % 2 else "other")
    _, page = await app.get("/v1/usage?model=other&since=1970-01-01T00:00:01Z&until=1970-01-01T00:00:04Z")
    assert [row["request_id"] for row in page["data"]] == ["id-2"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("since=yesterday", "since"),
        ("cursor=nonsense", "cursor"), ("credential=another", "credential"), ("model=%00", "model"),
        ("&".join(["a=1"] * 101), None),
    ],
)  # fmt: skip
async def test_bad_queries_are_named(app: App, query: str, param: str | None) -> None:
    status, body = await app.get(f"/v1/usage?{query}")
    assert (status, body["error"]["param"]) == (422, param)


async def test_a_key_is_required(app: App) -> None:
    app.add(1)
    for path in ("/v1/usage", "/v1/usage/id-1"):
        assert (await app.get(path, key="sk-wrong"))[0] == 401


async def test_while_rows_are_missing_that_is_said(app: App) -> None:
    app.usage.is_complete = False
    assert (await app.get("/v1/usage"))[1]["is_complete"] is False
    status, body = await app.get("/v1/usage/id-1")
    assert (status, body["error"]["code"]) == (503, "database_unavailable")


@pytest.mark.parametrize("asked", ["%00", "x" * 301, "none"])
async def test_ids_that_nothing_can_have_are_not_found(app: App, asked: str) -> None:
    assert (await app.get(f"/v1/usage/{asked}"))[0] == 404
