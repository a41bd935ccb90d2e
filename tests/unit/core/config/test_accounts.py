"""What applies to a credential: its tenant, its project, their limits, and the budgets that may cover it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.accounts import (
    AGENTS_ACCOUNT,
    ANONYMOUS,
    SURFACE_ACCOUNTS,
    Project,
    Tenant,
)
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Budget, BudgetScope, Limits
from llm_gateway.core.config.snapshot import Principal, Snapshot, build_usable_snapshot

TENANT = Tenant(id=1, name="acme", limits=Limits(requests_per_day=100))
PROJECT = Project(id=1, name="web", tenant="acme", limits=Limits(tokens_per_day=5))


def credential(row_id: int = 1, **fields: Any) -> Credential:
    return Credential(id=row_id, name=f"c{row_id}", key_hash=b"%d" % row_id, **fields)


def budget(row_id: int, scope: BudgetScope, subject: str | None = None, **fields: object) -> Budget:
    values: dict[str, object] = {"amount_nano_usd": 5, "period": "day", "counts_from": 0, **fields}
    return Budget(id=row_id, name=f"b{row_id}", scope=scope, subject=subject, **values)  # type: ignore[arg-type]


def build(*credentials: Credential, before: Snapshot | None = None, **rows: object) -> Snapshot:
    rows = {"tenants": (TENANT,), "projects": (PROJECT,), **rows}
    return build_usable_snapshot(Catalog(version=2, credentials=credentials, **rows), {}, before)  # type: ignore[arg-type]


def account(of: Snapshot, key: bytes = b"1") -> Principal:
    found = of.account(key)
    assert found is not None
    return found


def test_the_limits_of_credential_tenant_and_project_apply_together() -> None:
    own = Limits(concurrent_requests=2)
    found = account(build(credential(tenant="acme", project="web", limits=own)))
    assert [tuple(one) for one in found.limits] == [
        ("credential", "c1", own, 1),
        ("tenant", "acme", TENANT.limits, TENANT.id),
        ("project", "web", PROJECT.limits, PROJECT.id),
    ]
    assert (found.tenant, found.project, found.is_limited) == ("acme", "web", True)


def test_a_credential_of_a_project_is_of_the_projects_tenant() -> None:
    found = account(build(credential(project="web")))
    assert (found.tenant, found.project) == ("acme", "web")
    assert [limits.scope for limits in found.limits] == ["tenant", "project"]


@pytest.mark.parametrize("fields", [{}, {"limits": Limits()}])
def test_an_account_without_limits_is_not_limited(fields: dict[str, Any]) -> None:
    found = account(build(credential(**fields), budgets=(budget(1, "credential", "another"),)))
    assert (found.limits, found.budgets, found.is_limited) == ((), (), False)


@pytest.mark.parametrize("field", ["agent_limits", "user_limits"])
def test_limits_of_agents_and_users_count_where_they_are_trusted(field: str) -> None:
    fields: dict[str, Any] = {field: Limits(requests_per_day=1)}
    assert not account(build(credential(**fields))).is_limited
    assert account(build(credential(**fields, trusts_attribution=True))).is_limited


def test_accounts_share_the_budgets_that_are_not_their_own() -> None:
    budgets = (
        budget(3, "all"),
        budget(1, "credential", "c1"),
        budget(2, "tenant", "acme"),
        budget(4, "user"),
    )
    of = build(credential(1, tenant="acme"), credential(2, tenant="acme"), credential(3), budgets=budgets)
    found = [[one.budget.id for one in account(of, key).budgets] for key in (b"1", b"2", b"3")]
    assert found == [[1, 2, 3, 4], [2, 3, 4], [3, 4]]


@pytest.mark.parametrize(
    ("scope", "subject"),
    [
        ("all", None),
        ("credential", "c1"),
        ("tenant", "acme"),
        ("project", "web"),
        ("agent", "a"),
        ("user", None),
    ],
)
def test_an_account_that_a_budget_may_cover_is_limited(scope: BudgetScope, subject: str | None) -> None:
    row = budget(7, scope, subject)
    found = account(build(credential(project="web", trusts_attribution=True), budgets=(row,)))
    assert [one.budget for one in found.budgets] == [row]
    assert found.is_limited
    disabled = budget(7, scope, subject, is_enabled=False)
    assert account(build(credential(project="web"), budgets=(disabled,))).budgets == ()


def test_a_budget_of_all_requests_covers_those_without_a_key() -> None:
    assert build().anonymous is ANONYMOUS
    assert build(budgets=(budget(1, "tenant", "acme"),)).anonymous is ANONYMOUS
    found = build(budgets=(budget(1, "all"),)).anonymous
    assert (found.credential, found.is_limited) == (ANONYMOUS.credential, True)


def test_both_keys_of_a_credential_are_one_account() -> None:
    of = build(credential(previous_key_hash=b"old", previous_key_expires_at=9))
    assert account(of, b"old") is account(of)
    assert account(of).needs_check


def test_a_key_belongs_to_the_credential_whose_current_key_it_is() -> None:
    of = build(credential(1, previous_key_hash=b"2"), credential(2))
    assert account(of, b"2").credential.id == 2


@pytest.mark.parametrize(
    ("fields", "checked"),
    [({}, False), ({"expires_at": 1}, True), ({"is_enabled": False}, True), ({"revoked_at": 1}, True)],
)
def test_only_keys_that_may_be_refused_need_a_check(fields: dict[str, Any], *, checked: bool) -> None:
    assert account(build(credential(**fields))).needs_check is checked


@pytest.mark.parametrize(
    ("tenant", "project", "shut_by"),
    [(False, True, "tenant"), (True, False, "project"), (False, False, "tenant"), (True, True, None)],
)
def test_a_disabled_tenant_or_project_shuts_its_accounts(
    *, tenant: bool, project: bool, shut_by: str | None
) -> None:
    tenants = (Tenant(id=1, name="acme", is_enabled=tenant),)
    projects = (Project(id=1, name="web", tenant="acme", is_enabled=project),)
    found = account(build(credential(project="web"), tenants=tenants, projects=projects))
    assert (found.shut_by, found.is_shut) == (shut_by, shut_by is not None)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"tenant": "gone"}, "tenant", "tenant: there is no tenant 'gone'"),
        ({"project": "gone"}, "project", "project: there is no project 'gone'"),
        ({"tenant": "other", "project": "web"}, "project", "project: 'web' is of tenant 'acme', not 'other'"),
        ({"limits": Limits(tokens_per_day=-1)}, "limits.tokens_per_day", None),
        ({"user_limits": Limits(requests_per_day=-1)}, "user_limits.requests_per_day", None),
    ],
)
def test_a_credential_with_a_wrong_tenant_or_project_is_refused(
    fields: dict[str, Any], field: str, message: str | None
) -> None:
    tenants = (TENANT, Tenant(id=2, name="other"))
    of = build(credential(**fields), credential(2), tenants=tenants)
    (fault,) = of.faults
    assert (fault.resource, fault.id, fault.field) == ("credential", 1, field)
    assert message in (None, fault.message)
    assert not account(of).credential.is_enabled
    assert account(of, b"2").credential.is_enabled


def test_a_project_without_a_tenant_serves_credentials_of_any() -> None:
    projects = (Project(id=1, name="shared"),)
    of = build(
        credential(1, tenant="acme", project="shared"), credential(2, project="shared"), projects=projects
    )
    assert of.faults == ()
    assert [account(of, key).tenant for key in (b"1", b"2")] == ["acme", None]


BROKEN = (Fault("tenant", "acme", "limits", "limits must be an object", 1),)


def test_a_faulty_tenant_stays_as_it_was_unless_it_is_disabled_now() -> None:
    before = build(credential(tenant="acme"))
    unread = Tenant(id=1, name="acme", limits=None)
    now = build(credential(tenant="acme"), before=before, tenants=(unread,), faults=BROKEN)
    assert [one.limits for one in account(now).limits] == [TENANT.limits]
    assert now.kept == ("tenant 'acme'",)
    disabled = Tenant(id=1, name="acme", is_enabled=False)
    now = build(credential(tenant="acme"), before=before, tenants=(disabled,), faults=BROKEN)
    assert account(now).shut_by == "tenant"


def test_a_faulty_tenant_or_project_that_was_never_valid_is_disabled() -> None:
    now = build(credential(tenant="acme"), faults=BROKEN)
    assert account(now).shut_by == "tenant"
    now = build(credential(project="web"), projects=(Project(id=1, name="web", tenant="gone"),))
    assert account(now).shut_by == "project"
    assert [str(fault) for fault in now.faults] == ["project 'web': tenant: there is no tenant 'gone'"]


def test_a_faulty_budget_stays_as_it_was_and_does_not_apply_if_it_never_was_valid() -> None:
    valid, broken = budget(1, "all"), budget(1, "all", amount_nano_usd=0)
    before = build(credential(), budgets=(valid,))
    now = build(credential(), before=before, budgets=(broken,))
    assert [one.budget for one in account(now).budgets] == [valid]
    assert now.kept == ("budget 'b1'",)
    assert account(build(credential(), budgets=(broken,))).budgets == ()
    off = budget(1, "all", amount_nano_usd=0, is_enabled=False)
    assert account(build(credential(), before=before, budgets=(off,))).budgets == ()


def test_names_of_tenants_projects_and_budgets_are_unique() -> None:
    of = build(
        tenants=(TENANT, Tenant(id=2, name="acme")),
        projects=(PROJECT, Project(id=2, name="web")),
        budgets=(
            budget(1, "all"),
            Budget(id=2, name="b1", scope="all", amount_nano_usd=1, period="day", counts_from=0),
        ),
    )
    assert [(fault.resource, fault.id, fault.field) for fault in of.faults] == [
        ("tenant", 2, "name"),
        ("project", 2, "name"),
        ("budget", 2, "name"),
    ]


def test_surfaces_have_accounts_without_any_row() -> None:
    of = build()
    for surface in SURFACE_ACCOUNTS:
        found = account(of, surface.key_hash)
        assert (found.credential.name, found.is_limited, found.is_shut) == (surface.name, False, False)
        assert found.credential.trusts_attribution
    # No hash of a key is as short.
    assert {len(surface.key_hash) for surface in SURFACE_ACCOUNTS}.isdisjoint({32})


def test_a_row_of_a_surfaces_name_says_what_its_callers_may() -> None:
    limits = Limits(requests_per_minute=3)
    row = msgspec.structs.replace(
        credential(tenant="acme", agent_limits=limits, expires_at=1, previous_key_hash=b"before"),
        name="surface:agents",
    )
    of = build(row)
    found = account(of, AGENTS_ACCOUNT.key_hash)
    assert (found.tenant, found.credential.agent_limits, found.credential.id) == ("acme", limits, row.id)
    # Its own key may be expired, the surface's callers have none.
    assert not found.needs_check
    assert account(of).credential is row
