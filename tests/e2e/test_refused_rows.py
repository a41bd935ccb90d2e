"""Refused requests leave rows, floods of them few; a key sees its own requests and no others."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import eventually

PATH = "/v1/chat/completions"


def get(desk: Desk, path: str, key: str) -> httpx.Response:
    return desk.gateway.http.get(path, headers={"authorization": f"Bearer {key}"})


def rows(desk: Desk, **wanted: Any) -> list[dict[str, Any]]:
    found = desk.gateway.usage_rows(limit=1000)
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


@pytest.mark.parametrize(("status", "error"), [(403, "model_not_allowed"), (404, "model_not_found")])
def test_a_refusal_has_a_row(desk: Desk, status: int, error: str) -> None:
    desk.provider()
    key = desk.credential(f"-{error}", allowed_models=["else"] if status == 403 else None)
    body = desk.body() if status == 403 else {**desk.body(), "model": "nobody-serves-this"}
    answer = desk.gateway.post(PATH, key, json=body)
    assert answer.status_code == status
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (row["outcome"], row["status_code"], row["error_type"]) == ("rejected", status, error)
    assert (row["attempts"], row["requests"], row["cost_usd"]) == (0, 1, None)


def test_a_flood_of_refusals_has_few_rows_that_count_each_of_them(desk: Desk) -> None:
    desk.provider()
    name = f"desk-{desk.number}-flood"
    key = desk.credential("-flood", rate_limit=0)
    for _ in range(60):
        assert desk.gateway.post(PATH, key, json=desk.body()).status_code == 429
    found = eventually(
        lambda: rows(desk, credential=name), lambda seen: sum(row["requests"] for row in seen) == 60
    )
    # Sixty take some seconds at most, even on a busy machine: ten rows and one for each.
    assert len(found) < 60


def test_requests_without_a_valid_key_are_counted_together(desk: Desk) -> None:
    before = sum(row["requests"] for row in rows(desk, credential=None, status_code=401))
    for _ in range(20):
        assert desk.gateway.post(PATH, "sk-nobody", json=desk.body()).status_code == 401
    found = eventually(
        lambda: rows(desk, credential=None, status_code=401),
        lambda seen: sum(row["requests"] for row in seen) == before + 20,
    )
    assert len(found) < 20


def test_a_key_sees_what_its_requests_used(desk: Desk) -> None:
    desk.provider()
    other = desk.credential("-other")
    answer = desk.gateway.post(PATH, desk.key, json=desk.body())
    request_id = answer.headers["x-request-id"]
    row = get(desk, f"/v1/usage/{request_id}", desk.key).json()
    assert (row["request_id"], row["total_tokens"], row["usage_source"]) == (request_id, 13, "provider")
    listed = get(desk, "/v1/usage?limit=1", desk.key).json()
    assert listed["data"] == [row]
    assert get(desk, f"/v1/usage/{request_id}", other).status_code == 404
    assert get(desk, "/v1/usage", other).json()["data"] == []
