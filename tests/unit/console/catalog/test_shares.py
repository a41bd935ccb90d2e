"""Shares are shown before they are stored: in the page without a script, as a fragment with one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.flow.config.rows.providers import StoredProvider
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

PROVIDERS, MODELS = "/console/providers", "/console/models"
MAPPING = {"model_mapping": {"gpt": "up"}}


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_provider("main", weight=1, **MAPPING)
        await store.add_provider("second", weight=3, **MAPPING)
        yield browser


async def preview(browser: Browser, page: str, typed: dict[str, str], *, part: bool = True) -> str:
    """Type into the form of a page and show the shares."""
    fields = form_fields(await browser.get(page)) | typed
    path = f"{page.removesuffix('/new')}/shares{'?part=1' if part else ''}"
    answer = await browser.post(path, fields)
    assert answer.status_code == 200
    return " ".join(answer.text.split())


def percents(html: str) -> list[str]:
    return re.findall(r"<strong>([0-9.]+ %)</strong>", html)


async def test_the_form_shows_the_shares_in_force(browser: Browser) -> None:
    html = await browser.get(f"{PROVIDERS}/1")
    assert "Shares of requests now" in html
    assert percents(html) == ["25.0 %"]


async def test_typed_weights_are_shown_and_not_stored(browser: Browser) -> None:
    before = await browser.store.browser.get(StoredProvider, 1)
    fragment = await preview(browser, f"{PROVIDERS}/1", {"weight": "9"})
    assert "Shares of requests with these values" in fragment
    assert percents(fragment) == ["75.0 %"]
    assert "<code>second</code> 25.0 %" in fragment
    assert "<html" not in fragment
    assert await browser.store.browser.get(StoredProvider, 1) == before


async def test_without_a_script_the_form_comes_back_as_it_was_typed(browser: Browser) -> None:
    html = await preview(browser, f"{PROVIDERS}/1", {"weight": "9", "api_key": "sk-typed-secret"}, part=False)
    assert percents(html) == ["75.0 %"]
    assert 'value="9"' in html
    assert "sk-typed" not in html
    assert "Type it again" in html


async def test_a_preview_keeps_what_the_form_is_based_on(browser: Browser) -> None:
    fields = form_fields(await browser.get(f"{PROVIDERS}/1"))
    await browser.fill(f"{PROVIDERS}/1", weight="2")
    html = (await browser.post(f"{PROVIDERS}/1/shares", fields | {"weight": "9"})).text
    assert form_fields(html)["updated_at"] == fields["updated_at"]
    assert (await browser.post(f"{PROVIDERS}/1", form_fields(html))).status_code == 409


async def test_a_new_a_disabled_and_a_drained_provider(browser: Browser) -> None:
    async def third(weight: str) -> str:
        typed = {"api_base": "http://127.0.0.1:9", "model_mapping": "gpt = up"}
        return await preview(browser, f"{PROVIDERS}/new", typed | {"provider_key": "third", "weight": weight})

    assert percents(await third("4")) == ["50.0 %"]
    drained = await third("0")
    assert percents(drained) == ["0.0 %"]
    assert "weight 0" in drained
    fields = form_fields(await browser.get(f"{PROVIDERS}/1"))
    del fields["is_enabled"]
    disabled = (await browser.post(f"{PROVIDERS}/1/shares?part=1", fields)).text
    assert percents(disabled) == ["0.0 %"]
    assert "disabled" in disabled


async def test_what_is_wrong_is_said_in_place_of_shares(browser: Browser) -> None:
    fragment = await preview(browser, f"{PROVIDERS}/1", {"weight": "many", "api_base": "ftp://<x>"})
    assert "Weight: must be a number" in fragment
    fragment = await preview(browser, f"{PROVIDERS}/1", {"api_base": "ftp://<x>"})
    assert "Base URL: " in fragment
    assert percents(fragment) == []
    html = await preview(browser, f"{PROVIDERS}/1", {"api_base": "ftp://<x>"}, part=False)
    assert 'id="field-api_base-error"' in html


async def test_weights_of_a_model_go_before_those_of_its_providers(browser: Browser) -> None:
    fragment = await preview(browser, f"{MODELS}/new", {"name": "gpt", "weights": "main = 6\nsecond = 2"})
    assert percents(fragment) == ["75.0 %", "25.0 %"]
    fragment = await preview(browser, f"{MODELS}/new", {"name": "gpt", "weights": "main = 6\nsecond = 0"})
    assert percents(fragment) == ["100.0 %", "0.0 %"]
    assert "weight 0" in fragment
    assert "No provider serves this model" in await preview(browser, f"{MODELS}/new", {"name": "other"})
    assert "main: x is not a number" in await preview(
        browser, f"{MODELS}/new", {"name": "gpt", "weights": "main = x"}
    )
    assert (await browser.store.browser.page(StoredModel, None, 1)).value.items == []


async def test_what_the_shares_depend_on_is_said(browser: Browser) -> None:
    fragment = await preview(
        browser, f"{MODELS}/new", {"name": "gpt", "strategy": "least_busy", "affinity": "header:<x>"}
    )
    assert "Affinity" in fragment
    fragment = await preview(
        browser, f"{MODELS}/new", {"name": "gpt", "strategy": "least_busy", "affinity": "user"}
    )
    assert "While all are equally busy" in fragment
    assert "Over many values of user" in fragment


async def test_a_provider_of_every_name_has_a_share_of_any_other(browser: Browser) -> None:
    row_id = await browser.store.add_provider("all", weight=4)
    html = " ".join((await browser.get(f"{PROVIDERS}/{row_id}")).split())
    assert percents(html) == ["50.0 %", "100.0 %"]
    assert "any other name" in html
