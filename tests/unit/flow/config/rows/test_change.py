"""A change is a value; the note that is rendered from it names the row and the fields, and holds no value."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.change import Change, api_fields
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.providers import StoredProvider

PROVIDER = StoredProvider(
    id=4,
    created_at=1,
    updated_at=1,
    provider_key="it's",
    provider_type="openai",
    api_base="http://secret-host",
    api_key="***cdef",
    model_mapping={},
    weight=3,
    is_enabled=True,
)
CREDENTIAL = StoredCredential(
    id=7,
    created_at=1,
    updated_at=1,
    name="app",
    key_prefix="sk-abc",
    allowed_models=None,
    rate_limit=None,
    is_enabled=True,
)


def change(before: StoredRow | None, after: StoredRow | None, *fields: str) -> Change:
    return Change(resource="provider", id=4, before=before, after=after, actor="admin", fields=fields)


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (change(None, PROVIDER), 'created provider "it\'s"'),
        (change(PROVIDER, None), 'deleted provider "it\'s"'),
        (change(PROVIDER, PROVIDER, "weight", "api_key"), 'updated provider "it\'s": weight, api_key'),
        (change(CREDENTIAL, CREDENTIAL, "key"), "updated credential 7 'app': key"),
    ],
)
def test_a_note_names_the_row_and_the_fields(made: Change, note: str) -> None:
    assert made.note() == note


def test_a_renamed_row_is_noted_under_the_name_it_had() -> None:
    after = msgspec.structs.replace(PROVIDER, provider_key="new")
    assert change(PROVIDER, after, "provider_key").note() == 'updated provider "it\'s": provider_key'


def test_fields_have_the_names_of_the_admin_api() -> None:
    changed: dict[str, object] = {"secret": 1, "weight": 2, "key_hash": 3, "key_prefix": 4}
    assert api_fields(changed) == ("api_key", "weight", "key")
