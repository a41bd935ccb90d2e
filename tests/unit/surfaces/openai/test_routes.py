"""OpenAI's paths: which requests are served, and what the OpenAPI document says of them."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.errors import NotFound
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.dispatcher import Dispatcher, RouteTable
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.openai.routes import OPENAI
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import KEY, FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.shouting_surface import SHOUTING
from tests.fakes.usage_reader import surface_services
from tests.fakes.worker_registry import FakeWorkerRegistry


def make_table() -> RouteTable:
    bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=FakeReply(b"{}", status=500)))
    plane = DataPlane(
        gateway=bench.gateway,
        bodies=BodyReader(max_bytes=1000, max_total_bytes=1000, timeout=1),
        worker_registry=FakeWorkerRegistry(),
        max_concurrency=1,
    )
    return OPENAI.routes(surface_services(plane, Prober(bench.gateway, ttl=60)))


async def fallback(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound("nothing is here")


# Unknown paths outside of the table answer in another format than OpenAI's.
async def ask(method: str, path: str, body: bytes = b"{}") -> Wire:
    wire = Wire(body)
    dispatcher = Dispatcher((make_table(),), fallback, (), SHOUTING, lambda: "an-id", lambda _: None)
    scope = http_scope(method, path, (b"authorization", b"Bearer " + KEY.encode()))
    await dispatcher(scope, wire.receive, wire.send)
    return wire


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/chat/completions", "messages"),
        ("/v1/completions", "model"),
        ("/v1/embeddings", "input"),
        ("/v1/responses", "input"),
    ],
)
async def test_each_path_reads_its_own_request(path: str, param: str) -> None:
    wire = await ask("POST", path)
    assert (wire.status, wire.error["param"]) == (400, param)
    wire = await ask("GET", path)
    assert (wire.status, wire.headers[b"allow"]) == (405, b"POST")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_stored_responses_are_not_found(method: str) -> None:
    wire = await ask(method, "/v1/responses/resp_1/input_items")
    assert (wire.status, wire.error["code"]) == (404, "not_found")
    assert "stores no responses" in wire.error["message"]


async def test_models_are_listed_and_described() -> None:
    assert (await ask("GET", "/v1/models")).status == 200
    assert (await ask("GET", "/v1/models/none")).error["code"] == "model_not_found"


async def test_unknown_paths_below_v1_have_openais_errors() -> None:
    assert (await ask("GET", "/v1/nothing")).error["code"] == "not_found"
    assert (await ask("GET", "/nothing")).body == b"NO (an-id): not_found"


def document() -> dict[str, Any]:
    return OPENAI.openapi_paths()


def test_the_document_has_every_route_but_those_of_stored_responses() -> None:
    table = make_table()
    single = {"/v1/models/": "{model}", "/v1/usage/": "{request_id}"}
    served = {(method, path) for method, path in (*table.metered, *table.exact)} | {
        (method, path + single[path]) for method, path in table.prefix if path in single
    }
    assert {(method.upper(), path) for path, methods in document().items() for method in methods} == served


@pytest.mark.parametrize(
    ("path", "required", "streams"),
    [
        ("/v1/chat/completions", ["model", "messages"], True),
        ("/v1/completions", ["model"], True),
        ("/v1/embeddings", ["model", "input"], False),
        ("/v1/responses", ["model"], True),
    ],
)
def test_the_document_says_what_is_required_and_streamed(
    path: str, required: list[str], streams: bool
) -> None:
    operation = document()[path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == required
    assert schema["additionalProperties"] is True
    assert ("stream" in schema["properties"]) is streams
    assert ("text/event-stream" in operation["responses"]["200"]["content"]) is streams
    assert operation["security"] == [{"Credential": []}]
