"""A provider's body holds what the client sent, its key stays secret, and a broken row is shown all the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from pydantic import ValidationError

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.resources.providers import NewProvider, ProviderChange, ProviderView, shown

OAUTH2 = ClientCredentials(token_url="https://login.example/token", client_id="me", scope="a b")
ROW = StoredProvider(
    id=4,
    created_at=0,
    updated_at=0,
    provider_key="main",
    provider_type="azure",
    api_base="https://x.example",
    api_key="***cdef",
    model_mapping={"b": "1", "a": "2"},
    weight=3,
    is_enabled=False,
    oauth2=OAUTH2,
    api_version="2024-10-21",
    stream_usage=False,
    probe_interval=30.0,
)


def test_a_change_sets_only_what_was_sent() -> None:
    assert ProviderChange.model_validate({}).update() == ProviderUpdate()
    assert ProviderChange.model_validate({"weight": 0}).update() == ProviderUpdate(weight=0)


@pytest.mark.parametrize(
    "name", ["provider_key", "provider_type", "api_base", "api_version", "price_provider"]
)
@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\ud800", " a"])
def test_texts_are_those_that_both_databases_hold(name: str, text: str) -> None:
    with pytest.raises(ValidationError):
        ProviderChange.model_validate({name: text})


def test_every_field_of_a_change_reaches_the_update() -> None:
    body = {
        "provider_key": "main",
        "provider_type": "azure",
        "api_base": "https://x.example",
        "api_key": "sk-secret",
        "model_mapping": {"b": "1", "a": "2"},
        "weight": 3,
        "is_enabled": False,
        "oauth2": {"token_url": "https://login.example/token", "client_id": "me", "scope": "a b"},
        "api_version": "2024-10-21",
        "stream_usage": False,
        "probe_interval": 30,
    }
    assert ProviderChange.model_validate(body).update() == ProviderUpdate(
        provider_key="main",
        provider_type="azure",
        api_base="https://x.example",
        secret=Secret("sk-secret"),
        model_mapping={"b": "1", "a": "2"},
        weight=3,
        is_enabled=False,
        oauth2=OAUTH2,
        api_version="2024-10-21",
        stream_usage=False,
        probe_interval=30,
    )


def test_null_clears_what_may_be_absent() -> None:
    body = dict.fromkeys(
        ("api_key", "model_mapping", "oauth2", "api_version", "stream_usage", "probe_interval")
    )
    assert ProviderChange.model_validate(body).update() == ProviderUpdate(
        secret=None, model_mapping={}, oauth2=None, api_version=None, stream_usage=None, probe_interval=None
    )


def test_a_new_provider_needs_a_key_and_a_type_and_has_defaults() -> None:
    for body in ({"provider_key": "x"}, {"provider_type": "openai"}):
        with pytest.raises(ValidationError):
            NewProvider.model_validate(body)
    made = NewProvider.model_validate({"provider_key": "x", "provider_type": "openai"})
    assert (made.weight, made.is_enabled) == (1, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider_key": "a/b"}, "provider_key"),
        ({"provider_key": "42"}, "provider_key"),
        ({"provider_key": ""}, "provider_key"),
        ({"provider_key": None}, "provider_key"),
        ({"api_key": "sk-é"}, "api_key"),
        ({"api_key": "env:"}, "api_key"),
        ({"api_key": "env:A B"}, "api_key"),
        ({"api_key": "env:1A"}, "api_key"),
        ({"api_key": "x" * 8193}, "api_key"),
        ({"weight": -1}, "weight"),
        ({"weight": 2**31}, "weight"),
        ({"model_mapping": {"": "x"}}, "model_mapping"),
        ({"model_mapping": ["x"]}, "model_mapping"),
        ({"oauth2": {"client_id": "me"}}, "oauth2"),
        ({"probe_interval": float("nan")}, "probe_interval"),
        ({"stream_usage": 1}, "stream_usage"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        ProviderChange.model_validate(body)
    assert {str(found["loc"][0]) for found in error.value.errors()} == {field}


@pytest.mark.parametrize("key", ["env:OPENAI_API_KEY", "env:_x1", "sk-plain", "envelope"])
def test_a_reference_and_a_plain_key_are_taken_as_they_are(key: str) -> None:
    assert ProviderChange.model_validate({"api_key": key}).update() == ProviderUpdate(secret=Secret(key))


def test_an_error_about_a_key_does_not_repeat_it() -> None:
    with pytest.raises(ValidationError) as error:
        ProviderChange.model_validate({"api_key": "sk-é-secret"})
    assert "secret" not in str(error.value)


def test_a_stored_provider_is_shown_masked_with_iso_times() -> None:
    view = ProviderView.model_validate(shown(ROW, [])).model_dump()
    assert (view["api_key"], list(view["model_mapping"])) == ("***cdef", ["b", "a"])
    assert view["oauth2"] == {"token_url": OAUTH2.token_url, "client_id": "me", "scope": "a b"}
    assert (view["created_at"], view["probe_interval"]) == ("1970-01-01T00:00:00.000000Z", 30.0)
    assert view.keys() == ProviderView.model_fields.keys()


def test_values_that_a_body_would_reject_are_shown_all_the_same() -> None:
    invalid = ClientCredentials(token_url="", client_id="a\n")
    broken = msgspec.structs.replace(ROW, model_mapping=UNSET, oauth2=invalid)
    view = ProviderView.model_validate(shown(broken, []))
    assert view.model_mapping is None
    assert view.oauth2 is not None
    assert (view.oauth2.token_url, view.oauth2.client_id) == ("", "a\n")
    assert shown(msgspec.structs.replace(ROW, oauth2=UNSET), [])["oauth2"] is None
