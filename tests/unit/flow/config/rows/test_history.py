"""What is recorded of a version: changed values, no secret, and never more than there is room for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.history import ChangedRow, VersionChanges, record_changes
from llm_gateway.flow.config.rows.providers import StoredProvider

PROVIDER = StoredProvider(
    id=4,
    created_at=1,
    updated_at=1,
    provider_key="main",
    provider_type="openai",
    api_base="http://x",
    api_key="***cdef",
    model_mapping={"m": "up"},
    weight=3,
    is_enabled=True,
)


def recorded(before: StoredRow | None, after: StoredRow | None, *fields: str, **more: Any) -> ChangedRow:
    row = after or before
    assert row is not None
    change = Change(
        resource=row.resource, id=row.id, before=before, after=after, actor="admin", fields=fields, **more
    )
    (found,) = record_changes([change], 7).rows
    return found


def test_a_new_row_is_recorded_whole_without_its_key() -> None:
    row = recorded(None, PROVIDER)
    assert (row.resource, row.id, row.name, row.action, row.is_complete) == (
        "provider", 4, "main", "created", True,
    )  # fmt: skip
    assert row.before is None
    assert row.after is not None
    assert row.after["api_key"] == "***"
    assert row.after["model_mapping"] == {"m": "up"}
    assert not {"id", "created_at", "updated_at"} & row.after.keys()


def test_a_deleted_row_is_recorded_as_it_was() -> None:
    row = recorded(PROVIDER, None)
    assert (row.action, row.name, row.after) == ("deleted", "main", None)
    assert row.before == recorded(None, PROVIDER).after


def test_of_an_update_the_changed_values_are_recorded() -> None:
    after = msgspec.structs.replace(PROVIDER, weight=5, provider_key="other", updated_at=9)
    row = recorded(PROVIDER, after, "weight", "provider_key")
    assert (row.action, row.name, row.fields) == ("updated", "other", ("weight", "provider_key"))
    assert row.before == {"weight": 3, "provider_key": "main"}
    assert row.after == {"weight": 5, "provider_key": "other"}


@pytest.mark.parametrize(
    ("before", "after", "values"),
    [
        ("***aaaa", "***bbbb", ({}, {})),
        (None, "***bbbb", ({"api_key": None}, {"api_key": "***"})),
        ("env:OLD", "env:NEW", ({"api_key": "env:OLD"}, {"api_key": "env:NEW"})),
    ],
)
def test_of_a_key_only_a_reference_is_recorded(before: str, after: str, values: Any) -> None:
    first, second = (msgspec.structs.replace(PROVIDER, api_key=key) for key in (before, after))
    row = recorded(first, second, "api_key")
    assert ((row.before, row.after), row.fields, row.is_complete) == (values, ("api_key",), True)


def test_structs_are_recorded_as_json() -> None:
    before = StoredCredential(
        id=1, created_at=1, updated_at=1, name="c", key_prefix="sk-abc", allowed_models=("m",),
        rate_limit=None, is_enabled=True,
    )  # fmt: skip
    after = msgspec.structs.replace(before, limits=Limits(tokens_per_day=5), key_prefix="sk-xyz")
    row = recorded(before, after, "limits", "key", verb="rotated")
    assert row.verb == "rotated"
    assert row.before == {"limits": None, "key_prefix": "sk-abc"}
    assert row.after is not None
    assert row.after["limits"]["tokens_per_day"] == 5
    assert msgspec.json.decode(msgspec.json.encode(row), type=ChangedRow) == row


def test_a_value_that_could_not_be_read_makes_the_record_incomplete() -> None:
    broken = msgspec.structs.replace(PROVIDER, weight=UNSET)
    assert not recorded(broken, PROVIDER, "weight").is_complete
    assert not recorded(broken, None).is_complete
    # What is still broken was not changed.
    renamed = msgspec.structs.replace(broken, provider_key="other")
    row = recorded(broken, renamed, "provider_key")
    assert (row.is_complete, row.before) == (True, {"provider_key": "main"})


def test_values_that_do_not_fit_are_left_out_then_rows() -> None:
    large = msgspec.structs.replace(PROVIDER, model_mapping={f"model-{n}": "x" * 50 for n in range(200)})
    changes = [
        Change(resource="provider", id=n, before=None, after=row, actor="import")
        for n, row in enumerate([large, PROVIDER, large, large])
    ]
    whole = record_changes(changes, 7)
    assert (whole.are_complete, len(whole.rows)) == (True, 4)
    for largest in (20_000, 1_000, 300, 100):
        cut = record_changes(changes, 7, largest)
        assert len(msgspec.json.encode(cut)) <= largest
        assert not cut.are_complete
        assert len(cut.rows) + cut.omitted == 4
    some = record_changes(changes, 7, 20_000)
    assert [row.is_complete for row in some.rows] == [True, True, False, False]
    assert [(row.name, row.after) for row in some.rows[2:]] == [("main", None)] * 2
    assert record_changes(changes, 7, 100).omitted == 4


def test_a_version_without_changed_rows_is_complete() -> None:
    assert VersionChanges(based_on=3, rows=()).are_complete
