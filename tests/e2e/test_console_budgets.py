"""Budgets in the console: the numbers of the page are those that a refusal shows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import httpx
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted
from tests.e2e.sql import run_sql
from tests.fakes.upstream import FakeUpstream

# A model of the price book.
PRICED = "gpt-4o-mini"


@contextmanager
def signed_in(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.origin, timeout=15, trust_env=False) as client:
        answer = client.post("/console/sign-in", data={"key": ADMIN_KEY}, headers={"origin": gateway.origin})
        assert answer.status_code == 303, answer.text
        yield client


def numbers(html: str) -> dict[str, str]:
    """Return the amounts that a page shows, as the text of its `<data>` elements has them for programs."""
    pairs = re.findall(r'<data (?:class="(\w+)" value="([^"]*)"|value="([^"]*)" class="(\w+)")', html)
    return {first or last: value or other for first, value, other, last in pairs}


@pytest.mark.parametrize(("store", "workers"), [("sqlite", 1), ("postgresql", 2)])
def test_the_page_shows_the_numbers_of_a_refusal(
    launch: Launch, fake: FakeUpstream, store: str, workers: int
) -> None:
    gateway = launch(store, WORKERS=workers, BUDGET_LEASE=2)
    desk = Desk(gateway, fake)
    desk.provider(model_mapping={desk.model: PRICED})
    run_sql(gateway, "UPDATE providers SET price_provider = 'openai'")
    accepted(gateway.admin.post("/config/reload"))
    assert desk.chat(max_tokens=4).status_code == 200
    with signed_in(gateway) as console:
        made = console.post(
            "/console/budgets/new",
            data={
                "name": "small", "scope": "credential", "subject": desk.name, "amount_usd": "0.00001",
                "period": "day", "models": "", "is_enabled": "yes",
            },
            headers={"origin": gateway.origin},
        )  # fmt: skip
        assert made.status_code == 303, made.text
        budget = accepted(gateway.admin.get("/budgets/small"))["id"]
        while (answer := desk.chat(max_tokens=4)).status_code == 200:
            pass
        # What machines had borrowed for requests in flight is settled or given back.
        deadline = time.monotonic() + 10
        while True:
            answer = desk.chat(max_tokens=4)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (429, "insufficient_quota")
            page = console.get(f"/console/budgets/{budget}").text
            listed = console.get("/console/budgets").text
            shown = numbers(page)
            if (shown["spent"], shown["held"]) == (error["used"], error["held"]):
                break
            assert time.monotonic() < deadline, (shown, error)
            time.sleep(0.1)
        assert shown["amount"] == error["limit"] == "0.00001"
        assert numbers(listed) == shown
        left = Decimal(error["limit"]) - Decimal(error["used"]) - Decimal(error["held"])
        assert Decimal(shown["remaining"]) == left
        # The day's end, as the refusal has it.
        reset_at = error["reset_at"]
        moments = re.findall(r'<time datetime="([^"]+)"', page)
        assert any(moment[:19] == _iso(reset_at)[:19] for moment in moments), (reset_at, moments)
        # A reset lets requests through again.
        form = console.get(f"/console/budgets/{budget}/reset").text
        updated_at = re.findall(r'name="updated_at" value="(\d+)"', form)[0]
        reset = console.post(
            f"/console/budgets/{budget}/reset",
            data={"updated_at": updated_at},
            headers={"origin": gateway.origin},
        )
        assert reset.status_code == 303
    assert desk.chat(max_tokens=4).status_code == 200


def _iso(moment: object) -> str:
    if isinstance(moment, int):
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return str(moment)
