"""Links stay within the console, and a sign-in leads nowhere else."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from llm_gateway.console.links import Links, safe_target
from llm_gateway.console.services import with_services
from tests.fakes.console_app import services


def _links(root: str = "", path: str = "/console/tenants/7") -> Links:
    request = Request({"type": "http", "path": path, "headers": []})
    with_services(request, services(), root)
    return Links(request)


def test_a_link_has_the_prefix_and_leaves_out_what_is_empty() -> None:
    links = _links("/gw")
    assert (
        links.url("/console/x", search="a&b=c", cursor=None, page=0)
        == "/gw/console/x?search=a%26b%3Dc&page=0"
    )
    assert links.url("/console/ä b?") == "/gw/console/%C3%A4%20b%3F"


def test_a_section_is_current_for_its_own_pages_alone() -> None:
    links = _links()
    assert links.is_at("/console/tenants")
    assert not links.is_at("/console/tenant")
    assert not links.is_at("/console/tenants/70")


def test_an_asset_is_named_after_its_contents() -> None:
    assert _links("/gw").asset("console.css").startswith("/gw/console/assets/console-")


@pytest.mark.parametrize(
    "target", ["/console", "/console/tenants", "/console/tenants?search=a", "/console?x=1"]
)
def test_a_page_of_the_console_is_a_target(target: str) -> None:
    assert safe_target(target) == target


@pytest.mark.parametrize(
    "target",
    [
        None, "", "//evil.test", "https://evil.test", "/console.evil.test", "/console//evil.test", "/consoleX",
        "/console/\\evil.test", "/console\r\nset-cookie: a=b", "javascript:alert(1)", "/admin/v1/providers",
    ],
)  # fmt: skip
def test_nothing_else_is(target: str | None) -> None:
    assert safe_target(target) == "/console"
