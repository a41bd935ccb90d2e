"""A project's body holds what the client sent; a stored one is shown, also where it cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from pydantic import ValidationError

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.config.rows.tenants import ProjectUpdate, StoredProject
from llm_gateway.resources.projects import NewProject, ProjectChange, ProjectView, shown

ROW = StoredProject(
    id=2, created_at=1, updated_at=2, name="x", tenant="t", limits=Limits(tokens_per_day=5), is_enabled=True
)


def test_a_change_sets_only_what_was_sent() -> None:
    assert ProjectChange.model_validate({}).update() == ProjectUpdate()
    assert ProjectChange.model_validate({"limits": None}).update() == ProjectUpdate(limits=None)
    sent = {"name": "y", "is_enabled": False, "limits": {"requests_per_day": 0}}
    assert ProjectChange.model_validate(sent).update() == ProjectUpdate(
        name="y", is_enabled=False, limits=Limits(requests_per_day=0)
    )


def test_a_new_project_needs_a_name_and_is_enabled_unless_it_says() -> None:
    with pytest.raises(ValidationError, match="name"):
        NewProject.model_validate({})
    assert NewProject.model_validate({"name": "x"}).is_enabled is True


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\n"}, "name"),
        ({"is_enabled": None}, "is_enabled"),
        ({"limits": []}, "limits"),
        ({"limits": {"requests_per_minute": 2**31}}, "limits"),
        ({"limits": {"tokens_per_day": 10**15 + 1}}, "limits"),
        ({"limits": {"tokens_per_day": "5"}}, "limits"),
        ({"owner": "x"}, "owner"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        ProjectChange.model_validate(body)
    assert {str(found["loc"][0]) for found in error.value.errors()} == {field}


def test_a_stored_project_is_shown_with_all_its_limits() -> None:
    view = ProjectView.model_validate(shown(ROW, ["w"])).model_dump(exclude_unset=True)
    assert view["limits"] == {**dict.fromkeys(Limits.__struct_fields__), "tokens_per_day": 5}
    assert (view["is_enabled"], view["warnings"]) == (True, ["w"])


def test_a_project_that_cannot_be_read_is_disabled() -> None:
    broken = StoredProject(
        id=2, created_at=UNSET, updated_at=2, name="x", tenant="t", limits=UNSET, is_enabled=UNSET
    )
    view = ProjectView.model_validate(shown(broken, [])).model_dump(exclude_unset=True)
    assert (view["limits"], view["is_enabled"], view["created_at"]) == (None, False, None)
    assert "warnings" not in view
