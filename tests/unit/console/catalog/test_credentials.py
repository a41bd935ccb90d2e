"""The pages of credentials: keys that are shown once, states, and what stands beside a field."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.accounting.use_limit import account_key
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.ports.use_limits import Claim, HeldUse
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

KEY = re.compile(r"sk-[A-Za-z0-9_-]{43}")
PATH = "/console/credentials"


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        yield browser


async def stored(browser: Browser) -> list[StoredCredential]:
    return list((await browser.store.browser.page(StoredCredential, None, 100)).value.items)


def opens(browser: Browser, key: str) -> bool:
    snapshot = browser.store.holder.current
    assert snapshot is not None
    return snapshot.account(browser.store.hasher.hash(key)) is not None


def text_of(html: str) -> str:
    """Return the text of a page, as one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


async def test_a_generated_key_is_shown_once_with_a_line_to_try_it(browser: Browser) -> None:
    await browser.store.add_provider(model_mapping={"gpt-4o": "gpt-4o"})
    answer = await browser.fill(f"{PATH}/new", name="it's")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    keys = set(KEY.findall(answer.text))
    assert len(keys) == 1
    key = keys.pop()
    assert opens(browser, key)
    text = text_of(answer.text)
    assert "curl -N http://gateway.test/v1/chat/completions" in text
    assert f"-H 'Authorization: Bearer {key}'" in text
    assert '"model": "gpt-4o"' in text
    assert f'api_key="{key}"' in text
    assert "YOUR_KEY" not in text
    assert "http://gateway.test/v1 " in text
    for path in (PATH, f"{PATH}/1", f"{PATH}/1/rotate"):
        assert key not in await browser.get(path)


async def test_sending_the_form_of_a_new_credential_again_makes_no_second_one(browser: Browser) -> None:
    fields = form_fields(await browser.get(f"{PATH}/new")) | {"name": "app"}
    first = await browser.post(f"{PATH}/new", fields)
    again = await browser.post(f"{PATH}/new", fields)
    assert again.status_code == 409
    assert not KEY.search(again.text)
    assert "exists already" in again.text
    assert len(await stored(browser)) == 1
    assert opens(browser, KEY.findall(first.text)[0])


async def test_the_page_of_a_new_key_tells_the_script_where_a_reload_leads(browser: Browser) -> None:
    answer = await browser.fill(f"{PATH}/new", name="app")
    assert f'data-reload="{PATH}/1"' in answer.text
    assert "credentials-" in answer.text


async def test_a_key_of_ones_own_is_not_shown(browser: Browser) -> None:
    answer = await browser.fill(f"{PATH}/new", name="app", key="a-key-of-my-own")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=created")
    assert opens(browser, "a-key-of-my-own")
    assert "a-key-of-my-own" not in await browser.get(f"{PATH}/1")


async def test_a_key_that_is_refused_is_not_sent_back(browser: Browser) -> None:
    answer = await browser.fill(f"{PATH}/new", name="app", key="a key\x00", rate_limit="many")
    assert answer.status_code == 422
    assert "a key" not in answer.text
    assert 'id="field-rate_limit-error">must be a number' in answer.text


async def test_models_are_all_listed_or_none(browser: Browser) -> None:
    assert (await browser.fill(f"{PATH}/new", name="all")).status_code == 200
    await browser.fill(f"{PATH}/new", name="listed", access="listed", allowed_models="a\r\n b* \r\n\r\n")
    # What is listed does not count when no models are chosen.
    await browser.fill(f"{PATH}/new", name="none", access="none", allowed_models="a")
    assert [row.allowed_models for row in await stored(browser)] == [None, ("a", "b*"), ()]
    answer = await browser.fill(f"{PATH}/new", name="nothing", access="listed")
    assert answer.status_code == 422
    assert 'id="field-allowed_models-error">name one model at least' in answer.text


@pytest.mark.parametrize(
    ("typed", "errors"),
    [
        ({"name": ""}, {"name": "is needed"}),
        ({"tenant": "nobody"}, {"tenant": "there is no tenant"}),
        ({"limits__tokens_per_day": "1.5"}, {"limits-tokens_per_day": "valid integer"}),
        ({"cache__ttl": "60"}, {"cache-is_enabled": "choose yes or no"}),
        (
            {"expires_at": "tomorrow", "limits__requests_per_day": "-1"},
            {
                "expires_at": "must be a time in ISO 8601",
                "limits-requests_per_day": "greater than or equal to 0",
            },
        ),
    ],
)
async def test_errors_stand_beside_their_fields(
    browser: Browser, typed: dict[str, str], errors: dict[str, str]
) -> None:
    answer = await browser.fill(f"{PATH}/new", **({"name": "app"} | typed))
    assert answer.status_code == 422
    found = dict(re.findall(r'class="error" id="field-([^"]+)-error">([^<]*)', answer.text))
    assert found.keys() == errors.keys()
    for name, text in errors.items():
        assert text in found[name]


