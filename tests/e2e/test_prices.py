"""Prices from the admin API to the usage row, and credentials that require them, with a real gateway."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import accepted
from tests.fakes.script import error_script

PRICES = {"input_tokens": "500", "output_tokens": "1000"}


def price(desk: Desk, provider: str, **fields: Any) -> dict[str, Any]:
    body = {"provider": provider, "upstream_model": desk.upstream_model, "prices": PRICES, **fields}
    return accepted(desk.gateway.admin.post("/prices", json=body))


def chat(desk: Desk, key: str, **fields: Any) -> Any:
    return desk.gateway.post("/v1/chat/completions", key, json=desk.body(**fields))


def test_a_price_counts_from_the_next_request_on(desk: Desk) -> None:
    lane = desk.provider()
    before = desk.gateway.usage_row(desk.chat().headers["x-request-id"])
    assert (before["cost_usd"], before["cost_source"]) == (None, "none")
    made = price(desk, lane.name)
    answer = desk.chat()
    usage = answer.json()["usage"]
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (row["cost_source"], row["price_version"]) == ("override", made["price_version"])
    halves = usage["prompt_tokens"] + 2 * usage["completion_tokens"]
    assert Decimal(row["cost_usd"]) == Decimal(halves) / 2000
    # What was not priced then stays so.
    assert desk.gateway.usage_row(before["request_id"])["cost_usd"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_without_prices_a_credential_that_requires_them_is_refused(desk: Desk, stream: bool) -> None:
    lane = desk.provider()
    key = desk.credential(require_pricing=True)
    answer = chat(desk, key, stream=stream)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (403, "model_not_priced", "model")
    assert desk.model in error["message"]
    assert lane.chats == []
    with pytest.raises(openai.PermissionDeniedError):
        desk.gateway.sdk(key).chat.completions.create(**desk.body())
    listed = desk.gateway.http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).json()["data"]
    assert desk.model not in {model["id"] for model in listed}

    shown = desk.gateway.http.get(f"/v1/models/{desk.model}", headers={"authorization": f"Bearer {key}"})
    assert (shown.status_code, shown.json()["error"]["code"]) == (403, "model_not_priced")

    price(desk, lane.name)
    assert chat(desk, key, stream=stream).status_code == 200
    listed = desk.gateway.http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).json()["data"]
    assert desk.model in {model["id"] for model in listed}


def test_no_failover_ends_at_a_deployment_without_prices(desk: Desk) -> None:
    priced = desk.failing(error_script(503), "priced")
    unpriced = desk.provider("unpriced")
    key = desk.credential(require_pricing=True)
    price(desk, priced.name)
    for _ in range(3):
        assert chat(desk, key).status_code >= 500
    assert unpriced.chats == []
    # Others are served.
    assert desk.chat().status_code == 200
    assert len(unpriced.chats) == 1
    answer = desk.gateway.admin.post(
        "/route/explain", json={"model": desk.model, "credential": f"desk-{desk.number}"}
    )
    (route,) = accepted(answer)["routes"]
    assert {"provider": unpriced.name, "reason": "not_priced"} in route["left_out"]
