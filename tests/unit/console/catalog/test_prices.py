"""The pages of prices: pairs of units and USD, and prices that look like a mistake."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.prices import StoredPrice
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.stores import opened

PATH = "/console/prices"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_provider("openai", model_mapping={"m": "gpt-4o", "<n>": "<n>"})
        yield browser


async def send(browser: Browser, prices: str, **typed: str) -> tuple[int, dict[str, str]]:
    """Send a new price; return the status and what stands beside fields."""
    values = {"provider": "openai", "upstream_model": "gpt-4o", "prices": prices} | typed
    answer = await browser.fill(f"{PATH}/new", **values)
    return answer.status_code, dict(re.findall(r'class="error" id="field-(.+?)-error">([^<]*)', answer.text))


async def test_a_price_is_stored_and_shown(browser: Browser) -> None:
    assert await send(browser, "input_tokens = 1.25\r\n\r\noutput_tokens=5") == (303, {})
    found = (await browser.store.browser.get(StoredPrice, 1)).value
    assert found.prices == {"input_tokens": "1.25", "output_tokens": "5"}
    html = await browser.get(PATH)
    assert "$1.25" in html
    assert ">Applies<" in html
    html = await browser.get(f"{PATH}/1")
    assert "input_tokens = 1.25\noutput_tokens = 5</textarea>" in html
    assert "In force now for gpt-4o at openai" in html
    assert ">Set here<" in html


async def test_a_price_that_looks_like_a_mistake_is_questioned_beside_the_field(browser: Browser) -> None:
    status, errors = await send(browser, "input_tokens = 0.0000025\noutput_tokens = 10")
    assert (status, list(errors)) == (422, ["prices"])
    assert errors["prices"].startswith("input_tokens: 0.0000025 looks like a price per token")
    assert "did you mean 2.5?" in errors["prices"]
    confirmed = {"confirm_magnitude": "yes"}
    assert await send(browser, "input_tokens = 0.0000025\noutput_tokens = 10", **confirmed) == (303, {})


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ("", "is needed"),
        ("input_tokens", "each line must be `name = value`"),
        ("input_tokens = free", "input_tokens: must be USD as text or a number, such as 2.5"),
        ("input_token = 1", "similar units are"),
        ("input_tokens = 1\ninput_tokens = 2", "input_tokens is there twice"),
    ],
)
async def test_prices_that_cannot_be_are_refused_beside_the_field(
    browser: Browser, prices: str, message: str
) -> None:
    status, errors = await send(browser, prices)
    assert (status, list(errors)) == (422, ["prices"])
    assert message in errors["prices"]


async def test_times_are_checked_and_say_whether_a_price_applies(browser: Browser) -> None:
    prices = "input_tokens = 2\noutput_tokens = 8"
    status, errors = await send(browser, prices, valid_from="2026-01-01", valid_until="2025-01-01")
    assert (status, list(errors)) == (422, ["valid_until"])
    await send(browser, prices, valid_from="2099-01-01")
    await send(browser, prices, valid_until="2020-01-01")
    html = await browser.get(PATH)
    assert ">Not yet<" in html
    assert ">Ended<" in html
    assert 'datetime="2099-01-01T00:00:00.000Z"' in html


async def test_providers_models_and_units_are_suggested(browser: Browser) -> None:
    html = await browser.get(f"{PATH}/new")
    assert '<datalist id="providers"><option value="openai">' in html
    assert '<option value="gpt-4o"></option><option value="&lt;n&gt;"></option>' in html
    assert '<code>cache_read_tokens</code> <span class="remark">per 1,000,000</span>' in html
    assert '<code>web_searches</code> <span class="remark">per 1,000</span>' in html


async def test_names_are_escaped(browser: Browser) -> None:
    name = "<script>alert('1')</script>\"&"
    await send(browser, "requests = 1", provider=name, upstream_model=name)
    for path in (PATH, f"{PATH}/1", f"{PATH}/1/delete"):
        assert "<script>alert" not in await browser.get(path)


async def test_a_viewer_sees_prices_and_sets_none(browser: Browser) -> None:
    await send(browser, "input_tokens = 2\noutput_tokens = 8")
    await browser.sign_in("viewer")
    assert "input_tokens = 2" in await browser.get(f"{PATH}/1")
    assert (await browser.post(f"{PATH}/new", {})).status_code == 403
