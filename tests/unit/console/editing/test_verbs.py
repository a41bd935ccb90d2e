"""Verbs in general: a deed is done once, to the row that its page showed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.errors import PreconditionFailed
from llm_gateway.flow.config.editor import Edited, EditOptions
from llm_gateway.flow.config.rows.credentials import CredentialUpdate, StoredCredential
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

PATH = "/console/credentials/1/disable"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_credential("app")
        yield browser


async def test_a_row_that_was_changed_meanwhile_is_left_alone(browser: Browser) -> None:
    fields = form_fields(await browser.get(PATH))
    await browser.store.editor.update(1, CredentialUpdate(rate_limit=1))
    answer = await browser.post(PATH, fields)
    assert answer.status_code == 409
    assert "was changed since the page was opened" in answer.text
    # The page that answers is of the row as it is now.
    assert (await browser.post(PATH, form_fields(answer.text))).status_code == 303


async def test_changes_of_other_rows_are_not_in_the_way(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor, tries = browser.services.editor, 0
    set_enabled = editor.set_enabled

    async def interrupted(row_id: int, options: EditOptions, *, is_enabled: bool) -> Edited[StoredCredential]:
        nonlocal tries
        tries += 1
        if tries < 3:
            await browser.store.add_credential(f"other{tries}")
        return await set_enabled(row_id, options, is_enabled=is_enabled)

    monkeypatch.setattr(editor, "set_enabled", interrupted)
    assert (await browser.fill(PATH)).status_code == 303
    assert tries == 3


async def test_a_configuration_that_changes_all_the_time_is_given_up(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        raise PreconditionFailed("changed")

    monkeypatch.setattr(browser.services.editor, "set_enabled", never)
    answer = await browser.fill(PATH)
    assert answer.status_code == 409
    assert "Try again" in answer.text


@pytest.mark.parametrize("row_id", ["2", "99999999999999999999999999"])
async def test_a_row_that_is_not_there_is_404(browser: Browser, row_id: str) -> None:
    path = f"/console/credentials/{row_id}/revoke"
    await browser.get(path, 404)
    assert (await browser.post(path, {})).status_code == 404
