"""Guards and the Bearer token of a request."""

from __future__ import annotations

import pytest

from llm_gateway.core.errors import BadRequest, Forbidden, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.dialect import AmbiguousKey
from llm_gateway.http.auth import BearerGuard, bearer, presented_key, repeated_key
from tests.fakes.asgi import http_scope
from tests.fakes.in_memory import PlainHasher


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


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("GET", None),
        ("HEAD", None),
        ("POST", "read_only_key"),
        ("PUT", "read_only_key"),
        ("PATCH", "read_only_key"),
        ("DELETE", "read_only_key"),
        ("OPTIONS", "read_only_key"),
        ("get", "read_only_key"),
    ],
)
def test_a_reading_token_admits_what_changes_nothing(method: str, code: str | None) -> None:
    guard = BearerGuard(("/admin",), Secret("s"), "admin key", reading_token=Secret("r"))
    error = guard.check(http_scope(method, "/admin", (b"authorization", b"Bearer r")))
    assert (error and error.code) == code
    if error is not None:
        assert isinstance(error, Forbidden)
        assert error.message == (
            f"This key may only read (GET and HEAD): {method} needs the admin key, dry runs too."
        )
    assert guard.check(http_scope(method, "/admin", (b"authorization", b"Bearer s"))) is None
    other = guard.check(http_scope(method, "/admin", (b"authorization", b"Bearer x")))
    assert isinstance(other, Unauthenticated)


@pytest.mark.parametrize("second", [b"Bearer s", b"Bearer other", b"", b"Basic x"])
def test_a_guard_rejects_several_authorizations(second: bytes) -> None:
    """Which one counts differs between programs."""
    guard = BearerGuard(("/admin",), Secret("s"), "admin key")
    for pair in ((b"Bearer s", second), (second, b"Bearer s")):
        headers = [(b"authorization", value) for value in pair]
        error = guard.check(http_scope("GET", "/admin", *headers))
        assert isinstance(error, BadRequest)
        assert error.code == "ambiguous_api_key"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer sk-1"}, "sk-1"),
        ({b"authorization": b"Basic sk-1"}, None),
        ({b"api-key": b"sk-1"}, "sk-1"),
        ({b"x-api-key": b" sk-1 "}, "sk-1"),
        ({b"x-api-key": b""}, None),
        ({b"x-api-key": b"", b"api-key": b"sk-1"}, "sk-1"),
        ({b"authorization": b"Bearer", b"api-key": b"sk-1"}, "sk-1"),
        # Of a proxy in front.
        ({b"authorization": b"Basic abc", b"x-api-key": b"sk-1"}, "sk-1"),
        ({b"authorization": b"bearer  sk-1", b"x-api-key": b"sk-1", b"api-key": b"sk-1"}, "sk-1"),
        ({b"x-goog-api-key": b"sk-1"}, None),
        ({}, None),
    ],
)
def test_c45_a_key_may_be_in_three_headers(headers: dict[bytes, bytes], key: str | None) -> None:
    found = presented_key(headers)
    assert (found and found.digest(PlainHasher())) == (key and PlainHasher().hash(key))


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer sk-1", b"api-key": b"sk-2"},
        {b"authorization": b"Bearer sk-1", b"x-api-key": b"sk-2"},
        {b"api-key": b"sk-1", b"x-api-key": b"sk-2"},
        {b"authorization": b"Bearer sk-1", b"api-key": b"sk-1", b"x-api-key": b"sk-2"},
    ],
)
def test_c45_different_keys_are_refused(headers: dict[bytes, bytes]) -> None:
    found = presented_key(headers)
    assert found is not None
    with pytest.raises(BadRequest, match="Different API keys") as caught:
        found.digest(PlainHasher())
    assert "sk-" not in caught.value.message


@pytest.mark.parametrize("name", [b"authorization", b"api-key", b"x-api-key"])
def test_a_repeated_key_is_refused(name: bytes) -> None:
    assert isinstance(repeated_key(((name, b"Bearer a"), (b"x", b""), (name, b"Bearer b"))), AmbiguousKey)
    same = repeated_key(((name, b"a"), (name, b"a")))
    # Authorization is never a list.
    assert (same is None) == (name != b"authorization")
    assert repeated_key(((name, b"a"), (b"accept", b"x"), (b"accept", b"y"))) is None
