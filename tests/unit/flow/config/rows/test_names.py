"""Names that are ambiguous are refused for new rows, and named for old ones."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.errors import Conflict, Unprocessable
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.names import check_name, name_warning, shared_names
from llm_gateway.flow.config.rows.task_types import StoredTaskType

CATALOG = Catalog(
    version=1, credentials=tuple(Credential(id=n, name="a", key_hash=b"%d" % n) for n in (1, 2))
)


def credential(name: str, row_id: int = 2) -> StoredCredential:
    return StoredCredential(
        id=row_id,
        created_at=0,
        updated_at=0,
        name=name,
        key_prefix="sk",
        allowed_models=None,
        rate_limit=None,
        is_enabled=True,
    )


def task_type(name: str) -> StoredTaskType:
    return StoredTaskType(id=3, created_at=0, updated_at=0, name=name, models=("m",))


def change(
    before: StoredCredential | StoredTaskType | None, after: StoredCredential | StoredTaskType | None
) -> Change:
    row = after or before
    assert row is not None
    return Change(resource=row.resource, id=row.id, before=before, after=after, actor="admin")


def test_a_name_that_another_credential_has_is_a_conflict_only_when_it_is_given() -> None:
    for before in (None, credential("b")):
        with pytest.raises(Conflict, match=r"exists already \(id 1\)"):
            check_name(change(before, credential("a")), CATALOG)
    check_name(change(credential("a"), credential("a")), CATALOG)
    check_name(change(credential("a"), None), CATALOG)
    check_name(change(None, credential("1", row_id=9)), CATALOG)


def test_a_name_of_digits_is_refused_only_when_it_is_given() -> None:
    with pytest.raises(Unprocessable, match="digits only"):
        check_name(change(None, task_type("12")), CATALOG)
    check_name(change(task_type("12"), task_type("12")), CATALOG)
    check_name(change(None, task_type("12a")), CATALOG)


def test_old_rows_are_named() -> None:
    shared = shared_names(CATALOG.credentials)
    assert shared == {"a"}
    assert "rename one" in name_warning(credential("a"), shared)[0]
    assert name_warning(credential("b"), shared) == []
    assert "by its id 3" in name_warning(task_type("12"), shared)[0]
    assert name_warning(task_type("x"), shared) == []
