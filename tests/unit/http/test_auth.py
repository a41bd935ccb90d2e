"""Guards and the Bearer token of a request."""

from __future__ import annotations

import pytest

from llm_gateway.core.errors import Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.http.auth import BearerGuard, bearer
from tests.fakes.asgi import http_scope


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer sk-1", "sk-1"),
        (b"bearer sk-1", "sk-1"),
        (b"  BEARER    sk-1  ", "sk-1"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic sk-1", None),
        (b"sk-1", None),
        (b"", None),
        ("Bearer sk-\u00e9".encode(), "sk-\u00e9"),
        (b"Bearer \xff", "\ufffd"),
    ],
)
def test_c37_bearer_in_any_case_with_any_spaces(value: bytes, token: str | None) -> None:
    assert bearer(value) == token


@pytest.mark.parametrize("value", [None, b"Basic s", b"Bearer other", b"Bearer s2", b"Bearer \xff"])
def test_a_guard_rejects_other_tokens_and_names_its_own(value: bytes | None) -> None:
    guard = BearerGuard(("/admin",), Secret("s"), "admin key")
    headers = () if value is None else ((b"authorization", value),)
    error = guard.check(http_scope("GET", "/admin", *headers))
    assert isinstance(error, Unauthenticated)
    assert "needs the admin key" in error.message


def test_a_guard_admits_its_token() -> None:
    guard = BearerGuard(("/admin",), Secret("k\u00e9y"), "admin key")
    header = (b"authorization", "bearer   k\u00e9y ".encode())
    assert guard.check(http_scope("GET", "/admin", (b"accept", b"*/*"), header)) is None
