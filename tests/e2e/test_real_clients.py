"""What real client programs were seen to send: other headers and paths, HEAD, WebSockets, repeated headers."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Desk

STORE_MATTERS = False


def raw(desk: Desk, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes on a connection of their own; return status, headers and body of the response."""
    with socket.create_connection(("127.0.0.1", desk.gateway.port), timeout=10) as connection:
        connection.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        while len(body) < int(headers.get("content-length", 0)) and (more := connection.recv(65536)):
            body += more
    return int(lines[0].split()[1]), headers, body


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=x", "/openai/v1/responses"])
def test_a_websocket_gets_426_and_the_connection_stays(desk: Desk, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\n"
    upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    status, headers, body = raw(desk, (head + upgrade).encode())
    assert (status, headers["upgrade"], headers["connection"]) == (426, "http/1.1", "upgrade")
    assert headers["x-should-retry"] == "false"
    assert b"websocket_not_supported" in body


@pytest.mark.parametrize(
    "path", ["/", "/health", "/v1/models", "/openai/v1/models", "/admin/v1/providers", "/docs", "/metrics"]
)
def test_head_is_answered_like_get_without_a_body(desk: Desk, path: str) -> None:
    key = desk.gateway.admin.headers["authorization"] if path.startswith("/admin") else f"Bearer {desk.key}"
    head = desk.gateway.http.head(path, headers={"authorization": key})
    get = desk.gateway.http.get(path, headers={"authorization": key})
    # The address of the gateway itself leads to its console.
    expected = 303 if path == "/" else 200
    assert (head.status_code, head.content) == (get.status_code, b"") == (expected, b"")
    assert head.headers.get("content-type") == get.headers.get("content-type")


@pytest.mark.parametrize("name", ["api-key", "x-api-key"])
def test_c45_a_key_in_azures_and_anthropics_headers(desk: Desk, name: str) -> None:
    lane = desk.provider()
    answer = desk.gateway.http.post("/v1/chat/completions", headers={name: desk.key}, json=desk.body())
    assert answer.status_code == 200
    assert desk.key not in str(lane.last.headers)
    for more in (
        {"authorization": "Bearer sk-other"},
        {"x-api-key" if name == "api-key" else "api-key": "other"},
    ):
        answer = desk.gateway.http.post(
            "/v1/chat/completions", headers={name: desk.key, **more}, json=desk.body()
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ambiguous_api_key")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/admin/v1/providers"])
@pytest.mark.parametrize("order", [1, -1])
def test_several_authorization_headers_are_refused_everywhere(desk: Desk, path: str, order: int) -> None:
    valid = desk.gateway.admin.headers["authorization"] if path.startswith("/admin") else f"Bearer {desk.key}"
    pair = [("authorization", valid), ("authorization", "Bearer other")][::order]
    method = "POST" if path.endswith("completions") else "GET"
    answer = desk.gateway.http.request(method, path, headers=httpx.Headers(pair), json=desk.body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ambiguous_api_key")
    same = httpx.Headers([("authorization", valid)] * 2)
    assert desk.gateway.http.request(method, path, headers=same, json=desk.body()).status_code == 400


def test_c45_the_sdk_works_below_openai(desk: Desk) -> None:
    desk.provider()
    base_url = f"{desk.gateway.origin}/openai/v1"
    with openai.OpenAI(base_url=base_url, api_key=desk.key, max_retries=0) as sdk:
        messages: Any = [{"role": "user", "content": "hi"}]
        made = sdk.chat.completions.with_raw_response.create(model=desk.model, messages=messages)
        assert made.parse().choices[0].message.content
        assert desk.model in [model.id for model in sdk.models.list()]
        assert sdk.models.retrieve(desk.model).id == desk.model
        assert sdk.responses.create(model=desk.model, input="hi").output_text
    row = desk.gateway.usage_row(made.headers["x-request-id"])
    assert row["endpoint"] == "/v1/chat/completions"


def test_a_wrong_base_url_is_named(desk: Desk) -> None:
    for base in ("", "/v1/v1", "/api/v1"):
        with (
            openai.OpenAI(base_url=f"{desk.gateway.origin}{base}", api_key=desk.key, max_retries=0) as sdk,
            pytest.raises(openai.NotFoundError, match="Did you mean /v1/chat/completions"),
        ):
            sdk.chat.completions.create(model=desk.model, messages=[{"role": "user", "content": "hi"}])


def test_a_wrong_key_is_recognised(desk: Desk) -> None:
    for headers in ({}, {"authorization": "Bearer sk-wrong-key"}, {"api-key": "sk-wrong-key"}):
        answer = desk.gateway.http.post("/v1/chat/completions", headers=headers, json=desk.body())
        assert answer.status_code == 401
        assert answer.json()["error"]["message"].startswith("Incorrect API key provided")
        assert "sk-wrong" not in answer.text
        assert answer.headers["x-should-retry"] == "false"


def test_a_blocked_key_is_not_retried(desk: Desk) -> None:
    lane = desk.provider()
    key = desk.credential("-blocked", rate_limit=0)
    with (
        openai.OpenAI(base_url=f"{desk.gateway.origin}/v1", api_key=key, max_retries=3) as sdk,
        pytest.raises(openai.RateLimitError, match="blocked") as caught,
    ):
        sdk.chat.completions.create(model=desk.model, messages=[{"role": "user", "content": "hi"}])
    assert "retry-after" not in caught.value.response.headers
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert lane.calls == []
    rows = desk.gateway.admin.get("/usage", params={"credential": f"desk-{desk.number}-blocked"}).json()[
        "data"
    ]
    assert len(rows) == 1, "the SDK did not retry"


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        ({"x-client-request-id": "codex-1"}, "codex-1"),
        ({"x-ms-client-request-id": "azure-1"}, "azure-1"),
        ({"x-request-id": "mine", "x-client-request-id": "codex-1"}, "mine"),
    ],
)
def test_a_clients_own_id_is_stored(desk: Desk, headers: dict[str, str], stored: str) -> None:
    desk.provider()
    answer = desk.gateway.post("/v1/chat/completions", desk.key, json=desk.body(), headers=headers)
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert row["client_request_id"] == stored


