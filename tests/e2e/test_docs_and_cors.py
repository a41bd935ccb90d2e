"""`/docs` works with no network, `/openapi.json` lists everything, and CORS_ORIGINS rules browsers."""

from __future__ import annotations

import re

import pytest

from tests.e2e.conftest import Desk

STORE_MATTERS = False


def test_s0_14_s1_26_s4_30_docs_work_offline(desk: Desk) -> None:
    page = desk.gateway.http.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert links
    for link in links:
        assert not re.match(r"(https?:)?//", link), f"{link} is somewhere else"
        asset = desk.gateway.http.get(link)
        assert asset.status_code == 200, link
        assert asset.content
    assert not re.search(r"https?://(?!127\.0\.0\.1)", page.text)


def test_openapi_lists_every_plane(desk: Desk) -> None:
    document = desk.gateway.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    paths = document["paths"]
    for path, method in (
        ("/v1/chat/completions", "post"), ("/v1/completions", "post"), ("/v1/models", "get"),
        ("/v1/models/{model}", "get"), ("/health", "get"), ("/health/detailed", "get"),
        ("/health/ready", "get"), ("/metrics", "get"), ("/admin/v1/providers", "post"),
        ("/admin/v1/providers/{provider}", "put"), ("/admin/v1/credentials", "post"),
        ("/admin/v1/config/reload", "post"), ("/admin/v1/config/version", "get"), ("/admin/v1/usage", "get"),
    ):  # fmt: skip
        known = {re.sub(r"\{[^}]+\}", "{}", known): operations for known, operations in paths.items()}
        assert method in known.get(re.sub(r"\{[^}]+\}", "{}", path), {}), path
    chat = paths["/v1/chat/completions"]["post"]
    assert chat["security"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/admin/v1/providers"])
def test_cors_answers_a_listed_origin(strict_desk: Desk, path: str) -> None:
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    preflight = strict_desk.gateway.http.options(path, headers=asked)
    assert preflight.status_code in {200, 204}
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert "origin" in preflight.headers["vary"].lower()


def test_cors_is_on_answers_and_errors(strict_desk: Desk) -> None:
    strict_desk.provider()
    headers = {"origin": "https://other.example"}
    for stream in (False, True):
        answer = strict_desk.gateway.post(
            "/v1/chat/completions", strict_desk.key, json=strict_desk.body(stream=stream), headers=headers
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://other.example"
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert {"x-request-id", "x-llm-gateway-cost-usd"} <= set(exposed.split(", "))
    refused = strict_desk.gateway.post("/v1/chat/completions", None, json={}, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://other.example"


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.evil.example", "null"])
def test_cors_ignores_other_origins(strict_desk: Desk, origin: str) -> None:
    strict_desk.provider()
    answer = strict_desk.gateway.post(
        "/v1/chat/completions", strict_desk.key, json=strict_desk.body(), headers={"origin": origin}
    )
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_no_cors_by_default(desk: Desk) -> None:
    answer = desk.gateway.http.get("/v1/models", headers={"origin": "https://app.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
