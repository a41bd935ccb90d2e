"""What of a client's headers reaches a provider, so that no credential gets another one's answer."""

from __future__ import annotations

import dataclasses

import pytest

from llm_gateway.core.errors import GatewayError, Unavailable
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.ports.dialect import AmbiguousKey, PresentedKey, RefusedKey
from llm_gateway.http.model_routes.forwarding import FORWARDED, scoped
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, credential


def gateway(pepper: bytes = b"pepper", *, anonymous: bool = False) -> Gateway:
    """Return the gateway of a new process."""
    hasher = Blake2KeyHasher(pepper)
    owners = [
        credential(key, number, key_hash=hasher.hash(key), is_enabled=key != "sk-off")
        for number, key in enumerate(("sk-one", "sk-two", "sk-off"), 1)
    ]
    made = FakeGateway(
        upstream=ScriptedUpstream(),
        credentials=() if anonymous else tuple(owners),
        options=Options(allow_anonymous=anonymous),
    )
    return dataclasses.replace(made.gateway, hasher=hasher)


def sent(key: str, api_key: str | None = "sk-one", **more: object) -> str | None:
    presented = None if api_key is None else PresentedKey(api_key)
    return scoped({"idempotency-key": key}, gateway(**more), presented).get("idempotency-key")  # type: ignore[arg-type]


def test_an_idempotency_key_is_the_credentials_own() -> None:
    keys = {sent("once"), sent("once", "sk-two"), sent("twice"), sent("once", pepper=b"other database")}
    assert len(keys) == 4
    assert "once" not in keys
    assert sent("once") == sent(" once ") == sent("once"), "the same in every process"


@pytest.mark.parametrize("key", ["x", "x" * 20_000, "caf\xe9", "\udcff", "a,b", "1-1"])
def test_what_is_sent_is_short_and_printable(key: str) -> None:
    found = sent(key)
    assert found is not None
    assert len(found) == 64
    assert set(found) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("key", "api_key"), [("", "sk-one"), ("  ", "sk-one"), ("x", "sk-off"), ("x", "no"), ("x", None)]
)
def test_without_a_key_or_a_credential_nothing_is_sent(key: str, api_key: str | None) -> None:
    assert sent(key, api_key) is None


def _unavailable() -> GatewayError:
    return Unavailable("The surface is not configured.")


@pytest.mark.parametrize("api_key", [AmbiguousKey("Send one."), RefusedKey(_unavailable)])
def test_a_key_that_is_refused_is_not_refused_here(api_key: PresentedKey) -> None:
    assert scoped({"idempotency-key": "x", "tracestate": "y"}, gateway(), api_key) == {"tracestate": "y"}


def test_anonymous_clients_are_one_credential() -> None:
    assert sent("once", None, anonymous=True) == sent("once", None, anonymous=True) is not None


def test_other_headers_stay() -> None:
    others = {"traceparent": "00-1", "openai-beta": "responses=v1"}
    assert scoped(others, gateway(), None) is others
    both = scoped({**others, "idempotency-key": "x"}, gateway(), PresentedKey("sk-one"))
    assert {name: both[name] for name in others} == others


def test_no_header_of_an_account_or_a_project_is_forwarded() -> None:
    assert not FORWARDED & {
        b"authorization", b"cookie", b"openai-organization", b"openai-project", b"x-api-key", b"api-key",
        b"anthropic-beta", b"x-goog-user-project", b"x-client-request-id",
    }  # fmt: skip
