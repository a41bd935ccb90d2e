"""A model's body holds what the client sent, null resets a field, and stored settings are shown in full."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from pydantic import ValidationError

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import Model, RetryRules, Timeouts
from llm_gateway.flow.config.rows.models import ModelUpdate, StoredModel
from llm_gateway.resources.models import ModelChange, ModelView, NewModel, shown

ROW = StoredModel(
    id=3,
    created_at=0,
    updated_at=1,
    name="org/model:free",
    strategy="least_busy",
    weights={"main": 0},
    fallbacks=("a", "b"),
    context_fallbacks=(),
    policy_fallbacks=("mild",),
    timeouts=Timeouts(idle=5),
    retry=RetryRules(max_retries=0),
    affinity="user",
    cache=CacheRules(),
)
READ_ONLY = {"id", "created_at", "updated_at", "warnings", "faults", "config_version", "stale_workers"}
OPTIONAL = sorted(set(ModelChange.model_fields) - {"name"} - READ_ONLY)


def test_a_change_sets_only_what_was_sent() -> None:
    assert ModelChange.model_validate({}).update() == ModelUpdate()
    assert ModelChange.model_validate({"weights": {"x": 1}}).update() == ModelUpdate(weights={"x": 1})


@pytest.mark.parametrize(
    "body", [{"affinity": "header:\0"}, {"weights": {"a\0b": 1}}, {"weights": {"\ud800": 1}}]
)
def test_texts_are_those_that_both_databases_hold(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ModelChange.model_validate(body)


def test_every_field_of_a_change_reaches_the_update() -> None:
    body = {
        "name": "m",
        "strategy": "weighted_random",
        "weights": {"main": 3},
        "fallbacks": ["a"],
        "context_fallbacks": ["b"],
        "policy_fallbacks": [],
        "timeouts": {"connect": 1, "total": 2.5},
        "retry": {"jitter": 0, "retry_cut": False},
        "affinity": "header:x",
        "cache": {"is_shared": True},
    }
    assert ModelChange.model_validate(body).update() == ModelUpdate(
        name="m",
        strategy="weighted_random",
        weights={"main": 3},
        fallbacks=("a",),
        context_fallbacks=("b",),
        policy_fallbacks=(),
        timeouts=Timeouts(connect=1, total=2.5),
        retry=RetryRules(jitter=0, retry_cut=False),
        affinity="header:x",
        cache=CacheRules(is_shared=True),
    )


@pytest.mark.parametrize("field", OPTIONAL)
def test_null_resets_a_field_to_its_default(field: str) -> None:
    update = ModelChange.model_validate({field: None}).update()
    assert update.given() == {field: getattr(Model(id=0, name="m"), field)}


def test_a_model_needs_a_name_and_cannot_lose_it() -> None:
    with pytest.raises(ValidationError, match="name"):
        NewModel.model_validate({})
    with pytest.raises(ValidationError, match="name"):
        ModelChange.model_validate({"name": None})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"strategy": "fastest"}, "strategy"),
        ({"weights": {"x": -1}}, "weights"),
        ({"weights": {"x": 1.5}}, "weights"),
        ({"weights": {"": 1}}, "weights"),
        ({"fallbacks": "m"}, "fallbacks"),
        ({"fallbacks": ["m"] * 101}, "fallbacks"),
        ({"timeouts": {"conect": 1}}, "timeouts"),
        ({"timeouts": {"idle": float("inf")}}, "timeouts"),
        ({"retry": {"max_retries": 1.5}}, "retry"),
        ({"affinity": ""}, "affinity"),
        ({"cache": True}, "cache"),
        ({"weight": 1}, "weight"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        ModelChange.model_validate(body)
    assert {str(found["loc"][0]) for found in error.value.errors()} == {field}


def test_stored_settings_are_shown_with_every_field_of_their_objects() -> None:
    view = ModelView.model_validate(shown(ROW, ["name: no enabled provider serves this model"]))
    assert view.model_dump(exclude_unset=True) == {
        "id": 3,
        "name": "org/model:free",
        "strategy": "least_busy",
        "weights": {"main": 0},
        "fallbacks": ["a", "b"],
        "context_fallbacks": [],
        "policy_fallbacks": ["mild"],
        "timeouts": {"connect": None, "first_content": None, "idle": 5, "total": None},
        "retry": {
            "max_retries": 0,
            "initial_backoff_ms": None,
            "max_backoff_ms": None,
            "backoff_factor": None,
            "jitter": None,
            "retry_cut": True,
        },
        "affinity": "user",
        "cache": {"is_enabled": True, "ttl": None, "is_shared": False},
        "created_at": "1970-01-01T00:00:00.000000Z",
        "updated_at": "1970-01-01T00:00:00.000001Z",
        "warnings": ["name: no enabled provider serves this model"],
    }


@pytest.mark.parametrize(
    "field",
    ["weights", "fallbacks", "context_fallbacks", "policy_fallbacks", "timeouts", "retry", "cache"],
)
def test_an_unreadable_value_is_shown_as_null(field: str) -> None:
    broken = msgspec.structs.replace(ROW, **{field: UNSET})
    assert ModelView.model_validate(shown(broken, [])).model_dump()[field] is None
