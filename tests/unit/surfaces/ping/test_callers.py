"""Who a request is from, by X-API-Token or the lack of it."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.accounts import PING_ACCOUNT, Principal
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.dialect import Attribution, PresentedKey
from llm_gateway.infra.clock import SystemClock
from llm_gateway.surfaces.ping.callers import CallerReader, limits_per_caller, subject_of
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.tokens import TokenClaims, TokenSigner
from tests.fakes.in_memory import PlainHasher

SIGNER = TokenSigner(Secret("0" * 32), 3600, SystemClock())
HASHER = PlainHasher()
OPEN = CallerReader(PingOptions(allow_default_token=True), SIGNER)
STRICT = CallerReader(PingOptions(), SIGNER)
KEYS_ALONE = CallerReader(PingOptions(), None)


def identified(reader: CallerReader, value: bytes | None) -> PresentedKey:
    return reader.identify({} if value is None else {b"x-api-token": value})


def status(key: PresentedKey) -> int:
    with pytest.raises(GatewayError) as caught:
        key.digest(HASHER)
    return caught.value.status


@pytest.mark.parametrize("value", [None, b"1", b" 1 "])
def test_the_default_user(value: bytes | None) -> None:
    key = identified(OPEN, value)
    assert key.digest(HASHER) == PING_ACCOUNT.key_hash
    assert subject_of(key) == "default_user"
    assert status(identified(STRICT, value)) == 401
    assert status(identified(KEYS_ALONE, value)) == 503


@pytest.mark.parametrize("reader", [OPEN, STRICT])
def test_the_user_of_a_token(reader: CallerReader) -> None:
    key = identified(reader, b" %s " % SIGNER.sign("ab1234").encode())
    assert key.digest(HASHER) == PING_ACCOUNT.key_hash
    assert subject_of(key) == "ab1234"
    # Again: the signature is not checked twice.
    assert key.digest(HASHER) == PING_ACCOUNT.key_hash


def test_a_signature_is_checked_once_and_the_times_at_every_request() -> None:
    done: list[str] = []

    class Counting(TokenSigner):
        def claims(self, token: str) -> TokenClaims:
            done.append("signature")
            return super().claims(token)

        def check_times(self, claims: TokenClaims) -> None:
            done.append("times")
            super().check_times(claims)

    signer = Counting(Secret("0" * 32), 3600, SystemClock())
    key = identified(CallerReader(PingOptions(), signer), signer.sign("ada").encode())
    for _ in range(3):
        key.digest(HASHER)
    assert done == ["signature", "times", "times", "times"]


def test_a_token_without_a_secret_that_could_check_it() -> None:
    assert status(identified(KEYS_ALONE, SIGNER.sign("x").encode())) == 503


@pytest.mark.parametrize("reader", [OPEN, STRICT, KEYS_ALONE])
def test_a_credential(reader: CallerReader) -> None:
    key = identified(reader, b"sk-mine")
    assert key.digest(HASHER) == HASHER.hash("sk-mine")
    assert subject_of(key) is None


@pytest.mark.parametrize("reader", [OPEN, STRICT, KEYS_ALONE])
@pytest.mark.parametrize("value", [b"", b"  "])
def test_an_empty_token_is_refused_even_where_none_is_needed(reader: CallerReader, value: bytes) -> None:
    assert status(identified(reader, value)) == 401


def test_each_caller_has_a_limit_of_its_own() -> None:
    accounts_of = limits_per_caller("ping", 7)
    surface, client = Principal(PING_ACCOUNT), Principal(Credential(id=3, name="c", key_hash=b"c"))
    (ada,) = accounts_of(surface, Attribution(user="ada"))
    (bob,) = accounts_of(surface, Attribution(user="bob"))
    (key,) = accounts_of(client, Attribution(user="ada"))
    (other,) = limits_per_caller("ping/telemetry", 7)(surface, Attribution(user="ada"))
    assert len({one.subject for one in (ada, bob, key, other)}) == 4
    assert ada.limits.requests_per_minute == 7
