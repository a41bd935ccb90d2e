"""The look-up of what a request to a model of a provider is priced by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

PATH = "/console/prices/in-force"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_provider("openai", model_mapping={"m": "gpt-4o"}, price_provider="openai")
        await store.add_provider("plain", provider_type="plain")
        yield browser


async def test_prices_of_the_price_book(browser: Browser) -> None:
    html = await browser.get(PATH, provider="openai", model="gpt-4o")
    assert ">Price book<" in html
    assert (
        '<code>input_tokens</code></td><td class="number">$2.50</td><td class="number">1,000,000</td>' in html
    )


async def test_prices_that_were_set(browser: Browser) -> None:
    await browser.fill(
        "/console/prices/new",
        provider="openai",
        upstream_model="gpt-4*",
        prices="input_tokens = 2\noutput_tokens = 8",
        valid_from="2026-01-01",
    )
    html = await browser.get(PATH, provider="openai", model="gpt-4o")
    assert ">Set here<" in html
    assert "override-1-" in html
    assert ">Price book<" in await browser.get(PATH, provider="openai", model="gpt-4o", at="2025-12-31")
    # Of a glob nobody asks what applies now.
    assert "In force now" not in await browser.get("/console/prices/1")


async def test_prices_that_are_not_known(browser: Browser) -> None:
    html = await browser.get(PATH, provider="openai", model="a-model-of-nobody")
    assert ">Unknown<" in html
    assert "The price book does not have this model" in html
    assert "price_provider" in await browser.get(PATH, provider="plain", model="m")


async def test_the_form_of_a_new_price_begins_with_those_in_force(browser: Browser) -> None:
    html = await browser.get(PATH, provider="openai", model="gpt-4o")
    link = html.split('class="button " href="')[1].split('"')[0].replace("&amp;", "&")
    fields = form_fields(await browser.get(link))
    assert (fields["provider"], fields["upstream_model"]) == ("openai", "gpt-4o")
    assert "input_tokens = 2.5" in fields["prices"]
    assert (await browser.post("/console/prices/new", fields)).status_code == 303


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"provider": "nobody", "model": "m"}, "There is no provider"),
        ({"provider": "openai", "model": ""}, "Name a provider and a model"),
        ({"provider": "openai", "model": "m", "at": "tomorrow"}, "at must be an ISO 8601 time"),
        ({"provider": "<script>alert(1)</script>", "model": "\0"}, "There is no provider"),
    ],
)
async def test_what_cannot_be_looked_up_is_explained(
    browser: Browser, query: dict[str, str], message: str
) -> None:
    html = await browser.get(PATH, 422, **query)
    assert message in html
    assert "<script>alert" not in html


async def test_the_form_alone(browser: Browser) -> None:
    html = await browser.get(PATH)
    assert 'role="alert"' not in html
    assert '<option value="gpt-4o">' in html
