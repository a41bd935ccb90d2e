"""Task types: names for tasks, and the models that do them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request

from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.flow.config.rows.task_types import StoredTaskType
from llm_gateway.resources.task_types import NewTaskType, TaskTypeChange, shown

_MOST_KNOWN = 50


def _fields(services: ConsoleServices, row: StoredTaskType | None) -> Sequence[Field]:
    del services, row
    return (
        Field(
            name="name",
            label="Name",
            required=True,
            hint="Unique; clients send it in place of a model.",
            placeholder="summarization",
        ),
        Field(
            name="models",
            label="Models",
            kind="lines",
            required=True,
            hint="Public models, one a line, the best first. The next one is tried when those before it have failed.",
        ),
    )


def _blank(request: Request) -> Mapping[str, Any]:
    """Return models that are served."""
    snapshot = services_of(request).snapshots.current
    known = () if snapshot is None else snapshot.explicit_models
    return {"served": (), "known": known[:_MOST_KNOWN], "further": max(len(known) - _MOST_KNOWN, 0)}


async def _detail(request: Request, row: StoredTaskType) -> Mapping[str, Any]:
    """Return, besides, who serves each model of the task type, in their order."""
    snapshot = services_of(request).snapshots.current
    models = row.models if isinstance(row.models, tuple) else ()
    served = []
    for name in models:
        route = None if snapshot is None else snapshot.route(name)
        served.append((name, [] if route is None else [one.provider_key for one in route.deployments]))
    return {**_blank(request), "served": served}


PAGES: Final = ResourcePages(
    stored=StoredTaskType,
    path="/console/task-types",
    one="task type",
    title="Task types",
    about="A task type is a name for a task, such as “summarization”, and the models that do it, best first. Clients "
    "ask for the task; which model does it is decided here.",
    empty="There are no task types. Create one to choose models by what they are for.",
    new=NewTaskType,
    change=TaskTypeChange,
    shown=shown,
    fields=_fields,
    list_template="catalog/task_types.html",
    form_template="catalog/task_type.html",
    defaults={},
    blank=_blank,
    detail=_detail,
)
