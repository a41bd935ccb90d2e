"""The versions of the configuration: who changed what, before and after, without secrets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.budgets import BudgetUpdate
from llm_gateway.flow.config.rows.credentials import CredentialUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.stores import opened

VERSIONS = "/console/configuration/versions"


@pytest.fixture
async def browser(store_url: str | None, data_dir: Path) -> AsyncIterator[Browser]:
    async with (
        opened(store_url, data_dir, environ={"SOME_KEY": "sk-x"}) as store,
        console_browser(store) as browser,
    ):
        yield browser


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
        for row in rows
    ]


async def test_a_change_shows_both_sides_and_no_secret(browser: Browser) -> None:
    store = browser.store
    provider = await store.add_provider("p", weight=1, secret=Secret("sk-the-first-secret"))
    await store.editor.update(provider, ProviderUpdate(weight=7, secret=Secret("sk-the-second-secret")))
    await store.editor.update(provider, ProviderUpdate(secret=Secret("env:SOME_KEY")))
    html = await browser.get(f"{VERSIONS}/3")
    assert ["weight", "1", "7"] in cells(html)
    assert ["api_key", "***", "***"] in cells(html)
    assert ["api_key", "***", "env:SOME_KEY"] in cells(await browser.get(f"{VERSIONS}/4"))
    assert f'href="{VERSIONS}/2"' in html
    for path in (VERSIONS, f"{VERSIONS}/2", f"{VERSIONS}/3", f"{VERSIONS}/4"):
        assert "secret" not in await browser.get(path)


async def test_created_and_deleted_rows_show_their_one_side(browser: Browser) -> None:
    store = browser.store
    provider = await store.add_provider("p", weight=3)
    await store.editor.delete(StoredProvider, provider)
    html = await browser.get(f"{VERSIONS}/2")
    assert ["weight", "3"] in cells(html)
    assert "Before</th>" not in html
    html = await browser.get(f"{VERSIONS}/3")
    assert ["weight", "3"] in cells(html)
    assert "After</th>" not in html


async def test_money_and_times_are_readable(browser: Browser) -> None:
    store = browser.store
    await store.editor.create(
        BudgetUpdate(name="b", scope="tenant", subject="red", amount_nano_usd=2_500_000_000, period="month")
    )
    await store.editor.create(
        CredentialUpdate(name="c", key=Secret("sk-a-key-of-a-client"), expires_at=1_900_000_000_000_000)
    )
    assert ["amount_nano_usd", "$2.50"] in cells(await browser.get(f"{VERSIONS}/2"))
    html = await browser.get(f"{VERSIONS}/3")
    assert '<time datetime="2030-03-17T17:46:40.000Z">' in html
    assert "sk-a-key-of-a-client" not in html


async def test_versions_that_sql_made_are_a_gap(browser: Browser) -> None:
    store = browser.store
    await store.add_provider("p")
    await store.sql("UPDATE providers SET weight = 5")
    await store.sql("UPDATE providers SET weight = 6")
    await store.reloader.reload()
    await store.add_provider("q")
    html = await browser.get(VERSIONS)
    assert f'href="{VERSIONS}/4">3 to 4</a>' in html
    for version in (3, 4):
        assert "by SQL and without the gateway" in await browser.get(f"{VERSIONS}/{version}")


async def test_the_first_version_is_empty_and_others_are_not_found(browser: Browser) -> None:
    assert "empty configuration of a new database" in await browser.get(f"{VERSIONS}/1")
    await browser.get(f"{VERSIONS}/2", 404)
    await browser.get(f"{VERSIONS}/{9**40}", 404)
    await browser.get(VERSIONS, 422, cursor="nonsense")


async def test_versions_are_listed_page_by_page(browser: Browser) -> None:
    store = browser.store
    provider = await store.add_provider("p")
    for weight in range(2, 54):
        await store.editor.update(provider, ProviderUpdate(weight=weight))
    html = await browser.get(VERSIONS)
    assert html.count(f'<td><a href="{VERSIONS}/') == 50
    found = re.search(r'href="([^"]+)">Next page', html)
    assert found is not None
    assert (await browser.get(found.group(1).replace("&amp;", "&"))).count(f'<td><a href="{VERSIONS}/') == 3


async def test_long_values_are_cut_and_are_whole_behind_their_link(browser: Browser) -> None:
    mapping = {f"model-{n}": f"<b>upstream-{n}</b>" for n in range(2000)}
    await browser.store.add_provider("p", model_mapping=mapping)
    html = await browser.get(f"{VERSIONS}/2")
    assert len(html) < 20_000
    assert "<b>" not in html
    found = re.search(r'href="([^"]+)">All [\d,]+ characters', html)
    assert found is not None
    answer = await browser.client.get(found.group(1).replace("&amp;", "&"))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.json() == mapping
    for wrong in ("row=1&side=after&field=weight", "row=0&side=none&field=weight", "row=x", ""):
        await browser.get(f"{VERSIONS}/2/value?{wrong}", 404)
