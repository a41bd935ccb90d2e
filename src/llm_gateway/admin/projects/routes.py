"""`/admin/v1/projects`: what credentials are used for, and their common limits."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.crud import Crud
from llm_gateway.flow.config.rows.tenants import StoredProject
from llm_gateway.resources.projects import (
    NewProject,
    ProjectChange,
    ProjectPage,
    ProjectView,
    WrittenProject,
    shown,
)

router = APIRouter(prefix="/projects", tags=["projects"])

Crud(
    stored=StoredProject,
    name="project",
    new=NewProject,
    change=ProjectChange,
    view=ProjectView,
    written=WrittenProject,
    page=ProjectPage,
    shown=shown,
    with_slashes=True,
    docs={
        "create": "Create a project.",
        "list": "List projects by id.",
        "get": "Show one project, by id or name.",
        "change": "Change the fields in the body; the others stay as they are.",
        "delete": "Delete a project that no credential names.",
    },
).add_to(router)
