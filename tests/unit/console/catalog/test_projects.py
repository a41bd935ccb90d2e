"""The pages of projects: their tenant, their members, their budgets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.tenants import StoredProject
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.stores import opened

PATH = "/console/projects"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await browser.fill("/console/tenants/new", name="acme")
        yield browser


async def test_a_project_is_made_for_a_tenant_that_a_link_names(browser: Browser) -> None:
    html = await browser.get("/console/tenants/1")
    assert 'href="/console/projects/new?tenant=acme"' in html
    assert (await browser.fill(f"{PATH}/new?tenant=acme", name="web")).status_code == 303
    found = (await browser.store.browser.get(StoredProject, 1)).value
    assert (found.name, found.tenant) == ("web", "acme")
    html = await browser.get(PATH)
    assert ">web</a>" in html
    assert "<td>acme</td>" in html
    assert ">web</a>" in await browser.get("/console/tenants/1")


async def test_the_page_shows_members_and_budgets_with_links_to_make_more(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="web")
    await browser.store.add_credential("app", project="web")
    await browser.store.add_credential("other")
    await browser.fill("/console/budgets/new", name="b", scope="project", subject="web", amount_usd="5")
    html = await browser.get(f"{PATH}/1")
    assert re.findall(r'href="/console/credentials/\d+">([^<]+)', html) == ["app"]
    assert re.findall(r'href="/console/budgets/\d+">([^<]+)', html) == ["b"]
    assert 'href="/console/credentials/new?project=web"' in html
    assert 'href="/console/budgets/new?scope=project&amp;subject=web"' in html
    assert 'href="/console/requests?project=web"' in html


async def test_a_tenant_that_is_not_there_is_said_beside_the_field(browser: Browser) -> None:
    answer = await browser.fill(f"{PATH}/new", name="web", tenant="nobody")
    assert answer.status_code == 422
    errors = dict(re.findall(r'class="error" id="field-(.+?)-error">([^<]*)', answer.text))
    assert list(errors) == ["tenant"]


async def test_a_project_with_credentials_stays(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="<script>alert(1)</script>")
    await browser.store.add_credential("app", project="<script>alert(1)</script>")
    answer = await browser.fill(f"{PATH}/1/delete")
    assert answer.status_code == 409
    assert "1 credential names it" in answer.text
    assert "<script>alert" not in answer.text


async def test_an_empty_list_says_what_projects_are_for(browser: Browser) -> None:
    assert "There are no projects. Create one" in await browser.get(PATH)
