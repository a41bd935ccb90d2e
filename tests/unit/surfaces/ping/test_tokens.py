"""Tokens are made and accepted as RFC 7519 has them, and every forged one is refused."""

from __future__ import annotations

import time
import warnings

import jwt
import pytest

from llm_gateway.core.errors import Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.infra.clock import SystemClock
from llm_gateway.surfaces.ping.tokens import TokenSigner, looks_like_token
from tests.fakes.forged_tokens import b64, forged_tokens, good_claims, token

SECRET = "dgen_secret_key"
FORGED = forged_tokens(SECRET)


class LateClock(SystemClock):
    """A clock that is set forward."""

    def __init__(self) -> None:
        self.late = 0.0

    def unix_us(self) -> int:
        return super().unix_us() + round(self.late * 1e6)


def check(signer: TokenSigner, text: str) -> str:
    claims = signer.claims(text)
    signer.check_times(claims)
    return claims.sub


@pytest.fixture
def clock() -> LateClock:
    return LateClock()


@pytest.fixture
def signer(clock: LateClock) -> TokenSigner:
    return TokenSigner(Secret(SECRET), 3600, clock)


def test_a_token_is_a_jwt_that_others_can_check_s1_1(signer: TokenSigner) -> None:
    made = signer.sign("ab1234")
    # The documentation shows these first characters.
    assert made.startswith("eyJ0eXAiOiJKV1QiLCJhbGc")
    assert jwt.get_unverified_header(made) == {"typ": "JWT", "alg": "HS256"}
    with warnings.catch_warnings(action="ignore"):
        claims = jwt.decode(made, SECRET, algorithms=["HS256"])
    assert claims["sub"] == "ab1234"
    assert claims["exp"] - claims["iat"] == 3600
    assert check(signer, made) == "ab1234"


@pytest.mark.parametrize(
    "secret", ["x", "dgen_secret_key", "y" * 32, "schlüssel-ü", '{"kty":"oct"}', "-----BEGIN RSA"]
)
def test_any_secret_works_and_none_warns(secret: str, clock: LateClock) -> None:
    signer = TokenSigner(Secret(secret), 60, clock)
    with warnings.catch_warnings(action="error"):
        assert check(signer, signer.sign("u")) == "u"


def test_tokens_of_other_makers_are_accepted(signer: TokenSigner) -> None:
    with warnings.catch_warnings(action="ignore"):
        made = jwt.encode({"sub": "ab1234", "exp": time.time() + 60, "role": ["x"]}, SECRET, "HS256")
    assert check(signer, made) == "ab1234"
    assert check(signer, token(SECRET, good_claims(nbf=time.time() + 50, iat=time.time() + 50))) == "mallory"
    assert check(signer, token(SECRET, good_claims(exp=time.time() - 50))) == "mallory"


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_token_is_refused(signer: TokenSigner, what: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        check(signer, FORGED[what])
    assert caught.value.code in {"invalid_token", "expired_token"}
    assert SECRET not in caught.value.message
    assert "mallory" not in caught.value.message


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_token_is_not_taken_for_a_credential(what: str) -> None:
    assert looks_like_token(FORGED[what])


@pytest.mark.parametrize(
    "text",
    ["", "1", "sk-abc", "a.b.c", "a.b", "a.b.c.d", f"{b64(b'[1]')}.a.b", f"{b64(b'{}')}.a.b", "..", "é.é.é"],
)
def test_other_texts_are_no_tokens(signer: TokenSigner, text: str) -> None:
    assert not looks_like_token(text)
    with pytest.raises(Unauthenticated):
        check(signer, text)


def test_a_token_expires_a_minute_late_at_most(signer: TokenSigner, clock: LateClock) -> None:
    claims = signer.claims(signer.sign("u"))
    clock.late = 3600 + 50
    signer.check_times(claims)
    clock.late = 3600 + 61
    with pytest.raises(Unauthenticated) as caught:
        signer.check_times(claims)
    assert caught.value.code == "expired_token"
