"""Task types: names for tasks such as "summarization", and the public models that do them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import model_list_faults


class TaskType(msgspec.Struct, frozen=True, kw_only=True):
    """A task and the public models that do it, best first."""

    id: int
    name: str
    models: tuple[str, ...]


def task_type_faults(task: TaskType) -> list[Fault]:
    """Return everything that is wrong with one task type."""
    return [Fault("task type", task.name, field, message, task.id) for field, message in _faults(task)]


def _faults(task: TaskType) -> Iterator[tuple[str, str]]:
    if not task.name:
        yield "name", "name must not be empty"
    if not task.models:
        yield "models", "models must name one model at least"
    yield from model_list_faults("models", task.models)
