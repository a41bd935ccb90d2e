"""Tenants and projects, and credentials with all that applies to them: as requests find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from llm_gateway.core.config.budgets import BudgetIndex, CompiledBudget, Spender
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Limits, allows_nothing, limits_faults
from llm_gateway.core.config.model_patterns import ModelPatterns


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A customer, department or team; its limits hold for all of its credentials together."""

    id: int
    name: str
    limits: Limits | None = None
    # The credentials of a disabled tenant are refused.
    is_enabled: bool = True


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project, of one tenant or of none; its limits hold for all of its credentials together."""

    id: int
    name: str
    # A tenant's name.
    tenant: str | None = None
    limits: Limits | None = None
    is_enabled: bool = True


def tenant_faults(tenant: Tenant) -> list[Fault]:
    """Return everything that is wrong with one tenant."""
    return [
        Fault("tenant", tenant.name, field, message, tenant.id)
        for field, message in _faults(tenant.name, tenant.limits)
    ]


def project_faults(project: Project, tenants: Mapping[str, Tenant]) -> list[Fault]:
    """Return everything that is wrong with one project."""
    faults = list(_faults(project.name, project.limits))
    if project.tenant is not None and project.tenant not in tenants:
        faults.append(("tenant", f"tenant: there is no tenant {project.tenant!r}"))
    return [Fault("project", project.name, field, message, project.id) for field, message in faults]


def _faults(name: str, limits: Limits | None) -> Iterator[tuple[str, str]]:
    if not name:
        yield "name", "name must not be empty"
    yield from limits_faults("limits", limits)


def membership_faults(
    credential: Credential, tenants: Mapping[str, Tenant], projects: Mapping[str, Project]
) -> list[Fault]:
    """Return what is wrong with the tenant and the project of one credential."""
    tenant, project = credential.tenant, credential.project
    faults = []
    if tenant is not None and tenant not in tenants:
        faults.append(("tenant", f"tenant: there is no tenant {tenant!r}"))
    if project is not None:
        row = projects.get(project)
        if row is None:
            faults.append(("project", f"project: there is no project {project!r}"))
        elif None not in (tenant, row.tenant) and tenant != row.tenant:
            faults.append(("project", f"project: {project!r} is of tenant {row.tenant!r}, not {tenant!r}"))
    return [Fault("credential", credential.name, field, text, credential.id) for field, text in faults]


class AppliedLimits(NamedTuple):
    """Limits that an account shares with all others of the same subject."""

    scope: Literal["credential", "tenant", "project"]
    # A credential's, tenant's or project's name, and its id: a new one of the same name has used nothing.
    subject: str
    limits: Limits
    id: int = 0


_UNLIMITED: Final = Limits()


class Principal:
    """A credential as admission needs it, with its tenant, its project, its limits and its budgets."""

    __slots__ = (
        "budgets", "credential", "is_limited", "is_shut", "limits", "models", "needs_check", "project",
        "requires_pricing", "shut_by", "tenant",
    )  # fmt: skip

    def __init__(
        self,
        credential: Credential,
        tenant: Tenant | None = None,
        project: Project | None = None,
        budgets: tuple[CompiledBudget, ...] = (),
    ) -> None:
        """`budgets` may cover its requests."""
        self.credential = credential
        self.models = ModelPatterns(credential.allowed_models)
        # Names, as usage rows have them.
        self.tenant = credential.tenant if tenant is None else tenant.name
        self.project = credential.project
        self.budgets = budgets
        # Those of its agents and users, which only requests know, are the credential's.
        self.limits = _applied(credential, tenant, project)
        # Whether models without a known price are refused.
        self.requires_pricing = credential.require_pricing
        # Whether any limit may apply; most accounts have none, and skip the reservation.
        self.is_limited = (
            credential.rate_limit is not None
            or bool(self.limits)
            or bool(budgets)
            or (
                credential.trusts_attribution
                and (credential.agent_limits is not None or credential.user_limits is not None)
            )
        )
        # The disabled one that shuts it.
        self.shut_by: Literal["tenant", "project"] | None = None
        if tenant is not None and not tenant.is_enabled:
            self.shut_by = "tenant"
        elif project is not None and not project.is_enabled:
            self.shut_by = "project"
        # Whether it may make no request at all, which is then refused before its body is read.
        self.is_shut = (
            self.shut_by is not None
            or self.models.is_empty
            or credential.rate_limit == 0
            or any(allows_nothing(one.limits) for one in self.limits)
        )
        # Whether a key of it may be refused: it is disabled, or a key expires.
        self.needs_check = (
            not credential.is_enabled
            or credential.revoked_at is not None
            or credential.expires_at is not None
            or credential.previous_key_hash is not None
        )


def _applied(
    credential: Credential, tenant: Tenant | None, project: Project | None
) -> tuple[AppliedLimits, ...]:
    applied = []
    if credential.limits is not None and credential.limits != _UNLIMITED:
        applied.append(AppliedLimits("credential", credential.name, credential.limits, credential.id))
    if tenant is not None and tenant.limits is not None and tenant.limits != _UNLIMITED:
        applied.append(AppliedLimits("tenant", tenant.name, tenant.limits, tenant.id))
    if project is not None and project.limits is not None and project.limits != _UNLIMITED:
        applied.append(AppliedLimits("project", project.name, project.limits, project.id))
    return tuple(applied)


# The account of requests without a key, where those are allowed and no budget covers them.
ANONYMOUS: Final = Principal(Credential(id=0, name="anonymous", key_hash=b""))


# The accounts of callers whom a surface authenticates by itself, with a token or a secret of its own. A credential of
# the same name holds limits, rights and budgets for them; its own key is one more way in.
PING_ACCOUNT: Final = Credential(
    id=-1, name="surface:ping", key_hash=b"surface:ping", trusts_attribution=True
)
AGENTS_ACCOUNT: Final = Credential(
    id=-2, name="surface:agents", key_hash=b"surface:agents", trusts_attribution=True
)
SURFACE_ACCOUNTS: Final = (PING_ACCOUNT, AGENTS_ACCOUNT)
# Whose callers name a project themselves: rows have it, but no budget believes it.
CLAIMING_PROJECTS: Final = PING_ACCOUNT.name


def _surface_accounts(credentials: Iterable[Credential]) -> Iterator[Credential]:
    """Yield the surfaces' accounts, with what the credentials of their names say of them."""
    by_name = {credential.name: credential for credential in credentials}
    for account in SURFACE_ACCOUNTS:
        row = by_name.get(account.name)
        yield (
            account
            if row is None
            else msgspec.structs.replace(
                row,
                key_hash=account.key_hash,
                previous_key_hash=None,
                previous_key_expires_at=None,
                expires_at=None,
                trusts_attribution=True,
            )
        )


