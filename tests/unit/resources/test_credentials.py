"""A credential's body holds what the client sent, and a stored credential is shown without its key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from pydantic import ValidationError

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import CredentialUpdate, StoredCredential
from llm_gateway.resources.credentials import CredentialChange, CredentialView, NewCredential, shown

ROW = StoredCredential(
    id=7,
    created_at=1_000_001,
    updated_at=2_000_000,
    name="app",
    key_prefix="sk-abc",
    allowed_models=("gpt-4*",),
    rate_limit=5,
    is_enabled=True,
    cache=CacheRules(ttl=9),
)


def test_a_change_sets_only_what_was_sent() -> None:
    assert CredentialChange.model_validate({}).update() == CredentialUpdate()
    assert CredentialChange.model_validate({"is_enabled": False}).update() == CredentialUpdate(
        is_enabled=False
    )


def test_every_field_of_a_change_reaches_the_update() -> None:
    body = {
        "key": "sk-mine",
        "name": "app",
        "allowed_models": ["a", "b*"],
        "rate_limit": 0,
        "is_enabled": False,
        "cache": {"ttl": 9},
    }
    assert CredentialChange.model_validate(body).update() == CredentialUpdate(
        key=Secret("sk-mine"),
        name="app",
        allowed_models=("a", "b*"),
        rate_limit=0,
        is_enabled=False,
        cache=CacheRules(ttl=9),
    )


def test_null_lifts_a_limit_and_an_empty_list_allows_nothing() -> None:
    lifted = CredentialChange.model_validate({"allowed_models": None, "rate_limit": None, "cache": None})
    assert lifted.update() == CredentialUpdate(allowed_models=None, rate_limit=None, cache=None)
    assert CredentialChange.model_validate({"allowed_models": []}).update() == CredentialUpdate(
        allowed_models=()
    )


def test_a_new_credential_needs_a_name_and_is_enabled_unless_it_says() -> None:
    with pytest.raises(ValidationError, match="name"):
        NewCredential.model_validate({"key": "sk-mine"})
    assert NewCredential.model_validate({"name": "app"}).is_enabled is True


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"key": ""}, "key"),
        ({"key": "x" * 257}, "key"),
        ({"key": " sk"}, "key"),
        ({"key": None}, "key"),
        ({"name": ""}, "name"),
        ({"name": "a\n"}, "name"),
        ({"rate_limit": -1}, "rate_limit"),
        ({"rate_limit": 2**31}, "rate_limit"),
        ({"rate_limit": True}, "rate_limit"),
        ({"allowed_models": "*"}, "allowed_models"),
        ({"allowed_models": [""]}, "allowed_models"),
        ({"is_enabled": "yes"}, "is_enabled"),
        ({"cache": {"tll": 1}}, "cache"),
        ({"key_hash": "x"}, "key_hash"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        CredentialChange.model_validate(body)
    assert {str(found["loc"][0]) for found in error.value.errors()} == {field}


def test_a_stored_credential_is_shown_with_its_prefix_and_iso_times() -> None:
    view = CredentialView.model_validate(shown(ROW, []), from_attributes=True)
    assert view.model_dump(exclude_unset=True) == {
        "id": 7,
        "name": "app",
        "key_prefix": "sk-abc",
        "allowed_models": ["gpt-4*"],
        "rate_limit": 5,
        "is_enabled": True,
        "cache": {"is_enabled": True, "ttl": 9, "is_shared": False},
        "tenant": None,
        "project": None,
        "limits": None,
        "agent_limits": None,
        "user_limits": None,
        "trusts_attribution": False,
        "require_pricing": False,
        "expires_at": None,
        "previous_key_expires_at": None,
        "revoked_at": None,
        "created_at": "1970-01-01T00:00:01.000001Z",
        "updated_at": "1970-01-01T00:00:02.000000Z",
    }


def test_all_models_are_null_and_an_unreadable_list_allows_nothing() -> None:
    assert shown(msgspec.structs.replace(ROW, allowed_models=None), [])["allowed_models"] is None
    broken = shown(msgspec.structs.replace(ROW, allowed_models=UNSET, cache=UNSET), [])
    assert (broken["allowed_models"], broken["cache"]) == ([], None)
