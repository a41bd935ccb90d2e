"""The page of the configuration: what is in force where, what is wrong with it, and reading it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.ports.catalog import StoreUnavailable
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.stores import opened


@pytest.fixture
async def browser(store_url: str | None, data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(store_url, data_dir, barrier_timeout=0.05) as store, console_browser(store) as browser:
        yield browser


async def test_a_new_gateway_says_what_to_do(browser: Browser) -> None:
    html = await browser.get("/console/configuration")
    assert "Nothing has been changed yet" in html
    assert 'href="/console/providers/new"' in html


async def test_every_worker_shows_its_version(browser: Browser) -> None:
    await browser.store.add_provider("p")
    browser.store.worker_registry.others = {4711: 1}
    html = await browser.get("/console/configuration")
    assert "4711" in html
    assert html.count("On an older version") == 1
    assert html.count("Newest") == 1
    assert "created provider &#39;p&#39;" in html


async def test_rows_changed_by_sql_are_in_force_after_reading_again(browser: Browser) -> None:
    store = browser.store
    await store.add_provider("p", weight=1)
    await store.sql("UPDATE providers SET weight = 5")
    html = await browser.get("/console/configuration")
    assert "not in force in this worker yet" in html
    answer = await browser.post("/console/configuration/reload", {})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/configuration?done=reloaded")
    html = await browser.get("/console/configuration", done="reloaded")
    assert "The database was read. Version 3 is in force." in html
    assert "Rows were changed in the database, without the gateway." in html


async def test_rows_with_faults_are_named_and_linked(browser: Browser) -> None:
    store = browser.store
    provider = await store.add_provider("p<script>", weight=1)
    await store.sql("UPDATE providers SET weight = -1")
    await browser.post("/console/configuration/reload", {})
    html = await browser.get("/console/configuration", done="reloaded")
    assert "except for the rows below" in html
    assert f'href="/console/providers/{provider}"' in html
    assert "as it was" in html
    assert "<script>p" not in html
    assert "p&lt;script&gt;" in html


async def test_a_database_that_is_away_leaves_the_configuration(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.store.add_provider("p")

    async def away() -> int:
        raise StoreUnavailable("The database does not respond.")

    monkeypatch.setattr(browser.store.catalog, "load", away)
    monkeypatch.setattr(browser.store.catalog, "version", away)
    monkeypatch.setattr(browser.store.history, "page", lambda *_: away())
    answer = await browser.post("/console/configuration/reload", {})
    assert answer.status_code == 503
    assert "The configuration stays as it was. The database does not respond." in answer.text
    html = await browser.get("/console/configuration")
    assert "Not available" in html
    assert "The history is not available" in html
    assert "The last attempt to read the configuration failed" in html


async def test_a_viewer_may_look_and_not_reload(data_dir: Path) -> None:
    async with opened(None, data_dir) as store, console_browser(store, "viewer") as browser:
        assert "/reload" not in await browser.get("/console/configuration")
        assert (await browser.post("/console/configuration/reload", {})).status_code == 403
