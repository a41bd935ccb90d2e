"""A fault of a provider names its field, starts with it and repeats no secret."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.providers import ClientCredentials, Kind, Provider, provider_faults
from llm_gateway.core.secret import Secret
from tests.fakes.price_books import price_book

KINDS = {"openai": Kind(name="openai")}
NAN = float("nan")


def provider(**fields: Any) -> Provider:
    given: dict[str, Any] = {
        "id": 1,
        "provider_key": "p",
        "provider_type": "openai",
        "api_base": "https://h",
        "secret": Secret("s"),
    }
    return Provider(**given | fields)


def oauth2(**fields: Any) -> ClientCredentials:
    given = {"token_url": "https://login.example/token?tenant=1", "client_id": "me"}
    return ClientCredentials(**given | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"oauth2": oauth2()},
        {"oauth2": oauth2(token_url="http://127.0.0.1:9/t", scope="a b")},
        {"oauth2": oauth2(), "secret": None, "is_enabled": False},
        {"api_version": "2024-10-21"},
        {"api_version": "preview"},
        {"probe_interval": 1},
        {"probe_interval": 86_400.0},
        {"stream_usage": False},
    ],
)
def test_good_newer_fields_of_a_provider(fields: dict[str, Any]) -> None:
    assert provider_faults(provider(**fields), KINDS) == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"oauth2": oauth2(token_url="ftp://x/t")}, "oauth2.token_url must be a URL that starts with http"),
        ({"oauth2": oauth2(token_url="")}, "oauth2.token_url must be a URL that starts with http"),
        ({"oauth2": oauth2(token_url="https://me:hunter2@x/t")}, "oauth2.token_url must hold no user name"),
        ({"oauth2": oauth2(token_url="https://x/hunter2 ")}, "oauth2.token_url must hold no spaces"),
        ({"oauth2": oauth2(token_url="https://x/t#hunter2")}, "oauth2.token_url must hold no fragment"),
        ({"oauth2": oauth2(client_id="")}, "oauth2.client_id must be given"),
        ({"oauth2": oauth2(), "secret": None}, "api_key must be given along with oauth2"),
        ({"api_version": ""}, "api_version must be letters"),
        ({"api_version": "a&b=c"}, "api_version must be letters"),
        ({"probe_interval": 0.9}, "probe_interval must be 1 to 86400 seconds"),
        ({"probe_interval": 1e9}, "probe_interval must be 1 to 86400 seconds"),
        ({"probe_interval": NAN}, "probe_interval must be 1 to 86400 seconds"),
    ],
)
def test_bad_newer_fields_of_a_provider_are_named_and_their_secrets_are_not(
    fields: dict[str, Any], says: str
) -> None:
    (fault,) = provider_faults(provider(**fields), KINDS)
    assert fault.message.startswith(says)
    assert fault.message.startswith(fault.field)
    assert "hunter2" not in str(fault)


def test_a_price_provider_must_be_in_the_price_book() -> None:
    book = price_book()
    for name in (None, "acme", "ACME "):
        assert provider_faults(provider(price_provider=name), KINDS, book) == []
    (fault,) = provider_faults(provider(price_provider="acmee"), KINDS, book)
    assert fault.field == "price_provider"
    assert fault.message.startswith("price_provider 'acmee' is not in the price book; similar names are acme")
    # Without a price book nobody can tell.
    assert provider_faults(provider(price_provider="acmee"), KINDS) == []
