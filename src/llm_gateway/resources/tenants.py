"""A tenant as the admin API and the console take it and show it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from llm_gateway.flow.config.rows.tenants import StoredTenant, TenantUpdate
from llm_gateway.resources.shapes import LimitsBody, Name, RowView, UpdateBody, WriteAnswer, shown_limits
from llm_gateway.resources.times import shown_time


class TenantChange(UpdateBody):
    """PUT and PATCH: what is left out stays."""

    # A default_factory only says "may be left out": its value is never used.
    name: Name = Field(default_factory=str)
    limits: LimitsBody | None = Field(
        None, description="Limits of all its credentials together; null = unlimited."
    )
    is_enabled: bool = Field(
        default_factory=bool, description="The credentials of a disabled tenant are refused."
    )

    def update(self) -> TenantUpdate:
        given = self.given()
        if given.get("limits") is not None:
            given["limits"] = given["limits"].limits()
        return TenantUpdate(**given)


class NewTenant(TenantChange):
    """POST."""

    name: Name
    is_enabled: bool = True


class TenantView(RowView):
    """A tenant as lists show it."""

    id: int
    name: str
    limits: LimitsBody | None = Field(description="Of all its credentials together; null = unlimited.")
    is_enabled: bool
    created_at: str | None = Field(description="null: what is stored cannot be read.")
    updated_at: str | None


class WrittenTenant(TenantView, WriteAnswer):
    """A tenant after a write."""


class TenantPage(BaseModel):
    """One page of tenants, by id."""

    data: list[TenantView]
    next_cursor: str | None


def shown(row: StoredTenant, warnings: list[str]) -> dict[str, Any]:
    """Return a stored tenant as an admin sees it; warnings only if there are any."""
    return {
        "id": row.id,
        "name": row.name,
        "limits": shown_limits(row.limits),
        "is_enabled": row.is_enabled is True,
        "created_at": shown_time(row.created_at),
        "updated_at": shown_time(row.updated_at),
        **({"warnings": warnings} if warnings else {}),
    }
