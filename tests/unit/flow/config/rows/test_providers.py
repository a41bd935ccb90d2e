"""A new provider gets its kind's address, and a masked secret is never stored as a secret."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import stored_type
from llm_gateway.flow.config.rows.providers import (
    ProviderUpdate,
    StoredProvider,
    keep_masked_secret,
    prepare_new_provider,
)

KINDS = {
    "openai": Kind(name="openai", default_api_base="https://api.openai.com/v1"),
    "plain": Kind(name="plain"),
}
ROW = StoredProvider(
    id=4,
    created_at=1,
    updated_at=1,
    provider_key="main",
    provider_type="openai",
    api_base="http://x",
    api_key="***cdef",
    model_mapping={},
    weight=1,
    is_enabled=True,
)


def test_rows_and_updates_know_each_other() -> None:
    assert stored_type(ProviderUpdate()) is StoredProvider
    assert (ROW.name_or_key, ROW.label) == ("main", "provider 'main'")


def test_given_are_the_fields_that_are_set_null_included() -> None:
    assert ProviderUpdate().given() == {}
    assert ProviderUpdate(secret=None, weight=0).given() == {"secret": None, "weight": 0}


def test_a_new_provider_without_an_address_gets_its_kinds() -> None:
    prepared = prepare_new_provider(ProviderUpdate(provider_key="x", provider_type="openai"), KINDS)
    assert prepared == ProviderUpdate(
        provider_key="x", provider_type="openai", api_base="https://api.openai.com/v1"
    )


def test_an_address_that_was_given_stays() -> None:
    update = ProviderUpdate(provider_type="openai", api_base="http://mine")
    assert prepare_new_provider(update, KINDS) is update


def test_a_kind_without_an_address_needs_one() -> None:
    with pytest.raises(Unprocessable, match="api_base is required") as error:
        prepare_new_provider(ProviderUpdate(provider_type="plain"), KINDS)
    assert error.value.param == "api_base"


@pytest.mark.parametrize("provider_type", ["unknown", UNSET])
def test_an_unknown_type_is_left_to_the_validation_of_the_catalog(provider_type: str) -> None:
    prepared = prepare_new_provider(ProviderUpdate(provider_type=provider_type), KINDS)
    assert prepared.api_base == ""


@pytest.mark.parametrize("masked", ["***", "***cdef"])
def test_a_new_provider_cannot_have_a_masked_secret(masked: str) -> None:
    update = ProviderUpdate(provider_type="openai", secret=Secret(masked))
    with pytest.raises(Unprocessable, match="masked") as error:
        prepare_new_provider(update, KINDS)
    assert error.value.param == "api_key"


def test_the_mask_of_the_stored_secret_keeps_it() -> None:
    kept = keep_masked_secret(ProviderUpdate(secret=Secret("***cdef"), weight=2), ROW)
    assert kept == ProviderUpdate(weight=2)


def test_a_stored_reference_that_is_sent_back_changes_nothing() -> None:
    row = msgspec.structs.replace(ROW, api_key="env:KEY")
    assert keep_masked_secret(ProviderUpdate(secret=Secret("env:KEY")), row) == ProviderUpdate()


@pytest.mark.parametrize("masked", ["***", "***wxyz"])
def test_any_other_mask_is_rejected(masked: str) -> None:
    with pytest.raises(Unprocessable, match="masked"):
        keep_masked_secret(ProviderUpdate(secret=Secret(masked)), ROW)


@pytest.mark.parametrize("secret", [Secret("sk-new"), None, UNSET])
def test_a_new_secret_none_and_no_secret_pass_unchanged(secret: Secret | None) -> None:
    update = ProviderUpdate(secret=secret)
    assert keep_masked_secret(update, ROW) is update