async def test_states_are_those_that_requests_meet(browser: Browser) -> None:
    for name in ("tenants", "projects"):
        await browser.fill(f"/console/{name}/new", name="closed", is_enabled=None)
    cases: dict[str, dict[str, Any]] = {
        "on": {},
        "off": {"is_enabled": None},
        "over": {"expires_at": "2020-01-01"},
        "later": {"expires_at": "2099-01-01"},
        "shut": {"tenant": "closed"},
        "stopped": {"project": "closed"},
    }
    for name, fields in cases.items():
        await browser.fill(f"{PATH}/new", name=name, **fields)
    await browser.store.editor.revoke_credential(1)
    html = await browser.get(PATH)
    badges = [re.findall(r'class="badge [^"]*">([^<]+)', row) for row in html.split("<tr>")[2:]]
    assert badges == [
        ["Revoked"],
        ["Disabled"],
        ["Expired"],
        ["Enabled"],
        ["Enabled", "Tenant disabled"],
        ["Enabled", "Project disabled"],
    ]


async def test_names_are_escaped_and_suggested(browser: Browser) -> None:
    name = "<script>alert('1')</script>\"&"
    await browser.fill("/console/tenants/new", name=name)
    await browser.fill(f"{PATH}/new", name=name, tenant=name, access="listed", allowed_models=name)
    for path in (PATH, f"{PATH}/1", f"{PATH}/new", f"{PATH}/1/revoke", f"{PATH}/1/delete"):
        html = await browser.get(path)
        assert "<script>alert" not in html
    assert '<option value="&lt;script&gt;' in await browser.get(f"{PATH}/new")
    assert "credential=%3Cscript%3E" in await browser.get(PATH)


async def test_the_use_of_limits_is_shown_as_it_is_counted(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="app", limits__requests_per_day="5", limits__tokens_per_day="100")
    use = browser.services.use
    claim = Claim(account_key("credential", "1"), Limits(requests_per_day=5, tokens_per_day=100), 30)
    first, second = use.hold([claim]), use.hold([claim])
    assert isinstance(first, HeldUse)
    assert isinstance(second, HeldUse)
    use.settle(first, 20)
    text = text_of(await browser.get(f"{PATH}/1"))
    assert "this credential requests per day 2 0 5" in text
    assert "this credential tokens per day 20 30 100" in text


async def test_the_page_of_one_shows_the_budgets_that_its_requests_count_in(browser: Browser) -> None:
    await browser.fill("/console/tenants/new", name="acme")
    await browser.fill(f"{PATH}/new", name="app", tenant="acme")
    for scope, subject in (("all", ""), ("credential", "app"), ("tenant", "acme"), ("credential", "other")):
        answer = await browser.fill(
            "/console/budgets/new",
            name=f"{scope} {subject}".strip(),
            scope=scope,
            subject=subject,
            amount_usd="5",
        )
        assert answer.status_code == 303
    html = await browser.get(f"{PATH}/1")
    assert re.findall(r'href="/console/budgets/\d+">([^<]+)', html) == [
        "all",
        "credential app",
        "tenant acme",
    ]
    assert "$0.00</data> spent" in html
    assert 'href="/console/budgets/new?scope=credential&amp;subject=app"' in html


async def test_a_list_is_cut_into_pages(browser: Browser) -> None:
    for number in range(51):
        await browser.store.add_credential(f"c{number}")
    html = await browser.get(PATH)
    assert html.count('<td class="end">') == 50
    assert "Next page" in html
    assert "c50" not in html
    assert "c50" in await browser.get(PATH, search="c50")


async def test_a_viewer_sees_credentials_and_changes_none(browser: Browser) -> None:
    await browser.fill(f"{PATH}/new", name="app")
    fields = form_fields(await browser.get(f"{PATH}/1/revoke"))
    await browser.sign_in("viewer")
    html = await browser.get(f"{PATH}/1")
    assert "app" in html
    assert "Revoke" not in html
    assert "Revoke for good</button>" not in await browser.get(f"{PATH}/1/revoke")
    for verb in ("revoke", "rotate", "disable"):
        assert (await browser.post(f"{PATH}/1/{verb}", fields)).status_code == 403
    assert (await browser.post(f"{PATH}/new", {"name": "x"})).status_code == 403
    assert [row.revoked_at for row in await stored(browser)] == [None]
