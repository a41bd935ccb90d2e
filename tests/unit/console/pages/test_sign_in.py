"""Signing in and out, and who is signed in."""

from __future__ import annotations

from typing import Any

from tests.fakes.console_app import browser, services


async def test_a_key_opens_a_session_and_leads_back() -> None:
    async with browser(role=None) as client:
        form = {"key": "admin", "next": "/console/tenants?search=x"}
        reply = await client.post("/console/sign-in", data=form)
        assert reply.status_code == 303
        assert reply.headers["location"] == "/console/tenants?search=x"
        assert (await client.get("/console/design")).status_code == 200


async def test_what_a_query_holds_leads_back_too() -> None:
    async with browser(role=None) as client:
        form = {"key": "admin", "next": "/console/requests?model=\u65e5%E6%97%A5&a=%0d%0ab"}
        reply = await client.post("/console/sign-in", data=form)
        assert reply.headers["location"] == "/console/requests?model=%E6%97%A5%E6%97%A5&a=%0d%0ab"
        assert (await client.get("/console/design")).status_code == 200


async def test_a_form_that_needs_no_session_is_small() -> None:
    async with browser(role=None) as client:
        reply = await client.post("/console/sign-in", data={"key": "a" * 20_000})
    assert reply.status_code == 413
    assert "larger than 16 KiB" in reply.text


async def test_a_wrong_key_is_not_told_why_and_not_shown() -> None:
    async with browser(role=None) as client:
        reply = await client.post("/console/sign-in", data={"key": "guess-1", "next": "//evil.test"})
    assert reply.status_code == 401
    assert "This key does not open the console." in reply.text
    assert "guess-1" not in reply.text
    assert "evil.test" not in reply.text


async def test_too_many_attempts_say_when_to_try_again() -> None:
    async with browser(role=None) as client:
        reply = await client.post("/console/sign-in", data={"key": "slow down"})
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "7"


async def test_signing_in_again_ends_the_session_that_the_browser_had() -> None:
    made: Any = services()
    async with browser(made, role="viewer") as client:
        assert (await client.post("/console/sign-in", data={"key": "wrong"})).status_code == 401
        assert made.sessions.ended == []
        assert (await client.post("/console/sign-in", data={"key": "admin"})).status_code == 303
    assert made.sessions.ended == ["viewer"]


async def test_a_browser_that_is_signed_in_need_not_sign_in() -> None:
    async with browser() as client:
        reply = await client.get("/console/sign-in?next=/console/design")
    assert reply.headers["location"] == "/console/design"


async def test_sessions_are_listed_and_can_be_ended() -> None:
    made: Any = services()
    async with browser(made) as client:
        page = (await client.get("/console/sessions")).text
        assert "192.0.2.7" in page
        assert "(this browser)" in page
        reply = await client.post("/console/sessions/admin-session/revoke")
        assert reply.headers["location"] == "/console/sessions?done=revoked"
        assert (await client.post("/console/sessions/gone/revoke")).status_code == 404
    assert made.sessions.ended == ["admin-session", "gone"]


async def test_all_other_sessions_can_be_ended_at_once() -> None:
    made: Any = services()
    async with browser(made) as client:
        assert "End all others" in (await client.get("/console/sessions")).text
        reply = await client.post("/console/sessions/revoke-others")
        assert reply.headers["location"] == "/console/sessions?done=revoked_others"
        assert "All other sessions have ended." in (await client.get(reply.headers["location"])).text
    assert made.sessions.ended == ["viewer-session"]


async def test_a_viewer_sees_sessions_without_buttons() -> None:
    async with browser(role="viewer") as client:
        assert "/revoke" not in (await client.get("/console/sessions")).text
