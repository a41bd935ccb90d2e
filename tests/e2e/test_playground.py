"""The playground's chats through a running gateway: as the credential that was chosen, and as clients have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted, eventually
from tests.fakes.script import Script, script

# What is tested here is the same on each store.
STORE_MATTERS = False


class Admin:
    """A browser that is signed in, with one connection."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        limits = httpx.Limits(max_connections=1)
        self.http = httpx.Client(
            base_url=gateway.origin,
            headers={"origin": gateway.origin},
            timeout=15,
            trust_env=False,
            limits=limits,
        )
        assert self.http.post("/console/sign-in", data={"key": ADMIN_KEY}).status_code == 303

    def path(self, credential: int) -> str:
        return f"/console/playground/credentials/{credential}/chat/completions"

    def chat(self, credential: int, body: dict[str, Any], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(self.path(credential), json=body, headers=named)


def _signed_in(gateway: GatewayProcess) -> Iterator[Admin]:
    admin = Admin(gateway)
    yield admin
    admin.http.close()


@pytest.fixture
def admin(desk: Desk) -> Iterator[Admin]:
    yield from _signed_in(desk.gateway)


@pytest.fixture
def strict_admin(strict_desk: Desk) -> Iterator[Admin]:
    yield from _signed_in(strict_desk.gateway)


def make(desk: Desk, suffix: str = "", **fields: Any) -> int:
    """Create a credential and return its id."""
    body = {"name": f"playground-{desk.number}{suffix}"} | fields
    return int(accepted(desk.gateway.admin.post("/credentials", json=body))["id"])


def test_a_stream_has_the_bytes_that_clients_get_and_the_provider_sees_no_session(
    desk: Desk, admin: Admin
) -> None:
    lane = desk.provider()
    credential = make(desk)
    body = desk.body(stream=True, stream_options={"include_usage": True})
    reply = admin.chat(credential, body)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.text.endswith("data: [DONE]\n\n")
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    (call,) = lane.calls
    for event in events:
        assert event["model"] in {desk.upstream_model, desk.model}
    names = {name for name, _ in call.headers}
    assert not names & {"cookie", "origin", "referer", "sec-fetch-site", "x-llm-gateway-tags"}
    assert call.json == body | {"model": desk.upstream_model}
    row = desk.gateway.usage_row(reply.headers["x-request-id"])
    assert row["credential"] == f"playground-{desk.number}"
    assert row["tags"] == {"source": "console"}
    assert row["endpoint"] == "/v1/chat/completions"
    assert row["outcome"] == "ok"


def test_each_request_of_a_connection_is_judged_by_its_own_credential_as_it_is_then(
    desk: Desk, admin: Admin
) -> None:
    desk.provider()
    first, second = make(desk, "-a"), make(desk, "-b", allowed_models=["nothing-here"])
    body = desk.body()
    change = desk.gateway.admin.patch
    assert [admin.chat(one, body).status_code for one in (first, second, first)] == [200, 403, 200]
    accepted(desk.gateway.admin.post(f"/credentials/{first}/rotate", json={}))
    assert admin.chat(first, body).status_code == 200
    accepted(change(f"/credentials/{first}", json={"is_enabled": False}))
    refused = admin.chat(first, body)
    assert refused.status_code == 403
    assert "is disabled. Enable it, or choose another one." in refused.json()["error"]["message"]
    accepted(change(f"/credentials/{first}", json={"is_enabled": True}))
    assert admin.chat(first, body).status_code == 200
    desk.gateway.admin.delete(f"/credentials/{first}")
    gone = admin.chat(first, body)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "credential_not_found")


def test_the_credentials_limits_and_the_cache_hold(desk: Desk, admin: Admin) -> None:
    lane = desk.provider()
    credential = make(desk, limits={"requests_per_day": 2})
    body = desk.body(temperature=0)
    replies = [admin.chat(credential, body, x_llm_gateway_cache="on") for _ in range(2)]
    assert [reply.headers.get("x-llm-gateway-cache") for reply in replies] == ["miss", "hit"]
    # What the cache answers is not counted.
    assert [admin.chat(credential, body).status_code for _ in range(2)] == [200, 429]
    assert len(lane.calls) == 2
    facts = admin.http.get(
        f"/console/playground/requests/{replies[1].headers['x-request-id']}", params={"model": desk.model}
    )
    assert "The answer is from the reply cache" in facts.text


def test_a_client_that_leaves_takes_the_providers_stream_with_it(desk: Desk, admin: Admin) -> None:
    lane = desk.provider()
    credential = make(desk)
    lane.default = Script(pieces=("one", "two", "three"), fault="stall", fault_at=3)
    with admin.http.stream("POST", admin.path(credential), json=desk.body(stream=True)) as reply:
        assert next(reply.iter_bytes())
        request_id = reply.headers["x-request-id"]
    eventually(lambda: lane.calls[-1].left, bool)
    assert desk.gateway.usage_row(request_id)["outcome"] == "aborted"


def test_failures_of_a_stream_are_told_as_clients_are_told(desk: Desk, admin: Admin) -> None:
    desk.provider()
    credential = make(desk)
    cut = script(pieces=("one", "two"), fault="reset", fault_at=3)
    reply = admin.chat(credential, desk.body(stream=True, fake=cut))
    assert reply.status_code == 200
    last = json.loads(reply.text.strip().splitlines()[-1].removeprefix("data: "))
    assert last["error"]["message"]
    assert "[DONE]" not in reply.text


def test_a_body_may_be_as_large_as_those_of_clients(strict_desk: Desk, strict_admin: Admin) -> None:
    lane = strict_desk.provider()
    credential = make(strict_desk)
    body = strict_desk.body()
    body["messages"][0]["content"] = "x" * 190_000
    assert strict_admin.chat(credential, body).status_code == 200
    body["messages"][0]["content"] = "x" * 200_001
    refused = strict_admin.chat(credential, body)
    assert refused.status_code == 413
    assert "MAX_BODY_BYTES" in refused.json()["error"]["message"]
    assert len(lane.calls) == 1


def test_only_admins_spend_money_and_only_from_pages_of_the_gateway(desk: Desk, admin: Admin) -> None:
    lane = desk.provider()
    credential = make(desk)
    crossed = admin.chat(credential, desk.body(), origin="http://elsewhere.test")
    assert crossed.status_code == 403
    admin.http.post("/console/sign-out")
    assert admin.chat(credential, desk.body()).status_code == 401
    admin.http.headers["authorization"] = f"Bearer {desk.key}"
    assert admin.chat(credential, desk.body()).status_code == 401
    assert lane.calls == []
