"""What the pages of all resources have in common, shown with tenants."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.config.editor import Edited, EditOptions
from llm_gateway.flow.config.rows.tenants import StoredTenant, TenantUpdate
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

PATH = "/console/tenants"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        yield browser


async def tenant(browser: Browser, row_id: int = 1) -> StoredTenant:
    return (await browser.store.browser.get(StoredTenant, row_id)).value


async def test_a_row_is_made_changed_and_deleted_with_forms(browser: Browser) -> None:
    assert "There are no tenants. Create one" in await browser.get(PATH)
    made = await browser.fill(f"{PATH}/new", name="acme", limits__requests_per_day="0")
    assert (made.status_code, made.headers["location"]) == (303, f"{PATH}?done=created")
    assert (await tenant(browser)).limits == Limits(requests_per_day=0)
    assert "The tenant was created. This is in force now." in await browser.get(f"{PATH}?done=created")
    changed = await browser.fill(f"{PATH}/1", name="acme2", limits__requests_per_day="", is_enabled=None)
    assert (changed.status_code, changed.headers["location"]) == (303, f"{PATH}?done=changed")
    found = await tenant(browser)
    assert (found.name, found.limits, found.is_enabled) == ("acme2", None, False)
    assert "cannot be undone" in await browser.get(f"{PATH}/1/delete")
    deleted = await browser.fill(f"{PATH}/1/delete")
    assert (deleted.status_code, deleted.headers["location"]) == (303, f"{PATH}?done=deleted")
    await browser.get(f"{PATH}/1", 404)


async def test_a_change_of_someone_else_is_not_overwritten(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="acme")
    fields = form_fields(await browser.get(f"{PATH}/1"))
    await browser.store.editor.update(1, TenantUpdate(is_enabled=False))
    answer = await browser.post(f"{PATH}/1", fields | {"name": "mine"})
    assert answer.status_code == 409
    assert "This was changed since the page was opened" in answer.text
    assert 'value="mine"' in answer.text
    assert "<dt>Name</dt><dd>acme</dd>" in answer.text
    assert (await tenant(browser)).name == "acme"
    # The page that answers is based on the row as it is now.
    assert (await browser.post(f"{PATH}/1", form_fields(answer.text))).status_code == 303
    assert (await tenant(browser)).name == "mine"


async def test_a_row_that_someone_else_has_changed_is_not_deleted(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="acme")
    fields = form_fields(await browser.get(f"{PATH}/1/delete"))
    await browser.store.editor.update(1, TenantUpdate(name="other"))
    answer = await browser.post(f"{PATH}/1/delete", fields)
    assert answer.status_code == 409
    assert "Delete tenant other?" in answer.text
    assert (await browser.post(f"{PATH}/1/delete", form_fields(answer.text))).status_code == 303


async def test_a_change_in_the_middle_of_a_write_is_not_overwritten(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.fill(f"{PATH}/new", name="acme")
    update = browser.services.editor.update

    async def overtaken(row_id: int, change: TenantUpdate, options: EditOptions) -> Edited[StoredTenant]:
        monkeypatch.undo()
        await update(row_id, TenantUpdate(is_enabled=False))
        return await update(row_id, change, options)

    monkeypatch.setattr(browser.services.editor, "update", overtaken)
    assert (await browser.fill(f"{PATH}/1", name="mine")).status_code == 409
    found = await tenant(browser)
    assert (found.name, found.is_enabled) == ("acme", False)


async def test_a_write_that_a_worker_does_not_have_yet_is_not_said_to_be_in_force(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def one_is_late(_version: int) -> tuple[int, ...]:
        return (123,)

    monkeypatch.setattr(browser.store.reloader, "await_everyone", one_is_late)
    answer = await browser.fill(f"{PATH}/new", name="acme")
    html = (await browser.client.get(answer.headers["location"])).text
    assert "The tenant was created. Some workers of this machine do not have it yet" in html
    assert "in force now" not in html


async def test_links_fill_in_a_new_form_and_never_send_it(browser: Browser) -> None:
    html = await browser.get(f"{PATH}/new", name="<acme>", limits="x", updated_at="1")
    assert 'value="&lt;acme&gt;"' in html
    assert "updated_at" not in html
    assert "There are no tenants" in await browser.get(PATH)


async def test_a_refusal_stands_beside_its_field_with_what_was_typed(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="acme")
    answer = await browser.fill(f"{PATH}/new", name="acme", limits__tokens_per_day="7")
    assert answer.status_code == 409
    assert re.findall(r'class="error" id="field-(.+?)-error"', answer.text) == ["name"]
    assert 'value="7"' in answer.text
    # The keyboard begins at what is wrong.
    assert re.findall(r'id="field-(\w+)"[^>]* autofocus', answer.text) == ["name"]
    # The group with a value is open.
    assert re.search(r'<details class="group" open>\s*<summary>Limits of all', answer.text)


@pytest.mark.parametrize("text", ["many", "1,000", "\u0663x", "9" * 5000])
async def test_numbers_that_are_none_are_refused(browser: Browser, text: str) -> None:
    answer = await browser.fill(f"{PATH}/new", name="acme", limits__requests_per_day=text)
    assert answer.status_code == 422
    assert 'id="field-limits-requests_per_day-error"' in answer.text


async def test_a_row_that_others_name_stays_and_the_page_says_why(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="acme")
    await browser.store.add_credential("app", tenant="acme")
    answer = await browser.fill(f"{PATH}/1/delete")
    assert answer.status_code == 409
    assert "1 credential names it" in answer.text


async def test_a_search_without_a_hit_leads_back_to_all(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="acme")
    html = await browser.get(PATH, search="<nobody>")
    assert "Nothing matches “&lt;nobody&gt;”." in html
    assert f'href="{PATH}"' in html
    assert ">acme</a>" in await browser.get(PATH, search="ACM")
    await browser.get(PATH, 422, cursor="nonsense")


async def test_what_is_not_in_force_is_said_in_the_list_and_on_the_page(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="acme")
    await browser.store.sql("UPDATE tenants SET limits = '{\"requests_per_day\": -1}'")
    await browser.store.reloader.reload()
    assert ">Not in force</span>" in await browser.get(PATH)
    assert "Not in force as it is stored" in await browser.get(f"{PATH}/1")
    # Saving a form that is right repairs the row.
    assert (await browser.fill(f"{PATH}/1", limits__requests_per_day="5")).status_code == 303
    assert "Not in force" not in await browser.get(PATH)


async def test_a_viewer_sees_rows_as_facts_and_sends_nothing(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="acme", limits__requests_per_day="5")
    await browser.sign_in("viewer")
    html = await browser.get(f"{PATH}/1")
    assert "<dd>acme</dd>" in html
    assert "<dd>5</dd>" in html
    assert form_fields(html) == {}
    assert "cannot create a tenant" in await browser.get(f"{PATH}/new")
    for path in ("new", "1", "1/delete"):
        assert (await browser.post(f"{PATH}/{path}", {"name": "x"})).status_code == 403
    assert (await tenant(browser)).name == "acme"