class Accounts:
    """All accounts of a catalog, by the hashes of their keys."""

    __slots__ = ("_budgets", "_projects", "_shared", "_tenants", "anonymous", "by_key_hash")

    def __init__(
        self,
        credentials: Iterable[Credential],
        tenants: Iterable[Tenant],
        projects: Iterable[Project],
        budgets: BudgetIndex,
    ) -> None:
        """A key that two credentials have belongs to the one whose current key it is."""
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._projects = {project.name: project for project in projects}
        self._budgets = budgets
        self._shared: dict[tuple[str | None, str | None, bool], tuple[CompiledBudget, ...]] = {}
        credentials = tuple(credentials)
        accounts = [self._account(one) for one in (*credentials, *_surface_accounts(credentials))]
        self.by_key_hash = {account.credential.key_hash: account for account in accounts}
        for account in accounts:
            previous = account.credential.previous_key_hash
            if previous is not None:
                self.by_key_hash.setdefault(previous, account)
        covering = self._covering(ANONYMOUS.credential, None)
        self.anonymous = Principal(ANONYMOUS.credential, budgets=covering) if covering else ANONYMOUS

    def _account(self, credential: Credential) -> Principal:
        project = None if credential.project is None else self._projects.get(credential.project)
        # A credential of a project is of the project's tenant.
        name = credential.tenant or (None if project is None else project.tenant)
        tenant = None if name is None else self._tenants.get(name)
        return Principal(credential, tenant, project, self._covering(credential, name))

    def _covering(self, credential: Credential, tenant: str | None) -> tuple[CompiledBudget, ...]:
        if not self._budgets.by_id:
            return ()
        # Thousands of credentials may share the budgets of a tenant, of a project, and of agents and users.
        key = (tenant, credential.project, credential.trusts_attribution)
        shared = self._shared.get(key)
        if shared is None:
            spender = Spender(None, tenant, credential.project)
            shared = self._budgets.candidates(spender, any_name=credential.trusts_attribution)
            self._shared[key] = shared
        own = self._budgets.named("credential", credential.name)
        return tuple(sorted((*shared, *own), key=lambda one: one.budget.id)) if own else shared
