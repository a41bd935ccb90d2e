"""The pages of budgets: bars with spent and held apart, and what begins a new count."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.budgets import StoredBudget
from llm_gateway.flow.ports.budgets import BalanceReader, BudgetBalance
from llm_gateway.flow.ports.catalog import StoreUnavailable
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

PATH = "/console/budgets"
USD = 1_000_000_000


class FixedBalances(BalanceReader):
    def __init__(self, balances: Mapping[int, BudgetBalance] | None) -> None:
        self.balances = balances

    async def current(self, budget_ids: Sequence[int]) -> Mapping[int, BudgetBalance]:
        if self.balances is None:
            raise StoreUnavailable("The database does not answer")
        return {one: self.balances[one] for one in budget_ids if one in self.balances}


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        yield browser


async def make(browser: Browser, name: str = "b", **typed: str | None) -> None:
    answer = await browser.fill(f"{PATH}/new", name=name, **({"amount_usd": "10"} | typed))
    assert answer.status_code == 303, answer.text


async def row(browser: Browser, budget_id: int = 1) -> StoredBudget:
    return (await browser.store.browser.get(StoredBudget, budget_id)).value


async def test_spent_and_held_are_shown_apart(browser: Browser) -> None:
    await make(browser)
    balance = BudgetBalance(
        spent=6 * USD, held=USD // 2, remaining=7 * USD // 2, reset_at=1_900_000_000_000_000
    )
    object.__setattr__(browser.services, "balances", FixedBalances({1: balance}))
    for path in (PATH, f"{PATH}/1"):
        html = await browser.get(path)
        assert '<data value="6" class="spent">$6.00</data> spent' in html
        assert '<data value="0.5" class="held">$0.50</data> held' in html
        assert '<data value="3.5" class="remaining">$3.50</data> left' in html
        assert 'class="meter-spent" x="0.00" y="0" width="60.00"' in html
        assert 'class="meter-held" x="60.00" y="0" width="5.00"' in html
        assert 'aria-label="60.0 % spent, 5.0 % held"' in html
        assert '<time datetime="2030-03-17T17:46:40.000Z">' in html
    assert "the $6.00 spent so far no longer counts" in await browser.get(f"{PATH}/1")


async def test_an_overspent_budget_fills_its_bar_and_no_more(browser: Browser) -> None:
    await make(browser)
    balance = BudgetBalance(spent=12 * USD, held=USD, remaining=-3 * USD, reset_at=None)
    object.__setattr__(browser.services, "balances", FixedBalances({1: balance}))
    html = await browser.get(PATH)
    assert 'class="meter-over" x="0.00" y="0" width="100.00"' in html
    assert 'class="meter-held" x="100.00" y="0" width="0.00"' in html
    assert "-$3.00</data> left" in html


async def test_without_a_database_the_rest_of_the_page_is_there(browser: Browser) -> None:
    await make(browser)
    object.__setattr__(browser.services, "balances", FixedBalances(None))
    for path in (PATH, f"{PATH}/1"):
        assert "The database does not answer: what is spent is not known now." in await browser.get(path)


@pytest.mark.parametrize("scope", ["agent", "user"])
async def test_budgets_that_each_agent_or_user_has_are_explained(browser: Browser, scope: str) -> None:
    await make(browser, scope=scope)
    for path in (PATH, f"{PATH}/1"):
        html = await browser.get(path)
        assert f"Each {scope} has the whole amount, counted apart." in html
        assert "meter-spent" not in html
    html = await browser.get(f"{PATH}/1")
    assert "no credential has trusts_attribution" in html
    assert f"{PATH}/1/reset" not in html


async def test_a_reset_says_what_it_does_and_counts_from_now_on(browser: Browser) -> None:
    await make(browser)
    before = await row(browser)
    html = await browser.get(f"{PATH}/1/reset")
    assert "what was spent so far counts no longer" in html
    fields = form_fields(html)
    answer = await browser.post(f"{PATH}/1/reset", fields)
    assert answer.headers["location"] == f"{PATH}?done=reset"
    after = await row(browser)
    assert isinstance(after.counts_from, int)
    assert isinstance(before.counts_from, int)
    assert after.counts_from > before.counts_from
    # A form that is sent again does not reset again.
    assert (await browser.post(f"{PATH}/1/reset", fields)).status_code == 409
    assert await row(browser) == after


async def test_what_begins_a_new_count_is_said_before_saving(browser: Browser) -> None:
    await make(browser)
    assert "starts a new count when you save" in await browser.get(f"{PATH}/1")
    first = (await row(browser)).counts_from
    await browser.fill(f"{PATH}/1", amount_usd="20", name="other", is_enabled=None)
    assert (await row(browser)).counts_from == first
    await browser.fill(f"{PATH}/1", models="gpt-4o*")
    assert (await row(browser)).counts_from != first


async def test_errors_stand_beside_their_fields(browser: Browser) -> None:
    cases = {
        "amount_usd": {"amount_usd": "much"},
        "subject": {"scope": "tenant"},
        "name": {"name": ""},
    }
    for field, typed in cases.items():
        answer = await browser.fill(f"{PATH}/new", **({"name": "b", "amount_usd": "10"} | typed))
        assert answer.status_code == 422
        assert re.findall(r'class="error" id="field-(.+?)-error"', answer.text) == [field]
    answer = await browser.fill(f"{PATH}/new", name="b", amount_usd="")
    assert 'id="field-amount_usd-error">is needed' in answer.text


async def test_names_are_escaped(browser: Browser) -> None:
    name = "<script>alert('1')</script>\"&"
    await browser.fill("/console/tenants/new", name=name)
    await make(browser, name, scope="tenant", subject=name, models=name)
    for path in (PATH, f"{PATH}/1", f"{PATH}/1/reset", f"{PATH}/1/delete", "/console/tenants/1"):
        assert "<script>alert" not in await browser.get(path)


async def test_a_viewer_sees_the_bar_and_changes_nothing(browser: Browser) -> None:
    await make(browser)
    fields = form_fields(await browser.get(f"{PATH}/1/reset"))
    await browser.sign_in("viewer")
    html = await browser.get(f"{PATH}/1")
    assert "spent" in html
    assert "Reset" not in html
    assert (await browser.post(f"{PATH}/1/reset", fields)).status_code == 403
