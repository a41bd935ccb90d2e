"""The OpenAPI document says what requests may have and what answers have, no more and no less."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.surfaces.agents.dialect import AgentsDialect
from llm_gateway.surfaces.agents.openapi import MODELS_PATH, PROXY_PATH, USAGE_PATH, agents_paths
from llm_gateway.surfaces.agents.requests import FIELDS
from llm_gateway.surfaces.agents.usage import PARAMETERS
from llm_gateway.surfaces.translating.chat import chat_request
from tests.fakes.reply_facts import StatedFacts

PATHS = agents_paths()


def answered(path: str) -> dict[str, Any]:
    (operation,) = PATHS[path].values()
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    properties: dict[str, Any] = schema["properties"]
    return properties


def test_the_paths_are_the_documented_ones() -> None:
    assert {path: list(operations) for path, operations in PATHS.items()} == {
        PROXY_PATH: ["post"],
        MODELS_PATH: ["get"],
        USAGE_PATH: ["get"],
    }
    for operations in PATHS.values():
        for operation in operations.values():
            assert operation["parameters"][0]["name"] == "X-Internal-Secret"


def test_a_request_has_the_fields_that_are_read() -> None:
    schema = PATHS[PROXY_PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(FIELDS)
    assert set(schema["properties"]["metadata"]["properties"]) == {"agent_id", "microdao_id", "channel_id"}
    assert schema["additionalProperties"] is False


def test_a_reply_has_the_fields_that_are_written() -> None:
    call = {"name": "f", "arguments": "{}"}
    message = {"content": None, "tool_calls": [{"id": "c"}], "function_call": call}
    body = msgspec.json.encode({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    dialect = AgentsDialect(lambda _: PresentedKey(""))
    request = chat_request("m", [], {}, stream=False)
    written = msgspec.json.decode(dialect.encode_reply(request, body, StatedFacts(usage=Usage(1, 2, 3))))
    assert set(answered(PROXY_PATH)) == set(written)


def test_the_query_has_the_parameters_that_are_read() -> None:
    operation = PATHS[USAGE_PATH]["get"]
    named = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    assert named == list(PARAMETERS)
    assert {"total_requests", "total_tokens", "avg_latency_ms", "success_rate"} <= set(answered(USAGE_PATH))
