"""The session's cookie: for this host over TLS alone, where there is TLS."""

from __future__ import annotations

import httpx
import pytest

from llm_gateway.console.app import make_console
from tests.fakes.console_app import ORIGIN, browser, services

SECURE = "https://gateway.test"


async def test_without_tls_the_cookie_is_http_only_and_strict() -> None:
    async with browser(role=None) as client:
        cookie = (await client.post("/console/sign-in", data={"key": "admin"})).headers["set-cookie"].lower()
    assert cookie.startswith("llm-gateway-session=admin;")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    assert "domain" not in cookie


async def test_with_tls_the_cookie_is_bound_to_the_host() -> None:
    transport = httpx.ASGITransport(make_console(services()))
    async with httpx.AsyncClient(transport=transport, base_url=SECURE, headers={"origin": SECURE}) as client:
        cookie = (await client.post("/console/sign-in", data={"key": "admin"})).headers["set-cookie"]
    assert cookie.startswith("__Host-llm-gateway-session=admin;")
    assert "Secure" in cookie
    assert "Path=/" in cookie


async def test_a_trusted_proxy_says_that_the_browser_speaks_tls() -> None:
    headers = {"x-forwarded-proto": "https"}
    async with browser(role=None) as client:
        reply = await client.post("/console/sign-in", data={"key": "admin"}, headers=headers)
        assert reply.headers["set-cookie"].startswith("__Host-")
    stranger = httpx.ASGITransport(make_console(services()), client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=stranger, base_url=ORIGIN, headers={"origin": ORIGIN}) as client:
        reply = await client.post("/console/sign-in", data={"key": "admin"}, headers=headers)
        assert reply.headers["set-cookie"].startswith("llm-gateway-session=")


@pytest.mark.parametrize(
    "cookie",
    [
        # Names that browsers let other hosts of the domain set.
        "\xa0__Host-llm-gateway-session=admin",
        "__Host-llm-gateway-session\x85=admin",
        "__host-llm-gateway-session=admin",
        "llm-gateway-session=admin",
        # Two: one of them may be another host's.
        "__Host-llm-gateway-session=admin; __Host-llm-gateway-session=viewer",
        '__Host-llm-gateway-session="admin"',
        "__Host-llm-gateway-session=" + "a" * 300,
        "__Host-llm-gateway-session=",
    ],
)
async def test_a_cookie_that_another_host_may_have_set_opens_nothing(cookie: str) -> None:
    assert await _status(cookie) == 303


@pytest.mark.parametrize("around", ["{}", "a=b; {};c=d", "{}; {}"])
async def test_a_cookie_is_found_among_others(around: str) -> None:
    assert await _status(around.format(*["__Host-llm-gateway-session=admin"] * 2)) == 200


async def _status(cookie: str) -> int:
    transport = httpx.ASGITransport(make_console(services()))
    async with httpx.AsyncClient(transport=transport, base_url=SECURE) as client:
        reply = await client.get("/console/design", headers={b"cookie": cookie.encode("latin-1")})
        return reply.status_code


async def test_signing_out_ends_the_session_and_the_cookie() -> None:
    made = services()
    async with browser(made) as client:
        reply = await client.post("/console/sign-out")
        assert 'llm-gateway-session="";' in reply.headers["set-cookie"]
        client.cookies.set("llm-gateway-session", "admin")
        assert (await client.get("/console/design")).status_code == 303
