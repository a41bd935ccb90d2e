"""Versions as the admin API shows them: lists without values, one version with them, and gaps."""

from __future__ import annotations

from llm_gateway.flow.config.rows.history import ChangedRow, HistoryEntry, VersionChanges, VersionNote
from llm_gateway.resources.history import version_detail, version_summary

ROW = ChangedRow(
    resource="provider",
    id=3,
    name="main",
    action="updated",
    fields=("weight",),
    before={"weight": 1},
    after={"weight": 2},
)
NOTE = VersionNote(
    created_at=1_700_000_000_000_000,
    actor="admin",
    action="updated provider 'main': weight",
    changes=VersionChanges(based_on=6, rows=(ROW,), omitted=2),
)
NAMED = {
    "resource": "provider",
    "id": 3,
    "name": "main",
    "action": "updated",
    "verb": None,
    "fields": ["weight"],
}
SHOWN = {
    "version": 7,
    "first_version": 7,
    "is_noted": True,
    "created_at": "2023-11-14T22:13:20.000000Z",
    "actor": "admin",
    "action": "updated provider 'main': weight",
}


def test_lists_name_the_fields_and_not_their_values() -> None:
    entry = HistoryEntry(version=7, first_version=7, note=NOTE)
    assert version_summary(entry).model_dump() == {**SHOWN, "changes": [NAMED]}


def test_one_version_has_the_values() -> None:
    entry = HistoryEntry(version=7, first_version=7, note=NOTE)
    values = {"before": {"weight": 1}, "after": {"weight": 2}, "is_complete": True}
    assert version_detail(entry).model_dump() == {**SHOWN, "changes": [{**NAMED, **values}], "omitted": 2}


def test_versions_that_the_gateway_did_not_make_say_so() -> None:
    entry = HistoryEntry(version=9, first_version=8, note=None)
    nothing = {"created_at": None, "actor": None, "action": None, "changes": None}
    gap = {"version": 9, "first_version": 8, "is_noted": False, **nothing}
    assert version_summary(entry).model_dump() == gap
    assert version_detail(entry).model_dump() == {**gap, "omitted": 0}


def test_an_older_note_has_no_changes() -> None:
    note = VersionNote(created_at=None, actor="admin", action="created model 'm'", changes=None)
    shown = version_summary(HistoryEntry(version=2, first_version=2, note=note))
    assert (shown.is_noted, shown.created_at, shown.action, shown.changes) == (
        True, None, "created model 'm'", None,
    )  # fmt: skip
