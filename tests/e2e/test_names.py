"""Names that would be ambiguous are refused: two credentials of one name, and names that look like ids."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted
from tests.e2e.sql import run_sql
from tests.fakes.upstream import FakeUpstream

NUMERIC: list[tuple[str, str, dict[str, Any]]] = [
    ("/models", "name", {}),
    ("/task-types", "name", {"models": ["m"]}),
    ("/providers", "provider_key", {"provider_type": "openai", "api_base": "http://127.0.0.1:9/v1"}),
]


def named(gateway: GatewayProcess, name: str) -> list[dict[str, Any]]:
    return [row for row in accepted(gateway.admin.get("/credentials"))["data"] if row["name"] == name]


def conflict(answer: httpx.Response) -> None:
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["param"] == "name"
    assert "exists already" in error["message"]
    assert "usage rows" in error["message"]


def test_a_second_credential_of_a_name_is_refused(desk: Desk) -> None:
    admin, name = desk.gateway.admin, desk.name + "-twin"
    first = accepted(admin.post("/credentials", json={"name": name}))
    conflict(admin.post("/credentials", json={"name": name}))
    conflict(admin.post("/credentials?dry_run=true", json={"name": name}))
    other = accepted(admin.post("/credentials", json={"name": name + "2"}))
    conflict(admin.patch(f"/credentials/{other['id']}", json={"name": name}))
    conflict(admin.put(f"/credentials/{other['id']}", json={"name": name, "rate_limit": 3}))
    shown = accepted(admin.get(f"/credentials/{other['id']}"))
    assert (shown["name"], shown["rate_limit"]) == (name + "2", None)
    # Its own name, and one that is free again.
    accepted(admin.patch(f"/credentials/{first['id']}", json={"name": name, "rate_limit": 1}))
    accepted(admin.delete(f"/credentials/{first['id']}"))
    accepted(admin.patch(f"/credentials/{other['id']}", json={"name": name}))
    assert len(named(desk.gateway, name)) == 1


def test_of_many_that_create_one_name_at_once_one_succeeds(pair_gateway: GatewayProcess) -> None:
    def create(_number: int) -> int:
        return pair_gateway.admin.post("/credentials", json={"name": "raced"}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(16)))
    assert sorted(statuses) == [201] + [409] * 15
    assert len(named(pair_gateway, "raced")) == 1


def test_credentials_that_share_a_name_since_before_stay_usable_and_are_shown(
    launch: Launch, fake: FakeUpstream, store_url: str | None
) -> None:
    desk = Desk(launch(**({} if store_url is None else {"DB_URL": store_url})), fake)
    desk.provider()
    gateway = desk.gateway
    keys = [gateway.create_credential(name) for name in ("old", "older")]
    run_sql(gateway, "UPDATE credentials SET name = 'old' WHERE name = 'older'")
    accepted(gateway.admin.post("/config/reload"))
    twins = named(gateway, "old")
    assert len(twins) == 2
    assert all("another credential has it too" in twin["warnings"][0] for twin in twins)
    for key in keys:
        assert gateway.post("/v1/chat/completions", key, json=desk.body()).status_code == 200
    changed = accepted(gateway.admin.patch(f"/credentials/{twins[0]['id']}", json={"rate_limit": 9}))
    assert changed["warnings"] == twins[0]["warnings"]
    accepted(gateway.admin.put(f"/credentials/{twins[0]['id']}", json=twins[0] | {"rate_limit": 8}))
    accepted(gateway.admin.patch(f"/credentials/{twins[0]['id']}", json={"name": "new"}))
    assert all("warnings" not in row for row in accepted(gateway.admin.get("/credentials"))["data"])


@pytest.mark.parametrize(("path", "field", "fields"), NUMERIC, ids=[path[1:] for path, _, _ in NUMERIC])
@pytest.mark.parametrize("name", ["1", "007", "20241022", "٣", "²"])
def test_a_name_of_digits_is_refused(
    desk: Desk, path: str, field: str, fields: dict[str, Any], name: str
) -> None:
    admin = desk.gateway.admin
    answer = admin.post(path, json={field: name} | fields)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["param"] == field
    assert "must not be" in error["message"]
    assert "id" in error["message"].split()
    made = accepted(admin.post(path, json={field: f"{desk.name}-{name}"} | fields))
    assert admin.patch(f"{path}/{made['id']}", json={field: name}).status_code == 422
    accepted(admin.delete(f"{path}/{made['id']}"))


def test_rows_with_names_of_digits_since_before_are_found_by_id_and_shown(
    launch: Launch, fake: FakeUpstream, store_url: str | None
) -> None:
    desk = Desk(launch(**({} if store_url is None else {"DB_URL": store_url})), fake)
    admin = desk.gateway.admin
    for number, (path, field, fields) in enumerate(NUMERIC):
        made = accepted(admin.post(path, json={field: f"n{number}"} | fields))
        table = path[1:].replace("-", "_")
        run_sql(desk.gateway, f"UPDATE {table} SET {field} = '77' WHERE {field} = 'n{number}'")
        accepted(admin.post("/config/reload"))
        row = accepted(admin.get(f"{path}/{made['id']}"))
        assert row[field] == "77"
        assert any("digits only" in warning and f"id {made['id']}" in warning for warning in row["warnings"])
        assert admin.get(f"{path}/77").status_code == 404
        accepted(admin.patch(f"{path}/{made['id']}", json={field: f"renamed{number}"}))
        assert not any(
            "digits" in warning for warning in accepted(admin.get(f"{path}/{made['id']}")).get("warnings", [])
        )
