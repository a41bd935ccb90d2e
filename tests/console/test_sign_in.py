"""Signing in: what opens a session, what ends it on every worker, and what survives a restart of all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import expect

from tests.conftest import Services
from tests.console import addresses
from tests.console.conftest import Visit
from tests.console.scene import VIEWER_KEY, Scene, signed_in
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.services import fresh_database

# Enough new connections to reach both workers.
_CONNECTIONS = 24
_ATTEMPTS_A_MINUTE = 10
_OF_PAGES = addresses.of_signed_in(addresses.pages())
_OF_FORMS = addresses.of_signed_in(addresses.writes())


@pytest.fixture
def stranger(scene: Scene) -> Iterator[httpx.Client]:
    """Return a browser that was never here."""
    with httpx.Client(base_url=scene.origin, timeout=15, trust_env=False, verify=False) as client:
        yield client


def from_address(scene: Scene, address: str) -> dict[str, str]:
    """Return the headers of a browser with an address of its own, whose failed attempts count for nobody else."""
    return {"origin": scene.origin, "x-forwarded-for": address}


async def test_a_key_opens_the_console_and_signing_out_closes_it(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene, key=None)
    page = await visiting.open("/console/tenants?search=nobody")
    assert urlsplit(page.url).path == "/console/sign-in"
    # The cursor stands in the field from the first frame on that Chromium draws.
    await expect(page.locator("#key")).to_be_focused()
    await page.keyboard.type(ADMIN_KEY)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/console/tenants?search=nobody")
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/console/sign-in")
    assert await visiting.context.cookies() == []
    await visiting.go(page, "/console/tenants")
    assert urlsplit(page.url).path == "/console/sign-in"


async def test_signing_out_forgets_the_conversation_of_the_tab(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene)
    page = await visiting.open("/console/tenants")
    await page.evaluate("for (const name of ['playground /x', 'other']) sessionStorage.setItem(name, 'said')")
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/console/sign-in")
    assert await page.evaluate("Object.keys(sessionStorage)") == ["other"]


async def test_a_wrong_key_is_refused_without_a_reason(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene, key=None, extra_http_headers={"x-forwarded-for": "192.0.2.1"})
    visiting.faults.expect_status(401)
    page = await visiting.open("/console/sign-in")
    said = set()
    for wrong in ("wrong", ADMIN_KEY[:-1], VIEWER_KEY.upper(), "<script>alert(1)</script>"):
        await page.fill("#key", wrong)
        await page.click("main button[type=submit]")
        said.add(await page.get_by_role("alert").inner_text())
        assert await page.input_value("#key") == ""
        assert wrong not in await page.content()
    assert said == {"This key does not open the console."}
    assert await visiting.context.cookies() == []


def test_attempts_are_limited_for_each_address(scene: Scene, stranger: httpx.Client) -> None:
    post = stranger.post
    guessing, other = (from_address(scene, address) for address in ("192.0.2.2", "192.0.2.3"))
    statuses = [
        post("/console/sign-in", data={"key": f"guess {number}"}, headers=guessing).status_code
        for number in range(_ATTEMPTS_A_MINUTE + 1)
    ]
    assert statuses == [401] * _ATTEMPTS_A_MINUTE + [429]
    refused = post("/console/sign-in", data={"key": ADMIN_KEY}, headers=guessing)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 61
    assert "set-cookie" not in refused.headers
    assert post("/console/sign-in", data={"key": ADMIN_KEY}, headers=other).status_code == 303


def test_a_session_that_was_revoked_is_out_on_both_workers_at_once(scene: Scene) -> None:
    with signed_in(scene, user_agent="revoked") as lost, signed_in(scene) as admin:
        cookie = dict(lost.cookies)

        def statuses() -> set[int]:
            # Each request on a connection of its own.
            found = set()
            for _ in range(_CONNECTIONS):
                with httpx.Client(
                    base_url=scene.origin, cookies=cookie, trust_env=False, verify=False
                ) as browser:
                    found.add(browser.get("/console/tenants").status_code)
            return found

        assert statuses() == {200}
        before = set(_sessions(admin))
        with signed_in(scene):
            newest = set(_sessions(admin)) - before
        assert len(newest) == 1
        own = re.search(
            r"/console/sessions/(\w+)/revoke", lost.get("/console/sessions").text.split("(this browser)")[1]
        )
        assert own is not None
        assert admin.post(f"/console/sessions/{own[1]}/revoke").status_code == 303
        assert statuses() == {303}
        assert admin.post(f"/console/sessions/{own[1]}/revoke").status_code == 404


def _sessions(client: httpx.Client) -> list[str]:
    return re.findall(r"/console/sessions/(\w+)/revoke", client.get("/console/sessions").text)


def test_a_session_survives_a_restart_of_all_workers(tmp_path: Path, services: Services) -> None:
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        gateway = GatewayProcess(
            tmp_path, WORKERS=2, DB_URL=url, SECRET_KEY="a-secret-key-0123456789-0123456789"
        )
        scene = Scene(gateway)
        try:
            gateway.start()
            with signed_in(scene) as client:
                gateway.stop()
                gateway.start()
                assert client.get("/console/tenants").status_code == 200
                assert client.post("/console/tenants/new", data={"name": "after"}).status_code == 303
                gateway.stop()
                # With another key, the sessions of the old one end.
                gateway.settings["ADMIN_KEY"] = "another-admin-key-0123456789"
                gateway.start()
                assert client.get("/console/tenants").status_code == 303
        finally:
            gateway.close()


def test_without_a_session_pages_lead_to_the_sign_in_and_forms_are_refused(
    scene: Scene, stranger: httpx.Client
) -> None:
    for path in _OF_PAGES:
        response = stranger.get(addresses.fill(path, scene.places))
        assert response.status_code == 303, path
        assert response.headers["location"].startswith("/console/sign-in"), path
    for path in _OF_FORMS:
        response = stranger.post(addresses.fill(path, scene.places), headers={"origin": scene.origin})
        assert response.status_code == 401, path
    for cookie in ("", "nonsense", "x" * 5000, "'; DROP TABLE sessions --"):
        response = stranger.get("/console/tenants", headers={"cookie": f"llm-gateway-session={cookie}"})
        assert response.status_code in {303, 431}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1"},
        {"origin": "SAME", "sec-fetch-site": "cross-site"},
        {"origin": "SAME", "sec-fetch-site": "same-site"},
        {"origin": "SAME", "sec-fetch-site": "none"},
        {"referer": "SAME/console"},
    ],
)
def test_forms_of_other_pages_are_refused(scene: Scene, headers: dict[str, str]) -> None:
    with signed_in(scene) as client:
        del client.headers["origin"]
        given = {name: value.replace("SAME", scene.origin) for name, value in headers.items()}
        for path in addresses.writes():
            response = client.post(addresses.fill(path, scene.places), headers=given)
            assert response.status_code == 403, path
        assert client.get("/console/tenants").status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/console//evil.example",
        "/console/../../evil",
        "/console/%2e%2e/v1",
        "/console@evil.example",
        "/consoleevil",
        "javascript:alert(1)",
        "/console\r\nset-cookie: a=b",
        "/v1/models",
        "",
    ],
)
def test_signing_in_leads_to_pages_of_the_console_alone(
    scene: Scene, stranger: httpx.Client, target: str
) -> None:
    response = stranger.post(
        "/console/sign-in", data={"key": ADMIN_KEY, "next": target}, headers={"origin": scene.origin}
    )
    assert response.status_code == 303
    address = urlsplit(str(response.url.join(response.headers["location"])))
    assert f"{address.scheme}://{address.netloc}" == scene.origin
    assert address.path == "/console" or address.path.startswith("/console/")
    assert "a" not in response.cookies


def test_the_cookie_is_for_this_host_and_out_of_reach_of_scripts(
    scene: Scene, stranger: httpx.Client
) -> None:
    sent = stranger.post(
        "/console/sign-in", data={"key": ADMIN_KEY}, headers={"origin": scene.origin}
    ).headers["set-cookie"]
    name, *flags = re.split("[;=] ?", sent)[0], *(flag.lower() for flag in re.split("; ?", sent)[1:])
    assert name == "llm-gateway-session"
    assert {"httponly", "samesite=strict", "path=/"} <= set(flags)
    assert "secure" not in flags
    assert not any(flag.startswith("domain") for flag in flags)


def test_behind_tls_the_cookie_is_secure(scene: Scene) -> None:
    # The gateway trusts the proxies of this machine.
    headers = from_address(scene, "192.0.2.4") | {"x-forwarded-proto": "https"}
    with httpx.Client(base_url=scene.origin, headers=headers, trust_env=False, verify=False) as browser:
        response = browser.post("/console/sign-in", data={"key": ADMIN_KEY})
        sent = response.headers["set-cookie"]
        assert sent.startswith("__Host-llm-gateway-session=")
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= set(re.split("; ?", sent.lower()))
        cookie = sent.partition(";")[0]
        assert browser.get("/console/tenants", headers={"cookie": cookie}).status_code == 200
        # The same token in a cookie that was not sent by TLS opens nothing.
        plain = cookie.removeprefix("__Host-")
        assert browser.get("/console/tenants", headers={"cookie": plain}).status_code == 303


def test_what_an_untrusted_proxy_says_is_not_believed(small_scene: Scene) -> None:
    headers = {"origin": small_scene.origin, "x-forwarded-proto": "https"}
    with httpx.Client(base_url=small_scene.origin, trust_env=False, verify=False) as stranger:
        response = stranger.post("/console/sign-in", data={"key": ADMIN_KEY}, headers=headers)
    assert response.headers["set-cookie"].startswith("llm-gateway-session=")
