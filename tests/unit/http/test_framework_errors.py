"""FastAPI's errors, and errors raised in its routes, in the gateway's format."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, field_validator

from llm_gateway.core.errors import Conflict, RateLimited
from llm_gateway.http.dispatcher import Dispatcher
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from tests.fakes.asgi import Wire, http_scope


class Item(BaseModel):
    name: str
    size: int

    @field_validator("size")
    @classmethod
    def is_even(cls, size: int) -> int:
        if size % 2:
            raise ValueError("must be even")
        return size


def make_app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    add_error_handlers(app, OPENAI_ERRORS)

    @app.post("/items")
    async def make(item: Item, limit: int = 1) -> int:
        return item.size + limit

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("sk-secret in a traceback")

    @app.get("/gateway-error")
    async def gateway_error() -> None:
        raise RateLimited("slow", retry_after=2)

    @app.get("/conflict")
    async def conflict() -> None:
        raise Conflict("it exists", param="name")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "a teapot", headers={"x-pot": "tea"})

    return app


async def ask(method: str, path: str, **arguments: Any) -> httpx.Response:
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.request(method, path, **arguments)
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer


def error(answer: httpx.Response) -> tuple[int, str, str | None, str]:
    found = answer.json()["error"]
    return answer.status_code, found["code"], found["param"], found["message"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "invalid_json", None, "The request body is not valid JSON.")),
        (b"", (422, "invalid_json", None, "The request body must be a JSON object.")),
        (b'{"name":"n","size":"sk-1"}', (422, "invalid_value", "size", "size: Input should be a valid")),
        (b'{"name":"n","size":3}', (422, "invalid_value", "size", "size: must be even")),
        (b'{"size":3}', (422, "invalid_value", "name", "name: Field required (1 more invalid fields)")),
    ],
)
async def test_invalid_bodies_name_the_field_and_no_value(
    body: bytes, expected: tuple[int, str, str | None, str]
) -> None:
    answer = await ask("POST", "/items", content=body, headers={"content-type": "application/json"})
    *start, message = error(answer)
    assert tuple(start) == expected[:3]
    assert message.startswith(expected[3])
    assert "sk-1" not in message


async def test_an_invalid_query_parameter_is_named() -> None:
    answer = await ask("POST", "/items?limit=many", json={"name": "n", "size": 2})
    assert error(answer)[:3] == (422, "invalid_value", "limit")


async def test_unknown_paths_and_methods() -> None:
    assert error(await ask("GET", "/nowhere")) == (
        404,
        "not_found",
        None,
        "There is nothing at /nowhere. GET /docs lists the paths.",
    )
    answer = await ask("DELETE", "/items")
    assert error(answer)[:2] == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_errors_of_the_gateway_keep_their_headers() -> None:
    answer = await ask("GET", "/gateway-error")
    assert error(answer) == (429, "rate_limit_exceeded", None, "slow")
    assert answer.headers["retry-after"] == "2"
    assert error(await ask("GET", "/conflict")) == (409, "conflict", "name", "it exists")


async def test_other_http_errors_keep_status_detail_and_headers() -> None:
    answer = await ask("GET", "/teapot")
    assert (answer.status_code, answer.json()["error"]["message"]) == (418, "a teapot")
    assert answer.headers["x-pot"] == "tea"


async def test_a_bug_in_a_route_is_a_500_without_details() -> None:
    wire = Wire()
    scope = http_scope("GET", "/fault", query_string=b"", root_path="", http_version="1.1", scheme="http")
    front = Dispatcher((), make_app(), (), OPENAI_ERRORS, lambda: "an-id", lambda _: None)
    await front(scope, wire.receive, wire.send)
    assert (wire.status, wire.error["code"]) == (500, "internal_error")
    assert wire.headers[b"x-request-id"] == b"an-id"
    assert "sk-secret" not in str(wire.messages)
