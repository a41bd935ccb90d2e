"""Paths with and without the prefix, as the application behind it sees them."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.http.root_path import UnderRootPath, is_at_or_below, overlapping
from llm_gateway.http.types import Receive, Scope, Send
from tests.fakes.asgi import http_scope


async def seen(path: str, raw_path: bytes | None = None, root_path: str = "/gw") -> dict[str, Any]:
    """Return what the application behind the prefix sees."""
    found: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.update(scope)

    scope = http_scope("GET", path)
    scope["root_path"] = ""
    if raw_path is not None:
        scope["raw_path"] = raw_path
    before = dict(scope)
    await UnderRootPath(app, root_path)(scope, None, None)  # type: ignore[arg-type]
    assert scope == before, "the scope belongs to the server"
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/gw", "/"),
        ("/gw/", "/"),
        ("/gw/v1/chat/completions", "/v1/chat/completions"),
        ("/gw/docs/", "/docs/"),
        ("/gw//x", "//x"),
        # The proxy has stripped it.
        ("/", "/"),
        ("/v1/models", "/v1/models"),
        ("/gwx/v1", "/gwx/v1"),
        ("/GW/v1", "/GW/v1"),
    ],
)
async def test_the_prefix_is_stripped_where_there_is_one(path: str, expected: str) -> None:
    found = await seen(path, path.encode())
    assert (found["path"], found["raw_path"], found["root_path"]) == (expected, expected.encode(), "/gw")


@pytest.mark.parametrize("path", ["/gw/gw", "/gw/gw/", "/gw/gw/admin/v1/providers", "/gw/gw/gw/docs"])
async def test_a_repeated_prefix_leads_nowhere(path: str) -> None:
    found = await seen(path)
    assert (found["path"], found["root_path"]) == (path, "")


async def test_an_encoded_prefix_is_the_same_prefix() -> None:
    found = await seen("/gw/docs/", b"/%67w/docs/")
    assert (found["path"], found["root_path"]) == ("/docs/", "/gw")
    assert found["raw_path"].endswith(b"/")


async def test_a_prefix_may_have_several_segments() -> None:
    assert (await seen("/tools/gw/v1/models", root_path="/tools/gw"))["path"] == "/v1/models"
    assert (await seen("/tools/v1/models", root_path="/tools/gw"))["path"] == "/tools/v1/models"


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [("/a", "/a", True), ("/a/", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False), ("/", "/a", False)],
)
def test_below_is_by_segments(path: str, prefix: str, expected: bool) -> None:
    assert is_at_or_below(path, prefix) is expected


@pytest.mark.parametrize(
    ("root_path", "expected"),
    [
        ("/gw", None),
        ("/v", None),
        ("/v1", "/v1/models"),
        ("/v1/models", "/v1/models"),
        ("/v1/models/gw", "/v1/models"),
        ("/v1/gw", "/v1/"),
        ("/api", "/api/llm/chat"),
        ("/api/gw", None),
    ],
)
def test_a_prefix_must_not_overlap_with_what_is_served(root_path: str, expected: str | None) -> None:
    assert overlapping(root_path, ("/", "/v1/models", "/api/llm/chat", "/v1/")) == expected
