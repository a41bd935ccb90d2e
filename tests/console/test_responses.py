"""What every response of the console carries: security headers, no inline code, and files that browsers may keep."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.console import addresses
from tests.console.markup import Markup
from tests.console.scene import Scene, signed_in

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_ASSET = re.compile(r"/console/assets/[a-z0-9_.-]+-[0-9a-f]{16}\.(css|js|svg)")


@pytest.fixture(scope="module")
def admin(scene: Scene) -> Iterator[httpx.Client]:
    with signed_in(scene) as client:
        yield client


def check_headers(response: httpx.Response) -> None:
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    for name, value in _HEADERS.items():
        assert response.headers[name] == value


@pytest.mark.parametrize("path", addresses.pages())
def test_a_page_has_its_headers_and_no_inline_code(scene: Scene, admin: httpx.Client, path: str) -> None:
    response = admin.get(addresses.fill(path, scene.places))
    assert response.status_code == (303 if path == "/console/sign-in" else 200), response.text
    check_headers(response)
    assert response.headers["cache-control"] == "no-store"
    assert Markup(response.text).forbidden() == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 307),
        ("/console", 303),
        ("/console/nowhere", 404),
        ("/console/tenants/999999999", 404),
        (f"/console/tenants/{'9' * 40}", 404),
        ("/console/assets/console-0000000000000000.css", 404),
        ("/console/tenants?cursor=nonsense", None),
        ("/console/%3Cscript%3Ealert(1)%3C/script%3E", 404),
    ],
)
def test_other_answers_have_them_too(admin: httpx.Client, path: str, status: int | None) -> None:
    response = admin.get(path)
    assert response.status_code < 500
    assert status in {None, response.status_code}
    check_headers(response)
    assert Markup(response.text).forbidden() == []


@pytest.mark.parametrize("path", addresses.writes())
def test_a_form_that_was_refused_has_them_too(scene: Scene, admin: httpx.Client, path: str) -> None:
    response = admin.post(addresses.fill(path, scene.places), headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 403
    check_headers(response)
    assert Markup(response.text).forbidden() == []


def test_files_are_named_by_their_content_and_kept_for_a_year(scene: Scene, admin: httpx.Client) -> None:
    loaded: set[str] = set()
    for path in addresses.of_signed_in(addresses.pages()):
        page = Markup(admin.get(addresses.fill(path, scene.places)).text)
        for tag, attributes in page.elements:
            if tag in {"script", "img", "link"}:
                loaded.add(attributes.get("src") or attributes["href"])
    loaded = {address for address in loaded if not address.startswith("data:")}
    assert loaded
    for address in sorted(loaded):
        assert _ASSET.fullmatch(address), address
        # Signed out: the page that signs in needs them.
        response = scene.gateway.http.get(address)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["x-content-type-options"] == "nosniff"
        check_headers(response)
        if address.endswith(".svg"):
            assert Markup(response.text).forbidden() == []


def test_nothing_is_loaded_from_elsewhere(scene: Scene, admin: httpx.Client) -> None:
    for path in addresses.of_signed_in(addresses.pages()):
        for tag, attributes in Markup(admin.get(addresses.fill(path, scene.places)).text).elements:
            if tag in {"script", "img", "link", "iframe", "source"}:
                address = attributes.get("src") or attributes.get("href", "")
                assert address.startswith(("/", "data:image/")), f"{path} loads {address}"


def test_texts_and_files_are_not_taken_for_pages(scene: Scene, admin: httpx.Client) -> None:
    export = admin.get("/console/requests/export")
    assert export.headers["content-type"].startswith("text/csv")
    assert export.headers["content-disposition"].startswith("attachment")
    check_headers(export)
    address = addresses.fill("/console/requests/{request_id}", scene.places)
    for link in Markup(admin.get(address).text).links():
        if "/value" in link:
            text = admin.get(link)
            assert text.headers["content-type"].startswith("text/plain")
            check_headers(text)


@pytest.mark.parametrize("path", ["/console/overview/live", "/console/first-run/live"])
def test_streams_have_them_too(admin: httpx.Client, path: str) -> None:
    with admin.stream("GET", path) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        check_headers(response)
        assert Markup(next(response.iter_text())).forbidden() == []
