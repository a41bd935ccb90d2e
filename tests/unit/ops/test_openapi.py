"""/docs and /openapi.json: one document of all routes, with the key that each needs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from llm_gateway import __version__
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.ops.openapi import add_documentation
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS


def _client(calls: list[int]) -> TestClient:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    router = APIRouter()

    @router.get("/admin/v1/things")
    async def things() -> None: ...

    app.include_router(router)

    def raw_paths() -> dict[str, Any]:
        calls.append(1)
        return {"/v1/models": {"get": {"security": [{"Credential": []}]}}}

    add_documentation(app, raw_paths)
    add_error_handlers(app, OPENAI_ERRORS)
    return TestClient(app)


def test_the_document_lists_both_kinds_of_routes_with_their_keys() -> None:
    document = _client([]).get("/openapi.json").json()
    assert document["info"]["version"] == __version__
    assert document["paths"].keys() == {"/v1/models", "/admin/v1/things"}
    assert document["paths"]["/admin/v1/things"]["get"]["security"] == [{"Admin": []}]
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"Credential": []}]
    assert document["components"]["securitySchemes"].keys() == {"Admin", "Credential"}


def test_the_document_is_made_once() -> None:
    calls: list[int] = []
    client = _client(calls)
    assert client.get("/openapi.json").json() == client.get("/openapi.json").json()
    assert calls == [1]


def test_assets_are_served_from_the_package_and_no_other_file_is() -> None:
    client = _client([])
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs/assets/{name}" in client.get("/docs").text
        assert client.get(f"/docs/assets/{name}").status_code == 200
    for name in ("redoc.standalone.js", "..%2F__init__.py", "other"):
        assert client.get(f"/docs/assets/{name}").status_code == 404
