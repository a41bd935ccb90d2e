"""Stored tenants and projects, and what an admin may set on them."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, UnsetType

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow


class StoredTenant(StoredRow, frozen=True, kw_only=True):
    """A tenant as it is stored."""

    resource: ClassVar[str] = "tenant"

    name: str
    limits: Limits | UnsetType | None
    is_enabled: bool | UnsetType

    @property
    def name_or_key(self) -> str:
        return self.name


class TenantUpdate(RowUpdate[StoredTenant], frozen=True, kw_only=True):
    """What an admin may set on a tenant."""

    stored: ClassVar[type[StoredRow]] = StoredTenant

    name: str | UnsetType = UNSET
    # None = unlimited.
    limits: Limits | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET


class StoredProject(StoredRow, frozen=True, kw_only=True):
    """A project as it is stored."""

    resource: ClassVar[str] = "project"

    name: str
    tenant: str | None
    limits: Limits | UnsetType | None
    is_enabled: bool | UnsetType

    @property
    def name_or_key(self) -> str:
        return self.name


class ProjectUpdate(RowUpdate[StoredProject], frozen=True, kw_only=True):
    """What an admin may set on a project."""

    stored: ClassVar[type[StoredRow]] = StoredProject

    name: str | UnsetType = UNSET
    # None = of no tenant.
    tenant: str | UnsetType | None = UNSET
    # None = unlimited.
    limits: Limits | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET
