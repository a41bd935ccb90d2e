"""What other rows name is neither deleted nor renamed; a key that is still valid is given to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.accounts import Project
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.errors import Conflict
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.budgets import StoredBudget
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.references import check_keys, check_references
from llm_gateway.flow.config.rows.tenants import StoredProject, StoredTenant

STAMPS: dict[str, Any] = {"id": 1, "created_at": 0, "updated_at": 0}


def tenant(name: str = "x") -> StoredTenant:
    return StoredTenant(**STAMPS, name=name, limits=None, is_enabled=True)


def project(name: str = "x", tenant: str | None = None) -> StoredProject:
    return StoredProject(**STAMPS, name=name, tenant=tenant, limits=None, is_enabled=True)


def credential(name: str = "x") -> StoredCredential:
    return StoredCredential(
        **STAMPS, name=name, key_prefix="", allowed_models=None, rate_limit=None, is_enabled=True
    )


def key(row_id: int, key_hash: bytes = b"", **fields: Any) -> Credential:
    return Credential(id=row_id, name=fields.pop("name", f"c{row_id}"), key_hash=key_hash, **fields)


def budget(scope: Any, subject: str) -> Budget:
    return Budget(
        id=1, name="b", scope=scope, subject=subject, amount_nano_usd=1, period="day", counts_from=0
    )


def check(before: StoredRow | None, after: StoredRow | None, **rows: Any) -> None:
    resource = (before or after).resource  # type: ignore[union-attr]
    change = Change(resource=resource, id=1, before=before, after=after, actor="admin")
    check_references(change, Catalog(version=1, **rows))


@pytest.mark.parametrize(
    ("row", "rows", "named_by"),
    [
        (tenant(), {"credentials": (key(1, tenant="x"), key(2))}, "1 credential names it"),
        (tenant(), {"projects": (Project(id=1, name="p", tenant="x"),)}, "1 project names it"),
        (
            tenant(),
            {"credentials": (key(1, tenant="x"),) * 2, "projects": (Project(id=1, name="p", tenant="x"),)},
            "2 credentials and 1 project name it",
        ),
        (project(), {"credentials": (key(1, project="x"),) * 3}, "3 credentials name it"),
    ],
)
def test_a_named_row_is_not_deleted(row: StoredRow, rows: dict[str, Any], named_by: str) -> None:
    with pytest.raises(Conflict, match=named_by) as caught:
        check(row, None, **rows)
    assert (caught.value.status, caught.value.param) == (409, None)
    check(row, row, **rows)
    check(None, row, **rows)


@pytest.mark.parametrize(
    ("before", "after"),
    [(tenant(), tenant("y")), (project(), project("y")), (credential(), credential("y"))],
)
def test_a_name_that_a_budget_counts_by_is_deleted_and_not_changed(
    before: StoredRow, after: StoredRow
) -> None:
    budgets = (budget(before.resource, "x"),)
    check(before, None, budgets=budgets)
    with pytest.raises(Conflict, match="1 budget names it") as caught:
        check(before, after, budgets=budgets)
    assert caught.value.param == "name"
    check(before, after, budgets=(budget(before.resource, "z"), budget("user", "x")))


def test_of_credentials_that_share_a_name_one_is_renamed() -> None:
    check(
        credential(), credential("y"), budgets=(budget("credential", "x"),), credentials=(key(2, name="x"),)
    )


def test_a_project_does_not_leave_its_credentials_tenant() -> None:
    members = (key(1, project="x", tenant="t"), key(2, project="x"), key(3, tenant="other"))
    check(project(), project(tenant="t"), credentials=members)
    check(project(tenant="t"), project(), credentials=members)
    with pytest.raises(Conflict, match="1 credential of it") as caught:
        check(project(tenant="t"), project(tenant="u"), credentials=members)
    assert caught.value.param == "tenant"


def test_budgets_may_be_renamed() -> None:
    row = StoredBudget(
        **STAMPS, name="x", scope="all", subject=None, amount_nano_usd=1, period="day", models=None,
        is_enabled=True, counts_from=0,
    )  # fmt: skip
    check(row, None)


@pytest.mark.parametrize(
    "other",
    [
        key(2, b"new"),
        key(2, b"-", previous_key_hash=b"new"),
        key(2, b"old"),
        key(2, b"-", previous_key_hash=b"old"),
    ],
)
def test_a_valid_key_is_one_credentials(other: Credential) -> None:
    own = key(1, b"new", previous_key_hash=b"old")
    catalog = Catalog(version=1, credentials=(own, other))
    row = credential()
    for before, fields in ((None, ()), (row, ("key",))):
        change = Change(resource="credential", id=1, before=before, after=row, actor="admin", fields=fields)
        with pytest.raises(Conflict) as caught:
            check_keys(change, catalog)
        assert caught.value.param == "key"
    # What is older than the change stays, so that one of the two can be disabled.
    check_keys(
        Change(resource="credential", id=1, before=row, after=row, actor="a", fields=("name",)), catalog
    )


def test_credentials_without_a_previous_key_have_none_in_common() -> None:
    catalog = Catalog(version=1, credentials=(key(1, b"a"), key(2, b"b")))
    check_keys(Change(resource="credential", id=1, before=None, after=credential(), actor="a"), catalog)
    check_keys(Change(resource="tenant", id=1, before=None, after=tenant(), actor="a"), catalog)
