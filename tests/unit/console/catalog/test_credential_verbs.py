"""Rotating, disabling, enabling and revoking a credential with forms."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.credentials import StoredCredential
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

KEY = re.compile(r"sk-[A-Za-z0-9_-]{43}")
PATH = "/console/credentials"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_credential("app", "the-first-key")
        yield browser


async def row(browser: Browser) -> StoredCredential:
    return (await browser.store.browser.get(StoredCredential, 1)).value


def opens(browser: Browser, key: str) -> bool:
    snapshot = browser.store.holder.current
    assert snapshot is not None
    return snapshot.account(browser.store.hasher.hash(key)) is not None


async def test_a_rotated_key_is_shown_once_and_the_old_one_works_on(browser: Browser) -> None:
    answer = await browser.fill(f"{PATH}/1/rotate", overlap="3600")
    assert answer.status_code == 200
    key = KEY.findall(answer.text)[0]
    assert opens(browser, key)
    assert opens(browser, "the-first-key")
    found = await row(browser)
    assert isinstance(found.previous_key_expires_at, int)
    assert 3500 < (found.previous_key_expires_at - browser.store.clock.unix_us()) / 1e6 <= 3600
    assert "The previous key works until" in answer.text
    assert "Previous key works until" in await browser.get(PATH)
    assert "stops working at once" in await browser.get(f"{PATH}/1/rotate")


async def test_sending_a_rotation_again_does_not_rotate_again(browser: Browser) -> None:
    fields = form_fields(await browser.get(f"{PATH}/1/rotate"))
    key = KEY.findall((await browser.post(f"{PATH}/1/rotate", fields)).text)[0]
    before = await row(browser)
    again = await browser.post(f"{PATH}/1/rotate", fields)
    assert again.status_code == 409
    assert not KEY.search(again.text)
    assert "nothing was done now" in again.text
    assert await row(browser) == before
    assert opens(browser, key)
    assert opens(browser, "the-first-key")


async def test_without_an_overlap_the_old_key_is_gone(browser: Browser) -> None:
    await browser.fill(f"{PATH}/1/rotate", overlap="0")
    assert not opens(browser, "the-first-key")


async def test_a_key_of_ones_own_is_not_shown(browser: Browser) -> None:
    answer = await browser.fill(f"{PATH}/1/rotate", key="the-second-key")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=rotated")
    assert opens(browser, "the-second-key")
    assert "The credential was rotated" in await browser.get(f"{PATH}?done=rotated")


@pytest.mark.parametrize("overlap", ["", "-1", "99999999", "9" * 5000, "soon", "1.5"])
async def test_an_overlap_that_cannot_be_is_refused(browser: Browser, overlap: str) -> None:
    answer = await browser.fill(f"{PATH}/1/rotate", overlap=overlap)
    assert answer.status_code == 422
    assert 'id="field-overlap-error"' in answer.text
    assert opens(browser, "the-first-key")


async def test_disabling_and_enabling(browser: Browser) -> None:
    assert "refused with 401" in await browser.get(f"{PATH}/1/disable")
    answer = await browser.fill(f"{PATH}/1/disable")
    assert answer.headers["location"] == f"{PATH}?done=disabled"
    assert (await row(browser)).is_enabled is False
    assert f'href="{PATH}/1/enable"' in await browser.get(f"{PATH}/1")
    answer = await browser.fill(f"{PATH}/1/enable")
    assert answer.headers["location"] == f"{PATH}?done=enabled"
    assert (await row(browser)).is_enabled is True


async def test_revoking_says_that_it_is_final_and_is(browser: Browser) -> None:
    assert "cannot be undone" in await browser.get(f"{PATH}/1/revoke")
    answer = await browser.fill(f"{PATH}/1/revoke")
    assert answer.headers["location"] == f"{PATH}?done=revoked"
    assert not opens(browser, "the-first-key")
    html = await browser.get(f"{PATH}/1")
    assert "Revoked" in html
    assert f'href="{PATH}/1/rotate"' not in html
    for verb in ("enable", "rotate"):
        refused = await browser.fill(f"{PATH}/1/{verb}")
        assert refused.status_code == 409
        assert "was revoked, which is final" in refused.text
