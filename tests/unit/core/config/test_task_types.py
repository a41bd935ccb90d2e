"""A fault of a task type names its field."""

from __future__ import annotations

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.task_types import TaskType, task_type_faults


def test_a_task_type_names_a_model_at_least() -> None:
    assert task_type_faults(TaskType(id=1, name="t", models=("nobody-serves-it",))) == []
    assert task_type_faults(TaskType(id=1, name="t", models=())) == [
        Fault("task type", "t", "models", "models must name one model at least", 1)
    ]
    assert [fault.message for fault in task_type_faults(TaskType(id=1, name="", models=("a*",)))] == [
        "name must not be empty",
        "models must be names of models, without * ? [",
    ]
