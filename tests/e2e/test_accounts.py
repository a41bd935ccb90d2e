"""Keys that are rotated, expire or are revoked, disabled tenants, and whose a usage row says the request was.

Each change is in force for the next request on a connection that is open already.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import accepted

PATH = "/v1/chat/completions"


class Connection:
    """One open connection, on which heads repeat."""

    def __init__(self, desk: Desk, key: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", desk.gateway.port, timeout=20)
        self._connection.connect()
        self._socket = self._connection.sock
        self._body = json.dumps(desk.body())
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}

    def ask(self) -> tuple[int, str | None]:
        """Return the status and the error's code."""
        self._connection.request("POST", PATH, self._body, self._headers)
        response = self._connection.getresponse()
        body = json.loads(response.read())
        assert self._connection.sock is self._socket, "the connection stays open"
        return response.status, body.get("error", {}).get("code")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def connect(desk: Desk) -> Iterator[Any]:
    opened: list[Connection] = []

    def make(key: str, **headers: str) -> Connection:
        opened.append(Connection(desk, key, **headers))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


def make_credential(desk: Desk, **fields: Any) -> dict[str, Any]:
    name = f"account-{desk.number}"
    return accepted(desk.gateway.admin.post("/credentials", json={"name": name, **fields}))


OK = (200, None)
UNKNOWN = (401, "invalid_api_key")
EXPIRED = (401, "expired_api_key")


def test_both_keys_work_during_the_overlap_and_then_the_new_one(desk: Desk, connect: Any) -> None:
    desk.provider()
    made = make_credential(desk)
    url = f"/credentials/{made['id']}/rotate"
    old = connect(made["key"])
    assert old.ask() == OK
    rotated = accepted(desk.gateway.admin.post(url, json={"overlap": 2}))
    new = connect(rotated["key"])
    assert (old.ask(), new.ask()) == (OK, OK)
    assert rotated["previous_key_expires_at"] is not None
    version = desk.gateway.config_version()
    deadline = time.monotonic() + 10
    while (answer := old.ask()) == OK and time.monotonic() < deadline:
        time.sleep(0.1)
    # By the clock alone: no configuration was loaded meanwhile.
    assert (answer, desk.gateway.config_version()) == (EXPIRED, version)
    assert new.ask() == OK
    accepted(desk.gateway.admin.post(url, json={"overlap": 0}))
    assert new.ask() == UNKNOWN


def test_the_end_of_a_credential_needs_no_reload(desk: Desk, connect: Any) -> None:
    desk.provider()
    end = datetime.now(UTC) + timedelta(seconds=2)
    made = make_credential(desk, expires_at=end.isoformat())
    client = connect(made["key"])
    assert client.ask() == OK
    while (answer := client.ask()) == OK and datetime.now(UTC) < end + timedelta(seconds=10):
        time.sleep(0.1)
    assert (answer, datetime.now(UTC) >= end) == (EXPIRED, True)
    assert client.ask() == EXPIRED
    accepted(desk.gateway.admin.patch(f"/credentials/{made['id']}", json={"expires_at": None}))
    assert client.ask() == OK


def test_verbs_are_in_force_for_the_next_request_of_a_connection(desk: Desk, connect: Any) -> None:
    desk.provider()
    made = make_credential(desk)
    admin, url = desk.gateway.admin, f"/credentials/{made['id']}"
    client = connect(made["key"])
    assert client.ask() == OK
    accepted(admin.post(f"{url}/disable"))
    assert client.ask() == UNKNOWN
    accepted(admin.post(f"{url}/enable"))
    assert client.ask() == OK
    rotated = accepted(admin.post(f"{url}/rotate"))
    assert client.ask() == OK
    other = connect(rotated["key"])
    assert other.ask() == OK
    accepted(admin.post(f"{url}/revoke"))
    assert (client.ask(), other.ask()) == (UNKNOWN, UNKNOWN)
    assert admin.post(f"{url}/enable").status_code == 409


@pytest.mark.parametrize("owner", ["tenant", "project"])
def test_a_disabled_tenant_or_project_shuts_its_credentials(desk: Desk, connect: Any, owner: str) -> None:
    desk.provider()
    admin, tenant, project = desk.gateway.admin, f"tenant-{desk.number}", f"project-{desk.number}"
    accepted(admin.post("/tenants", json={"name": tenant}))
    accepted(admin.post("/projects", json={"name": project, "tenant": tenant}))
    made = make_credential(desk, project=project)
    client = connect(made["key"])
    assert client.ask() == OK
    url = f"/{owner}s/{tenant if owner == 'tenant' else project}"
    accepted(admin.patch(url, json={"is_enabled": False}))
    assert client.ask() == (403, f"{owner}_disabled")
    for path in ("/v1/models", f"/v1/models/{desk.model}", "/v1/usage"):
        answer = desk.gateway.http.get(path, headers={"authorization": f"Bearer {made['key']}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, f"{owner}_disabled")
    answer = desk.gateway.post(PATH, made["key"], json=desk.body())
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (row["outcome"], row["error_type"], row["tenant"]) == ("rejected", f"{owner}_disabled", tenant)
    accepted(admin.patch(url, json={"is_enabled": True}))
    assert client.ask() == OK


def test_s3_25_a_usage_row_says_whose_the_request_was(desk: Desk) -> None:
    lane = desk.provider()
    admin, tenant, project = desk.gateway.admin, f"tenant-{desk.number}", f"project-{desk.number}"
    accepted(admin.post("/tenants", json={"name": tenant}))
    accepted(admin.post("/projects", json={"name": project, "tenant": tenant}))
    key = desk.credential("-owned", project=project)
    headers = {"x-llm-gateway-tags": "team=red, job=42", "x-llm-gateway-agent": "planner"}
    body = {**desk.body(), "user": "u-1"}
    answer = desk.gateway.post(PATH, key, json=body, headers=headers)
    assert answer.status_code == 200
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert {name: row[name] for name in ("tenant", "project", "agent", "end_user", "tags")} == {
        "tenant": tenant,
        "project": project,
        "agent": "planner",
        "end_user": "u-1",
        "tags": {"team": "red", "job": "42"},
    }
    # The provider gets the body as it was, and none of the gateway's headers.
    assert lane.last.json["user"] == "u-1"
    assert lane.last.header("x-llm-gateway-tags") is None
    named = desk.gateway.post(PATH, key, json=body, headers={"x-llm-gateway-user": "u-2"})
    row = desk.gateway.usage_row(named.headers["x-request-id"])
    assert (row["end_user"], row["agent"], row["tags"]) == ("u-2", None, None)
    plain = desk.gateway.post(PATH, key, json=desk.body())
    row = desk.gateway.usage_row(plain.headers["x-request-id"])
    assert (row["tenant"], row["agent"], row["tags"]) == (tenant, None, None)


def test_a_malformed_tag_is_refused_and_names_the_header(desk: Desk, connect: Any) -> None:
    lane = desk.provider()
    key = desk.credential("-tags")
    answer = desk.gateway.post(PATH, key, json=desk.body(), headers={"x-llm-gateway-tags": "nonsense"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-llm-gateway-tags")
    client = connect(key, **{"x-llm-gateway-user": "x" * 257})
    assert [client.ask()[0] for _ in range(3)] == [400] * 3
    assert connect("sk-nobody", **{"x-llm-gateway-tags": "nonsense"}).ask() == UNKNOWN
    assert lane.chats == []
