"""`/admin/v1/tenants`: whose the credentials are, and their common limits."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.crud import Crud
from llm_gateway.flow.config.rows.tenants import StoredTenant
from llm_gateway.resources.tenants import (
    NewTenant,
    TenantChange,
    TenantPage,
    TenantView,
    WrittenTenant,
    shown,
)

router = APIRouter(prefix="/tenants", tags=["tenants"])

Crud(
    stored=StoredTenant,
    name="tenant",
    new=NewTenant,
    change=TenantChange,
    view=TenantView,
    written=WrittenTenant,
    page=TenantPage,
    shown=shown,
    with_slashes=True,
    docs={
        "create": "Create a tenant.",
        "list": "List tenants by id.",
        "get": "Show one tenant, by id or name.",
        "change": "Change the fields in the body; the others stay as they are.",
        "delete": "Delete a tenant that no credential and no project names.",
    },
).add_to(router)