@pytest.mark.parametrize("path", ["/admin/v1/providers/", "/admin/v1/models/", "/admin/v1/config/version/"])
def test_a_slash_at_the_end_of_an_admin_path_is_no_redirect(desk: Desk, path: str) -> None:
    key = desk.gateway.admin.headers["authorization"]
    headers = {"authorization": key, "host": "evil.example"}
    answer = desk.gateway.http.get(path, headers=headers, follow_redirects=False)
    assert answer.status_code == 200
    assert "evil.example" not in str(answer.headers) + answer.text
    assert desk.gateway.http.get(path, follow_redirects=False).status_code == 401


def test_no_answer_names_the_host_of_the_request(desk: Desk) -> None:
    for path in (
        "/docs/",
        "/docs",
        "/openapi.json",
        "/nowhere/",
        "//evil.example/",
        "/v1/models/",
        "/health/",
        "/",
    ):
        headers = {"host": "evil.example"}
        answer = desk.gateway.http.get(path, headers=headers, follow_redirects=False)
        # The root leads to the console, by a path alone.
        redirected = answer.status_code == 303
        assert redirected or answer.status_code in {200, 404}
        assert answer.headers.get("location") == ("/console/sign-in" if redirected else None)
        assert "evil.example" not in str(answer.headers)


def test_a_client_cannot_have_the_admin_key(desk: Desk) -> None:
    admin_key = desk.gateway.admin.headers["authorization"].removeprefix("Bearer ")
    made = desk.gateway.admin.post(
        "/credentials", json={"name": f"desk-{desk.number}-admin", "key": admin_key}
    )
    assert (made.status_code, made.json()["error"]["param"]) == (422, "key")
    assert admin_key not in made.text
    own = desk.gateway.admin.post("/credentials", json={"name": f"desk-{desk.number}-own"}).json()
    changed = desk.gateway.admin.patch(f"/credentials/{own['id']}", json={"key": admin_key})
    assert (changed.status_code, changed.json()["error"]["param"]) == (422, "key")
    dry = desk.gateway.admin.patch(f"/credentials/{own['id']}?dry_run=true", json={"key": admin_key})
    assert dry.status_code == 422


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "", None]
)
def test_curl_d_works_on_admin_as_on_v1(desk: Desk, content_type: str | None) -> None:
    desk.provider()
    named = {} if content_type is None else {"content-type": content_type}
    headers = {"authorization": f"Bearer {desk.key}", **named}
    body = json.dumps(desk.body()).encode()
    assert desk.gateway.http.post("/v1/chat/completions", headers=headers, content=body).status_code == 200
    headers["authorization"] = desk.gateway.admin.headers["authorization"]
    body = json.dumps({"name": f"curl-{desk.number}", "models": ["m"]}).encode()
    made = desk.gateway.http.post("/admin/v1/task-types", headers=headers, content=body)
    assert made.status_code == 201, made.text
    path = f"/admin/v1/task-types/{made.json()['id']}"
    assert desk.gateway.http.put(path, headers=headers, content=b'{"models": ["n"]}').status_code == 200
    wrong = desk.gateway.http.put(path, headers=headers, content=b"models=n")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_json")
    assert desk.gateway.http.delete(path, headers=headers).status_code == 200


