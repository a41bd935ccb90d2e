"""A task type's body holds what the client sent; a stored one is shown with its warnings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from pydantic import ValidationError

from llm_gateway.flow.config.rows.task_types import StoredTaskType, TaskTypeUpdate
from llm_gateway.resources.task_types import NewTaskType, TaskTypeChange, TaskTypeView, shown

ROW = StoredTaskType(id=2, created_at=1, updated_at=2, name="summary", models=("b", "a"))


def test_a_change_sets_only_what_was_sent() -> None:
    assert TaskTypeChange.model_validate({}).update() == TaskTypeUpdate()
    assert TaskTypeChange.model_validate({"name": "x"}).update() == TaskTypeUpdate(name="x")
    assert TaskTypeChange.model_validate({"models": ["b", "a"]}).update() == TaskTypeUpdate(models=("b", "a"))


@pytest.mark.parametrize("missing", ["name", "models"])
def test_a_new_task_type_needs_a_name_and_models(missing: str) -> None:
    body = {"name": "x", "models": ["m"]}
    del body[missing]
    with pytest.raises(ValidationError, match=missing):
        NewTaskType.model_validate(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"models": []}, "models"),
        ({"models": None}, "models"),
        ({"models": ["m"] * 101}, "models"),
        ({"models": [""]}, "models"),
        ({"models": "m"}, "models"),
        ({"name": None}, "name"),
        ({"name": " x"}, "name"),
        ({"model": "m"}, "model"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        TaskTypeChange.model_validate(body)
    assert {str(found["loc"][0]) for found in error.value.errors()} == {field}


def test_a_stored_task_type_is_shown_in_its_order() -> None:
    assert TaskTypeView.model_validate(shown(ROW, ["w"])).model_dump(exclude_unset=True) == {
        "id": 2,
        "name": "summary",
        "models": ["b", "a"],
        "created_at": "1970-01-01T00:00:00.000001Z",
        "updated_at": "1970-01-01T00:00:00.000002Z",
        "warnings": ["w"],
    }


def test_an_unreadable_list_is_shown_as_null() -> None:
    assert shown(msgspec.structs.replace(ROW, models=UNSET), [])["models"] is None
