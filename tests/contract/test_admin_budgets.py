"""`/admin/v1/budgets` over HTTP on both stores: amounts, subjects, and from when a budget counts."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.times import read_time
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened

BUDGET: dict[str, Any] = {"name": "b", "scope": "all", "amount_usd": "12.50", "period": "month"}
HOUR = 3_600_000_000


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        yield desk


async def test_a_budgets_life(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/budgets", 201, json=BUDGET)
    created = made.pop("created_at")
    assert (made.pop("updated_at"), made.pop("counts_from")) == (created, created)
    assert abs(read_time(created) - desk.store.clock.unix_us()) < HOUR
    assert made == {
        "id": 1,
        "name": "b",
        "scope": "all",
        "subject": None,
        "amount_usd": "12.5",
        "period": "month",
        "models": None,
        "is_enabled": True,
        "config_version": 2,
    }
    row = await desk.ask("GET", "/budgets/b")
    assert row == await desk.ask("GET", "/budgets/1") == (await desk.ask("GET", "/budgets"))["data"][0]
    assert (await desk.ask("PUT", "/budgets/1", json=row))["config_version"] == 2
    changed = await desk.ask("PATCH", "/budgets/b", json={"amount_usd": 0.000000001, "is_enabled": False})
    assert (changed["amount_usd"], changed["is_enabled"]) == ("0.000000001", False)
    assert (changed["counts_from"], "warnings" in changed) == (created, False)
    assert (await desk.refused("POST", "/budgets", 409, json=BUDGET))["param"] == "name"
    # Two may cover the same requests.
    await desk.ask("POST", "/budgets", 201, json=BUDGET | {"name": "another"})
    assert (await desk.ask("DELETE", "/budgets/b"))["deleted"] is True
    await desk.refused("DELETE", "/budgets/b", 404)
    rows = await desk.store.sql("SELECT action FROM config_versions ORDER BY version")
    assert [row.action for row in rows] == [
        "created budget 'b'",
        "updated budget 'b': amount_usd, is_enabled",
        "created budget 'another'",
        "deleted budget 'b'",
    ]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (1, "1"),
        ("0.1", "0.1"),
        (0.1, "0.1"),
        ("1e3", "1000"),
        (1_000_000_000, "1000000000"),
        ("0.000000001",) * 2,
    ],
)
async def test_an_amount_is_text_or_a_number_and_is_shown_as_text(
    desk: AdminClient, amount: object, shown: str
) -> None:
    made = await desk.ask("POST", "/budgets", 201, json=BUDGET | {"amount_usd": amount})
    assert made["amount_usd"] == shown == (await desk.ask("GET", "/budgets/b"))["amount_usd"]


AMOUNTS: list[object] = [
    0, -1, "-0.5", "many", "", None, True, [], "NaN", "Infinity", math.inf, "0.0000000001", "1e10", 10**40,
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "param"),
    [
        *[({"amount_usd": amount}, "amount_usd") for amount in AMOUNTS],
        ({"scope": "planet"}, "scope"),
        ({"scope": "credential"}, "subject"),
        ({"scope": "tenant", "subject": None}, "subject"),
        ({"subject": "x"}, "subject"),
        ({"scope": "agent", "subject": ""}, "subject"),
        ({"period": "week"}, "period"),
        ({"models": []}, "models"),
        ({"models": [""]}, "models.0"),
        ({"name": "12"}, "name"),
        ({"counts_from": "2026-01-01"}, "counts_from"),
        ({"spent_usd": "0"}, "spent_usd"),
        ({"amount": 1}, "amount"),
    ],
)  # fmt: skip
async def test_a_budget_that_makes_no_sense_is_refused(
    data_dir: Path, change: dict[str, Any], param: str
) -> None:
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        content = _json(BUDGET | change)
        error = await desk.refused(
            "POST", "/budgets", content=content, headers={"content-type": "application/json"}
        )
        assert error["param"] == param
        assert (await desk.ask("GET", "/budgets"))["data"] == []


def _json(body: dict[str, Any]) -> str:
    # What readers of JSON take for infinity.
    return json.dumps(body).replace(": Infinity", ": 1e999")


@pytest.mark.parametrize("missing", ["name", "scope", "amount_usd", "period"])
async def test_a_new_budget_says_all_that_it_needs(data_dir: Path, missing: str) -> None:
    async with opened(None, data_dir) as store, admin_client(store) as desk:
        body = {name: value for name, value in BUDGET.items() if name != missing}
        assert (await desk.refused("POST", "/budgets", json=body))["param"] == missing


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "agent"},
        {"scope": "tenant", "subject": "acme"},
        {"period": "day"},
        {"models": ["gpt-*"]},
    ],
)
async def test_a_budget_that_is_to_cover_other_requests_counts_from_now(
    desk: AdminClient, change: dict[str, Any]
) -> None:
    made = await desk.ask("POST", "/budgets", 201, json=BUDGET)
    tried = await desk.ask("PATCH", "/budgets/b", json=change, params={"dry_run": "true"})
    assert tried["counts_from"] > made["counts_from"]
    changed = await desk.ask("PATCH", "/budgets/b", json=change)
    assert made["counts_from"] < tried["counts_from"] < changed["counts_from"] == changed["updated_at"]
    for answer in (tried, changed):
        assert any(warning.startswith("counts_from: moved to now") for warning in answer["warnings"])
    again = await desk.ask("PATCH", "/budgets/b", json=change | {"amount_usd": 5})
    assert again["counts_from"] == changed["counts_from"]


async def test_a_reset_counts_from_now_and_keeps_balances(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/budgets", 201, json=BUDGET | {"name": "team/red"})
    path, version = "/budgets/team/red/reset", made["config_version"]
    tried = await desk.ask("POST", path, params={"dry_run": "true"})
    assert tried["counts_from"] > made["counts_from"]
    await desk.refused("POST", path, 412, headers={"if-match": f'"{version - 1}"'})
    assert (await desk.ask("GET", "/budgets/1"))["counts_from"] == made["counts_from"]
    done = await desk.ask("POST", path, headers={"if-match": f'"{version}"'})
    assert (done["counts_from"] > made["counts_from"], done["config_version"]) == (True, version + 1)
    assert "warnings" not in done
    await desk.refused("POST", "/budgets/none/reset", 404)
    rows = await desk.store.sql("SELECT action FROM config_versions ORDER BY version")
    assert rows[-1].action == "reset budget 'team/red'"


async def test_a_budget_without_its_subject_is_warned_of(desk: AdminClient) -> None:
    for scope in ("credential", "tenant", "project"):
        body = BUDGET | {"name": scope, "scope": scope, "subject": "x"}
        made = await desk.ask("POST", "/budgets", 201, json=body)
        assert made["warnings"] == [f"subject: there is no {scope} 'x'"]
        await desk.ask("POST", f"/{scope}s", 201, json={"name": "x"})
        assert "warnings" not in await desk.ask("GET", f"/budgets/{scope}")
        # A rename would take the subject out of the budget's sight, a deletion is seen.
        error = await desk.refused("PATCH", f"/{scope}s/1", 409, json={"name": "y"})
        assert "because 1 budget names it" in error["message"]
        await desk.ask("DELETE", f"/{scope}s/1")
        assert (await desk.ask("GET", f"/budgets/{scope}"))["warnings"] == made["warnings"]


async def test_a_budget_of_users_needs_a_credential_that_is_trusted(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/budgets", 201, json=BUDGET | {"scope": "user"})
    assert ["trusts_attribution" in warning for warning in made["warnings"]] == [True]
    await desk.ask("POST", "/credentials", 201, json={"name": "c", "trusts_attribution": True})
    assert "warnings" not in await desk.ask("GET", "/budgets/b")


async def test_a_model_of_a_budget_that_nobody_serves_is_warned_of(desk: AdminClient) -> None:
    made = await desk.ask("POST", "/budgets", 201, json=BUDGET | {"models": ["gpt-4o", "claude-*"]})
    assert made["warnings"] == ["models: no enabled provider serves 'gpt-4o'"]