def test_azures_sdk_finds_its_paths(desk: Desk) -> None:
    lane = desk.provider()
    with openai.AzureOpenAI(
        azure_endpoint=desk.gateway.origin, api_key=desk.key, api_version="2024-10-21", max_retries=0
    ) as sdk:
        messages: Any = [{"role": "user", "content": "hi"}]
        made = sdk.chat.completions.create(model=desk.model, messages=messages)
        assert made.choices[0].message.content
        pieces = list(sdk.chat.completions.create(model=desk.model, messages=messages, stream=True))
        assert pieces[-1].choices[0].finish_reason == "stop"
        assert sdk.embeddings.create(model=desk.model, input="hi").data
        assert sdk.responses.create(model=desk.model, input="hi").output_text
        assert desk.model in [model.id for model in sdk.models.list()]
    assert lane.last.json["model"] == desk.upstream_model
    answer = desk.gateway.http.post(
        f"/openai/deployments/{desk.model}/chat/completions?api-version=2024-10-21",
        headers={"api-key": desk.key},
        json={"messages": messages},
    )
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (answer.status_code, row["endpoint"], row["model"]) == (200, "/v1/chat/completions", desk.model)


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_bound_ids_survive_restarts_workers_and_rotated_keys(launch: Any, fake: Any, store: str) -> None:
    gateway = launch(store, WORKERS=2)
    desk = Desk(gateway, fake)
    lane = desk.provider()
    made = gateway.admin.post("/credentials", json={"name": "first"}).json()
    other = gateway.create_credential("second")

    def ask(key: str, previous: str | None = None) -> Any:
        body = {"model": desk.model, "input": "hi", "previous_response_id": previous}
        return gateway.http.post(
            "/v1/responses", headers={"authorization": f"Bearer {key}", "connection": "close"}, json=body
        )

    response_id = ask(made["key"]).json()["id"]
    gateway.stop()
    gateway.start()
    key = gateway.admin.post(f"/credentials/{made['id']}/rotate").json()["key"]
    for _ in range(6):
        answer = ask(key, response_id)
        assert answer.status_code == 200
        assert answer.json()["previous_response_id"] == response_id
        assert ask(other, response_id).json()["error"]["code"] == "previous_response_not_found"
    assert response_id.startswith(lane.last.json["previous_response_id"] + "-")


def test_operators_can_share_ids_trust_proxies_and_are_warned_of_shared_keys(launch: Any, fake: Any) -> None:
    gateway = launch(
        RESPONSE_IDS="shared", TRUSTED_PROXIES="127.0.0.0/8, ::1", ADMIN_KEY="admin-one", OPS_TOKEN="ops"
    )
    desk = Desk(gateway, fake)
    lane = desk.provider()
    keys = [gateway.create_credential("first", key="sk-first"), gateway.create_credential("second")]
    made = desk.gateway.post("/v1/responses", keys[0], json={"model": desk.model, "input": "hi"}).json()
    assert re.fullmatch(r"resp_fake\d+", made["id"])
    body = {"model": desk.model, "input": "hi", "previous_response_id": made["id"], "conversation": "conv_1"}
    hops = {"x-forwarded-for": "6.6.6.6, 203.0.113.9, 127.0.0.1"}
    answer = gateway.post("/v1/responses", keys[1], json=body, headers=hops)
    assert answer.status_code == 200
    assert lane.last.json["previous_response_id"] == made["id"]
    request_id = answer.headers["x-request-id"]
    assert gateway.usage_row(request_id)["client_ip"] == "203.0.113.9"
    assert gateway.access_line(request_id)["client_ip"] == "203.0.113.9"
    refused = gateway.http.get("/health/detailed", headers=hops)
    assert gateway.access_line(refused.headers["x-request-id"])["client_ip"] == "203.0.113.9"
    for key in ("ops", "admin-one"):
        taken = gateway.admin.post("/credentials", json={"name": "third", "key": key})
        assert (taken.status_code, taken.json()["error"]["param"]) == (422, "key")
    gateway.stop()
    gateway.settings["OPS_TOKEN"] = "sk-first"
    gateway.start()
    assert "is also ADMIN_KEY, VIEWER_KEY, OPS_TOKEN or SECRET_KEY" in gateway.log()
    assert "sk-first" not in gateway.log()
