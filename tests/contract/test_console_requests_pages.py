"""The pages of requests on every store: the list, its export, one request, its values and its route."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.stores import opened
from tests.fakes.usage_records import failed_attempt, record

CREATED = 1_750_000_000_000_000
HOSTILE = "\"><script>alert('x')</script>\u202e"


@pytest.fixture
async def browser(store_url: str | None, data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(store_url, data_dir) as store, console_browser(store) as browser:
        yield browser


@pytest.fixture
async def quick_browser(data_dir: Path) -> AsyncIterator[Browser]:
    """On SQLite alone: for what does not depend on the store."""
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        yield browser


async def stored(browser: Browser, *facts: UsageRecord | AttemptEnded) -> None:
    await browser.store.usage.upsert([msgspec.json.encode(fact) for fact in facts])


def rows_of(html: str) -> list[str]:
    """Return the ids of the requests that a list links to."""
    return re.findall(r'<td><a href="/console/requests/([^"?/]+)">', html)


async def test_requests_are_listed_newest_first_page_by_page(browser: Browser) -> None:
    await stored(browser, *(record(f"r{n:02}", created_at=CREATED + n) for n in range(7)))
    seen: list[str] = []
    path = "/console/requests?limit=3&credential=team"
    while path:
        html = await browser.get(path)
        seen += rows_of(html)
        found = re.search(r'href="([^"]+)">Next page', html)
        path = found.group(1).replace("&amp;", "&") if found else ""
        assert "First page" in html or len(seen) == 3
    assert seen == [f"r{n:02}" for n in reversed(range(7))]


async def test_filters_narrow_the_list_and_its_export(browser: Browser) -> None:
    await stored(
        browser,
        record("a", tenant="red", agent="coder", model="m1"),
        record("b", tenant="red", agent="other", model="m1"),
        record("c", tenant="blue", agent="coder", model="=cmd()"),
        record("d", outcome="error", status_code=502, error_type="upstream_cut", provider="p2"),
    )
    assert rows_of(await browser.get("/console/requests", tenant="red", agent="coder")) == ["a"]
    assert rows_of(await browser.get("/console/requests", outcome="error", provider="p2")) == ["d"]
    assert rows_of(await browser.get("/console/requests", request_id="b")) == ["b"]
    assert rows_of(await browser.get("/console/requests", since="2030-01-01")) == []

    html = await browser.get("/console/requests", agent="coder")
    link = re.search(r'href="([^"]+)">Export as CSV', html)
    assert link is not None
    answer = await browser.client.get(link.group(1))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    lines = answer.text.splitlines()
    assert len(lines) == 3
    # A spreadsheet must not run it.
    assert ",'=cmd()," in lines[1]


async def test_what_is_wrong_with_a_filter_stands_beside_its_field(quick_browser: Browser) -> None:
    browser = quick_browser
    await stored(browser, record("a"))
    html = await browser.get("/console/requests", 422, since="yesterday", model="gpt-4o")
    assert re.search(r'id="field-since-error">must be an ISO 8601 time', html)
    assert 'value="yesterday"' in html
    assert rows_of(html) == []
    html = await browser.get("/console/requests/export", 422, outcome="fine")
    assert "must be one of ok" in html
    await browser.get("/console/requests", 422, cursor="nonsense")


async def test_a_list_says_what_its_rows_are_about(quick_browser: Browser) -> None:
    browser = quick_browser
    await stored(
        browser,
        record(
            "flood",
            outcome="rejected",
            status_code=429,
            error_type="rate_limit_exceeded",
            requests=37,
            attempts=0,
            provider=None,
        ),
        record("cached", cache_hit=True, cost_nano_usd=0, cost_source="provider", attempts=0),
        record("unpriced", unpriced="unknown_model", cost_source="none"),
        record("paid", cost_nano_usd=1_234_000_000, cost_source="catalog", ttft_ms=31.0, attempts=3),
    )
    html = await browser.get("/console/requests")
    assert "\N{MULTIPLICATION SIGN}37" in html
    assert "Cache hit" in html
    assert ">unpriced</span>" in html
    assert "$1.234" in html
    assert "in 3 attempts" in html
    assert "31 ms" in html


async def test_a_list_that_may_lack_rows_says_so(quick_browser: Browser) -> None:
    browser = quick_browser
    assert "No request has been recorded yet" in await browser.get("/console/requests")
    browser.flush.succeeds = False
    assert "may be missing" in await browser.get("/console/requests")
    html = await browser.get("/console/requests/there-is-none", 503)
    assert "may follow later" in html
    browser.flush.succeeds = True
    assert "There is no usage row" in await browser.get("/console/requests/there-is-none", 404)
    await browser.get("/console/requests/a%00b", 404)


async def test_one_request_shows_everything(browser: Browser) -> None:
    await stored(
        browser,
        failed_attempt(
            "r", started_at=CREATED + 2_000, detail="the host refused", reason="connect", status=None
        ),
        record(
            "r",
            attempts=2,
            attempt_started_at=CREATED + 10_000,
            latency_ms=100.0,
            upstream_latency_ms=80.0,
            ttft_ms=30.0,
            cost_nano_usd=50_000,
            cost_source="override",
            cost_breakdown={"input_tokens": (3, 20_000), "output_tokens": (2, 30_000)},
            price_version="override-2",
            config_version=1,
            tags={"team": "red"},
            end_user="u-1",
        ),
    )
    html = await browser.get("/console/requests/r")
    assert 'aria-label="Attempt 1: main: from 2.0 ms to 4.5 ms"' in html
    assert 'aria-label="Attempt 2: main: from 10 ms to 90 ms"' in html
    assert "could not connect" in html
    assert "the host refused" in html
    assert "another provider" in html
    for cell in ("$0.00002", "$0.00003", "$0.00005", "override-2", "stated by the provider", "red"):
        assert cell in html
    assert "do not add up" not in html
    assert 'href="/console/requests?end_user=u-1"' in html
    assert 'href="/console/configuration/versions/1"' in html
    assert "Prompts and replies are not stored." in html
    assert "style=" not in html


async def test_an_error_is_explained(quick_browser: Browser) -> None:
    await stored(
        quick_browser,
        record(
            "r", outcome="error", status_code=504, error_type="upstream_timeout", latency_ms=0.0, attempts=0
        ),
    )
    html = await quick_browser.get("/console/requests/r")
    assert "did not respond in time" in html


async def test_long_values_are_cut_and_are_whole_behind_their_link(quick_browser: Browser) -> None:
    browser, long = quick_browser, "x" * 5_000_000
    await stored(browser, failed_attempt("r"), record("r", attempts=2))
    # The gateway stores no such values, and others may.
    await browser.store.sql(
        "UPDATE usage SET tags = :tags, client_request_id = :long, error_type = :long",
        tags=json.dumps({"big": long, "n" * 5000: "v"}),
        long=long,
    )
    await browser.store.sql("UPDATE usage_attempts SET detail = :long, reason = :long", long=long)
    html = await browser.get("/console/requests/r")
    assert len(html) < 60_000
    assert len(await browser.get("/console/requests")) < 60_000
    for name in ("tags.big", "attempts.1.detail", "client_request_id"):
        assert f"/console/requests/r/value?of={name}" in html
        answer = await browser.client.get("/console/requests/r/value", params={"of": name})
        assert answer.text == long
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
    await browser.get("/console/requests/r/value", 404, of="tags.none")


async def test_a_refusal_leads_to_what_refused(quick_browser: Browser) -> None:
    browser = quick_browser
    await stored(
        browser,
        record("r", outcome="rejected", error_type="insufficient_quota", attempts=0, credential="team a"),
        record("s", provider="main"),
    )
    html = await browser.get("/console/requests/r")
    assert 'href="/console/credentials?search=team+a"' in html
    assert '<a href="/console/budgets">Budgets</a>' in html
    assert "ended with" in await browser.get("/console/requests", provider="other")


async def test_hostile_values_are_text(quick_browser: Browser) -> None:
    browser = quick_browser
    names = (
        "model",
        "provider",
        "credential",
        "tenant",
        "agent",
        "end_user",
        "channel",
        "error_type",
        "endpoint",
    )
    changes: dict[str, Any] = dict.fromkeys(names, HOSTILE)
    await stored(
        browser,
        failed_attempt("r", provider=HOSTILE, detail=HOSTILE, reason=HOSTILE),
        record("r", **changes, tags={HOSTILE: HOSTILE}, unpriced=HOSTILE, attempts=2),
    )
    for path in ("/console/requests", "/console/requests/r", "/console/requests/r/route?by=now"):
        html = await browser.get(path)
        assert "<script>alert" not in html
        assert "&lt;script&gt;" in html
    html = await browser.get("/console/requests", 422, since=HOSTILE, model=HOSTILE)
    assert "<script>alert" not in html


async def test_a_route_is_explained_as_of_then_and_as_of_now(browser: Browser) -> None:
    store = browser.store
    provider = await store.add_provider("old", model_mapping={"gpt-4o": "gpt-4o-old"})
    await store.add_credential("team")
    assert store.reloader.status.version is not None
    version = store.reloader.status.version
    await stored(browser, record("r", config_version=version), record("refused", credential=None, model=None))
    await store.editor.update(
        provider, ProviderUpdate(provider_key="new", model_mapping={"gpt-4o": "gpt-4o-new"})
    )

    html = await browser.get("/console/requests/r/route")
    assert "As of then" in html
    assert f"version {version}</a>" in html
    assert "gpt-4o-old" in html
    assert "gpt-4o-new" not in html
    html = await browser.get("/console/requests/r/route", by="now")
    assert f"routed by version {version}" in html
    assert "gpt-4o-new" in html
    assert "gpt-4o-old" not in html

    await store.sql("UPDATE providers SET weight = 5")
    html = await browser.get("/console/requests/r/route")
    assert "without the gateway" in html
    assert "By the configuration in force now" in html
    await browser.get("/console/requests/refused/route", 404)
    assert "Explain its route" not in await browser.get("/console/requests/refused")


async def test_a_viewer_may_look(data_dir: Path) -> None:
    async with opened(None, data_dir) as store, console_browser(store, "viewer") as browser:
        await stored(browser, record("r"))
        for path in ("/console/requests", "/console/requests/r", "/console/requests/export"):
            await browser.get(path)
