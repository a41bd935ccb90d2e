"""What of the operator's settings deserves a warning, and which secrets are used."""

from __future__ import annotations

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.surfaces.ping.options import PingOptions

GOOD = "0123456789abcdef0123456789abcdef"


def options(secret: str | None, *, debug: bool = False, default: bool = False) -> PingOptions:
    return PingOptions(
        token_secret=None if secret is None else Secret(secret), is_debug=debug, allow_default_token=default
    )


@pytest.mark.parametrize(
    ("made", "is_usable", "warnings"),
    [
        (options(None), False, []),
        (options(GOOD), True, []),
        (options("x" * 31), True, ["31 bytes"]),
        (options("ü" * 16), True, []),
        (options("dgen_secret_key"), False, ["is not used"]),
        (options("dgen_secret_key", debug=True), True, ["anyone can make valid tokens"]),
        (options("your_secret_key_here"), True, ["20 bytes"]),
        (options(GOOD, default=True), True, ["ALLOW_DEFAULT_TOKEN"]),
        (options("short", default=True), True, ["ALLOW_DEFAULT_TOKEN", "5 bytes"]),
    ],
)
def test_which_secrets_are_used_and_what_is_warned_of_c8_c9_c46(
    made: PingOptions, is_usable: bool, warnings: list[str]
) -> None:
    assert (made.signing_secret is not None) is is_usable
    given = [*made.warnings()]
    assert len(given) == len(warnings)
    assert all(words in text for words, text in zip(warnings, given, strict=True))
    assert all(made.token_secret is None or made.token_secret.reveal() not in text for text in given)


def test_an_error_says_why_there_are_no_tokens() -> None:
    assert "TOKEN_SECRET is not set" in options(None).no_secret().message
    error = options("dgen_secret_key").no_secret()
    assert "everybody knows" in error.message
    assert (error.status, error.waiting_helps) == (503, False)


def test_the_secret_is_in_no_repr() -> None:
    assert GOOD not in repr(options(GOOD))
