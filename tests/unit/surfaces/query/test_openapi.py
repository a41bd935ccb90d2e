"""The query gateway's part of the OpenAPI document."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.surfaces.query.bodies import read_estimate, read_gateway_query, read_query
from llm_gateway.surfaces.query.options import QueryOptions
from llm_gateway.surfaces.query.routes import query_surface

READERS = {
    "/api/query": read_query,
    "/v1/gateway/query": read_gateway_query,
    "/v1/gateway/cost-estimate": read_estimate,
}


@pytest.mark.parametrize("path", READERS)
def test_the_document_has_every_field_that_bodies_may_have(path: str) -> None:
    paths = query_surface(QueryOptions()).openapi_paths()
    assert set(paths) == {*READERS, "/api/status"}
    schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    with pytest.raises(BadRequest) as caught:
        READERS[path](msgspec.json.encode({"query": "x", "unknown": 1}))
    known = caught.value.message.partition("Known fields: ")[2].rstrip(".").split(", ")
    assert sorted(schema["properties"]) == sorted(known)
    assert schema["additionalProperties"] is False


def test_answers_may_be_streamed_where_they_may() -> None:
    paths = query_surface(QueryOptions()).openapi_paths()
    streamed = {
        path
        for path, operations in paths.items()
        for operation in operations.values()
        if "text/event-stream" in operation["responses"]["200"]["content"]
    }
    assert streamed == {"/api/query", "/v1/gateway/query"}
