"""Around every page: a session, forms from this gateway alone, security headers, and errors as pages."""

from __future__ import annotations

import re
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from llm_gateway.core.errors import Unavailable
from tests.fakes.console_app import COOKIE, browser, services


async def test_without_a_session_a_page_leads_to_the_sign_in_and_back() -> None:
    async with browser(role=None) as client:
        reply = await client.get("/console/tenants?search=a b")
    assert reply.status_code == 303
    assert reply.headers["location"] == "/console/sign-in?next=%2Fconsole%2Ftenants%3Fsearch%3Da%2520b"


async def test_links_stay_below_the_prefix() -> None:
    async with browser(role=None, root="/gw") as client:
        assert (await client.get("/console")).headers["location"] == "/gw/console/sign-in"
    async with browser(root="/gw") as client:
        page = (await client.get("/console/design")).text
    assert 'href="/gw/console/tenants"' in page
    assert 'href="/console' not in page
    assert 'src="/console' not in page


@pytest.mark.parametrize("path", ["/console/design", "/console/nothing", "/console/sign-in", "/", "/console"])
async def test_every_response_has_the_security_headers(path: str) -> None:
    async with browser() as client:
        reply = await client.get(path)
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": ""},
        {"origin": "http://["},
        {"origin": "http://gateway.test@evil.test"},
    ],
)
async def test_a_form_of_another_site_is_refused(headers: dict[str, str]) -> None:
    async with browser() as client:
        reply = await client.post("/console/tenants/new", headers=headers, data={"name": "x"})
    assert reply.status_code == 403
    assert "not sent by a page of this gateway" in reply.text


async def test_sec_fetch_site_is_believed_before_the_origin() -> None:
    async with browser() as client:
        headers = {"sec-fetch-site": "same-origin", "origin": "http://behind-a-proxy.test"}
        reply = await client.post("/console/sign-out", headers=headers)
    assert reply.status_code == 303


async def test_a_viewer_may_look_and_sign_out_and_nothing_else() -> None:
    async with browser(role="viewer") as client:
        assert (await client.get("/console/design")).status_code == 200
        reply = await client.post("/console/tenants/new", data={"name": "x"})
        assert reply.status_code == 403
        assert "Sign in with the admin key" in reply.text
        assert (await client.post("/console/sign-out")).status_code == 303


async def test_a_script_is_told_in_json_that_its_session_has_ended() -> None:
    async with browser(role=None) as client:
        reply = await client.get("/console/overview", headers={"sec-fetch-dest": "empty"})
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "signed_out"


async def test_a_form_of_an_ended_session_is_not_forgotten_silently() -> None:
    async with browser(role=None) as client:
        reply = await client.post("/console/tenants/new", data={"name": "x"})
    assert reply.status_code == 401
    assert "Your session has ended" in reply.text


async def test_errors_are_pages_with_what_happened() -> None:
    async with browser() as client:
        missing = await client.get("/console/<script>alert(1)</script>")
        wrong = await client.post("/console/design")
    assert missing.status_code == 404
    assert "<script>alert" not in missing.text
    assert "There is no page at /console/&lt;script&gt;" in missing.text
    assert wrong.status_code == 405
    assert "does not take POST" in wrong.text


async def test_a_database_that_is_away_is_said_and_an_internal_error_tells_nothing() -> None:
    away = Mock(page=AsyncMock(side_effect=Unavailable("The database does not answer.", retry_after=3)))
    async with browser(services(catalog=away)) as client:
        reply = await client.get("/console/tenants")
    assert reply.status_code == 503
    assert "The database does not answer." in reply.text
    assert reply.headers["retry-after"] == "3"
    broken = Mock(page=AsyncMock(side_effect=RuntimeError("secret-text")))
    async with browser(services(catalog=broken)) as client:
        reply = await client.get("/console/tenants")
    assert reply.status_code == 500
    assert "secret-text" not in reply.text


async def test_styles_need_no_database() -> None:
    sessions = Mock(find=AsyncMock(side_effect=Unavailable("The database does not answer.")))
    async with browser(services(sessions=sessions)) as client:
        reply = await client.get("/console/design")
        assert reply.status_code == 503
        link = re.search(r'href="(/console/assets/console-[^"]+)"', reply.text)
        assert link is not None
        assert (await client.get(link[1])).status_code == 200


@pytest.mark.parametrize("path", ["/console/tenants/", "/console/configuration/versions/"])
@pytest.mark.parametrize("digits", [19, 20, 5000])
async def test_an_id_of_any_length_is_no_fault_of_the_gateway(path: str, digits: int) -> None:
    async with browser() as client:
        reply = await client.get(path + "9" * digits)
    assert reply.status_code == 404


async def test_a_slash_at_the_end_leads_to_the_console_too() -> None:
    async with browser() as client:
        assert (await client.get("/console/")).headers["location"] == "/console/overview"


async def test_a_form_that_is_too_large_ends_its_connection() -> None:
    async with browser() as client:
        reply = await client.post("/console/tenants/new", data={"name": "x" * 3_000_000})
    assert reply.status_code == 413
    assert reply.headers["connection"] == "close"
    assert "larger than 2 MiB" in reply.text


async def test_a_revoked_session_is_out_at_once() -> None:
    made: Any = services()
    async with browser(made) as client:
        assert (await client.get("/console/design")).status_code == 200
        await made.sessions.sign_out(client.cookies[COOKIE])
        assert (await client.get("/console/design")).status_code == 303
