"""The pages of providers: what is known of each, switches, forms that keep secrets, and what would be lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.ports.workers import SharedDeploymentState
from tests.fakes.console_client import Browser, FakeDeploymentStates, console_browser
from tests.fakes.stores import opened

PATH = "/console/providers"
HOSTILE = "<script>alert(1)<& \" ' \N{HEBREW LETTER ALEF}"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        yield browser


def states(browser: Browser) -> FakeDeploymentStates:
    found = browser.services.deployment_states
    assert isinstance(found, FakeDeploymentStates)
    return found


async def stored(browser: Browser, row_id: int) -> StoredProvider:
    return (await browser.store.browser.get(StoredProvider, row_id)).value


async def test_an_empty_list_says_what_to_do(browser: Browser) -> None:
    html = await browser.get(PATH)
    assert "no model is served" in html
    assert f'href="{PATH}/new"' in html


async def test_the_list_shows_what_is_known_of_each(browser: Browser) -> None:
    await browser.store.add_provider("main", model_mapping={"gpt": "up", "only": "up"}, weight=1234)
    await browser.store.add_provider("second", model_mapping={"gpt": "up"}, is_enabled=False)
    await browser.store.add_provider(HOSTILE, model_mapping={"<img src=x>": "<b>"})
    states(browser).healthy = {"main": False, HOSTILE: True}
    states(browser).shared = [
        SharedDeploymentState(
            provider_key="main",
            upstream_model="<up>",
            open=1,
            half_open=0,
            closed=1,
            trial_in=4.5,
            in_flight=3,
        )
    ]
    html = await browser.get(PATH)
    for text in (
        "http://127.0.0.1:9/v1",
        "1,234",
        "Enabled",
        "Disabled",
        "Failing",
        "Healthy",
        "No traffic yet",
    ):
        assert text in html
    assert "&lt;up&gt;: open in 1 of 2 workers, next trial in 4.50 s" in html
    assert "Served by it alone: <code>gpt</code>, <code>only</code>" in " ".join(html.split())
    assert "&lt;img src=x&gt;" in html
    assert "<img src=x>" not in html
    assert "<script>alert" not in html


async def test_a_provider_is_switched_in_the_list_and_the_search_stays(browser: Browser) -> None:
    row_id = await browser.store.add_provider("main")
    html = await browser.get(PATH, search="ma")
    assert f'action="{PATH}/{row_id}/disable"' in html
    answer = await browser.post(f"{PATH}/{row_id}/disable", {"search": "ma"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=disabled&search=ma")
    assert (await stored(browser, row_id)).is_enabled is False
    assert "The provider was disabled" in await browser.get(PATH, done="disabled")
    answer = await browser.post(f"{PATH}/{row_id}/enable", {})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=enabled")
    assert (await stored(browser, row_id)).is_enabled is True
    assert (await browser.post(f"{PATH}/99/enable", {})).status_code == 404


async def test_viewers_see_everything_and_change_nothing(browser: Browser) -> None:
    row_id = await browser.store.add_provider("main", secret=Secret("sk-the-secret-of-main"))
    await browser.sign_in("viewer")
    assert "/disable" not in await browser.get(PATH)
    html = await browser.get(f"{PATH}/{row_id}")
    assert 'name="weight"' not in html
    assert "http://127.0.0.1:9/v1" in html
    for path in ("", "/disable", "/delete", "/shares", "/test", "/offers", "/models"):
        assert (await browser.post(f"{PATH}/{row_id}{path}", {})).status_code == 403


async def test_a_secret_is_stored_and_never_shown(browser: Browser) -> None:
    secret = "sk-the-secret-of-main"
    answer = await browser.fill(
        f"{PATH}/new", provider_key="main", api_base="http://127.0.0.1:9", api_key=secret
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}/1?done=created"), "to test it"
    (provider,) = (await browser.store.catalog.load()).providers
    assert (provider.secret, provider.weight, provider.is_enabled) == (Secret(secret), 1, True)
    page = f"{PATH}/{provider.id}"
    assert secret not in await browser.get(page) + await browser.get(PATH)
    answer = await browser.fill(page, api_key="sk-another-secret", weight="many")
    assert answer.status_code == 422
    assert "sk-another" not in answer.text
    assert "must be a number" in answer.text
    assert "Type it again: a page never holds it." in answer.text
    await browser.fill(page, weight="5")
    (kept,) = (await browser.store.catalog.load()).providers
    assert (kept.secret, kept.weight) == (Secret(secret), 5), "left empty, the key stays"
    await browser.fill(page, **{"api_key.remove": "yes"})
    (cleared,) = (await browser.store.catalog.load()).providers
    assert cleared.secret is None
    assert "api_key.remove" not in await browser.get(page), "there is none to remove"


async def test_a_reference_to_a_variable_is_shown(browser: Browser) -> None:
    row_id = await browser.store.add_provider("main", secret=Secret("env:PATH"))
    assert "env:PATH (stays unless you type another)" in await browser.get(f"{PATH}/{row_id}")


async def test_faults_stand_beside_their_fields(browser: Browser) -> None:
    answer = await browser.fill(
        f"{PATH}/new",
        provider_key="a/b",
        api_base="ftp://x",
        weight="-1",
        model_mapping="gpt = up\nnonsense",
        oauth2__client_id="me",
    )
    assert answer.status_code == 422
    assert "this one is not: nonsense" in answer.text
    answer = await browser.fill(f"{PATH}/new", provider_key="a/b", weight="-1", oauth2__client_id="me")
    assert answer.status_code == 422
    for field in ("provider_key", "weight", "oauth2-token_url"):
        assert f'id="field-{field}-error"' in answer.text
    answer = await browser.fill(f"{PATH}/new", provider_key="a", api_base="ftp://x")
    assert answer.status_code == 422
    assert 'id="field-api_base-error"' in answer.text


async def test_a_kind_that_is_not_known_stays_chosen(browser: Browser) -> None:
    row_id = await browser.store.add_provider("main")
    await browser.store.sql("UPDATE providers SET provider_type = 'gone'")
    html = await browser.get(f"{PATH}/{row_id}")
    assert '<option value="gone" selected>gone (not known to this gateway)</option>' in html


async def test_deleting_says_what_nobody_would_serve(browser: Browser) -> None:
    first = await browser.store.add_provider("first", model_mapping={"both": "up", "only<1>": "up"})
    second = await browser.store.add_provider("second", model_mapping={"both": "up"})
    html = await browser.get(f"{PATH}/{first}/delete")
    assert "No other provider takes requests for <code>only&lt;1&gt;</code>." in " ".join(html.split())
    assert "is served by another provider" in await browser.get(f"{PATH}/{second}/delete")
    assert "It alone serves <code>only&lt;1&gt;</code>" in " ".join(
        (await browser.get(f"{PATH}/{first}")).split()
    )
    answer = await browser.fill(f"{PATH}/{first}/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=deleted")


async def test_lists_are_bounded(browser: Browser) -> None:
    mapping = {f"model-{number}": "up" for number in range(300)}
    row_id = await browser.store.add_provider("main", model_mapping=mapping)
    html = await browser.get(PATH)
    assert "and 295 more" in html
    assert "and 297 more" in html, "of those that it serves alone"
    html = await browser.get(f"{PATH}/{row_id}")
    assert "And 280 more models." in html
