"""What other rows name must stay: a tenant with credentials, a project's tenant, a name that a budget counts by."""

from __future__ import annotations

from collections.abc import Iterable

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.errors import Conflict
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.budgets import StoredBudget
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.names import name_field
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.config.rows.tenants import StoredProject, StoredTenant


def check_references(change: Change, catalog: Catalog) -> None:
    """Raise Conflict if `change`, which has led to `catalog`, takes away a name that other rows have.

    A budget's subject, and a provider with prices, may be deleted, but not renamed: the budget would silently cover
    it no longer, and the prices would no longer apply.
    """
    before, after = change.before, change.after
    if before is None or isinstance(before, StoredBudget):
        return
    if after is not None and after.name_or_key == before.name_or_key:
        if isinstance(after, StoredProject):
            _check_members(after, catalog)
        return
    users = _users(before, catalog)
    if after is not None and isinstance(before, StoredProvider):
        users["price"] = _number(before.provider_key, (one.provider for one in catalog.prices))
    if after is not None and not _is_shared(before, catalog):
        subject = (before.resource, before.name_or_key)
        users["budget"] = sum((one.scope, one.subject) == subject for one in catalog.budgets)
    named_by = [_count(number, what) for what, number in users.items() if number]
    if named_by:
        verb = "names" if sum(users.values()) == 1 else "name"
        what = "renamed" if after is not None else "deleted"
        raise Conflict(
            f"{before.label} cannot be {what}, because {' and '.join(named_by)} {verb} it; change those first",
            param=None if after is None else name_field(before),
        )


def check_keys(change: Change, catalog: Catalog) -> None:
    """Raise Conflict if the credential's key is one that another credential had before its last rotation."""
    row = change.after
    if not isinstance(row, StoredCredential) or (change.before is not None and "key" not in change.fields):
        return
    own = next(one for one in catalog.credentials if one.id == row.id)
    hashes = {own.key_hash, own.previous_key_hash} - {None}
    for other in catalog.credentials:
        if other.id != own.id and (other.previous_key_hash in hashes or other.key_hash in hashes):
            raise Conflict("A credential with this key exists already", param="key")


def _users(row: StoredRow, catalog: Catalog) -> dict[str, int]:
    """Count the rows that name `row`, by what they are called."""
    name = row.name_or_key
    if isinstance(row, StoredTenant):
        return {
            "credential": _number(name, (one.tenant for one in catalog.credentials)),
            "project": _number(name, (one.tenant for one in catalog.projects)),
        }
    if isinstance(row, StoredProject):
        return {"credential": _number(name, (one.project for one in catalog.credentials))}
    return {}


def _is_shared(row: StoredRow, catalog: Catalog) -> bool:
    """Tell whether another credential still has the name of `row`: old rows may share one."""
    return isinstance(row, StoredCredential) and any(one.name == row.name for one in catalog.credentials)


def _check_members(project: StoredProject, catalog: Catalog) -> None:
    if project.tenant is None:
        return
    others = sum(
        one.project == project.name and one.tenant not in (None, project.tenant)
        for one in catalog.credentials
    )
    if others:
        raise Conflict(
            f"{project.label} cannot be of tenant {project.tenant!r}: {_count(others, 'credential')} of it have "
            "another tenant; change them first",
            param="tenant",
        )


def _number(name: str, names: Iterable[str | None]) -> int:
    return sum(one == name for one in names)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
