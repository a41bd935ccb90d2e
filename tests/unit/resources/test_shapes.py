"""Request bodies are strict, outcomes leave out what says nothing, and paths name rows by id or by name."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from pydantic import SecretStr, ValidationError

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import NotFound
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.task_types import StoredTaskType
from llm_gateway.resources.shapes import (
    Body,
    CacheBody,
    outcome,
    printable,
    printable_secret,
    read_id,
    read_ref,
    shown_cache,
    shown_limits,
)

ROW = StoredTaskType(id=1, created_at=0, updated_at=0, name="t", models=("m",))


class Example(Body):
    number: int = 1
    text: str | None = None


@pytest.mark.parametrize("body", [{"nunber": 1}, {"number": "1"}, {"number": 1.0}, {"text": 1}])
def test_unknown_fields_and_wrong_types_are_rejected(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Example.model_validate(body)


def test_given_are_the_fields_that_were_sent_and_no_defaults() -> None:
    assert Example.model_validate({}).given() == {}
    assert Example.model_validate({"text": None}).given() == {"text": None}
    assert Example.model_validate({"number": 1}).given() == {"number": 1}


def test_an_error_never_repeats_the_input() -> None:
    with pytest.raises(ValidationError) as error:
        Example.model_validate({"number": "sk-secret"})
    assert "sk-secret" not in str(error.value)


def test_the_outcome_of_a_plain_edit_is_its_version() -> None:
    assert outcome(Edited(row=ROW, stored_version=4, config_version=3)) == {"config_version": 3}


def test_the_outcome_holds_what_an_edit_had_to_say() -> None:
    edited = Edited(
        row=ROW,
        stored_version=4,
        config_version=3,
        dry_run=True,
        generated_key=Secret("sk-new"),
        stale_workers=(7, 8),
        faults=(Fault("provider", "x", "weight", "weight must be 0 or more"),),
    )
    assert outcome(edited) == {
        "config_version": 3,
        "dry_run": True,
        "stale_workers": [7, 8],
        "faults": ["provider 'x': weight must be 0 or more"],
        "key": "sk-new",
    }


@pytest.mark.parametrize("text", ["", "a", "a b", "é", "it's"])
def test_printable_text_passes(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "says"), [("a\nb", "printable"), ("a\0", "printable"), (" a", "space"), ("a ", "space")]
)
def test_other_text_is_rejected_and_a_secret_is_not_repeated(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        printable(text)
    with pytest.raises(ValueError, match=says) as error:
        printable_secret(SecretStr(f"{text[0]}sk-hidden{text[1:]}"))
    assert "sk-hidden" not in str(error.value)


def test_cache_rules_go_in_and_come_out() -> None:
    body = CacheBody.model_validate({"ttl": 5, "is_shared": True})
    rules = CacheRules(is_enabled=True, ttl=5, is_shared=True)
    assert body.rules() == rules
    assert shown_cache(rules) == body
    assert CacheBody().rules() == CacheRules()


@pytest.mark.parametrize("ttl", [float("inf"), float("nan"), "5"])
def test_a_ttl_must_be_a_finite_number(ttl: object) -> None:
    with pytest.raises(ValidationError):
        CacheBody.model_validate({"ttl": ttl})


def test_no_rules_and_unreadable_rules_are_shown_as_null() -> None:
    assert shown_cache(None) is None
    assert shown_cache(UNSET) is None


@pytest.mark.parametrize(("text", "ref"), [("7", 7), ("007", 7), ("x", "x"), ("7x", "7x"), ("-1", "-1")])
def test_digits_are_an_id_and_all_else_is_a_name(text: str, ref: int | str) -> None:
    assert read_ref(text, "model") == ref


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "", "٣", str(2**63)])
def test_what_cannot_be_an_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="There is no credential"):
        read_id(text, "credential")


@pytest.mark.parametrize("text", ["a\0b", "a\n", "٣", "9" * 30])
def test_what_is_neither_an_id_nor_a_name_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="There is no model"):
        read_ref(text, "model")


def test_the_largest_id_is_one() -> None:
    assert read_id(str(2**63 - 1), "provider") == 2**63 - 1


def test_limits_that_nobody_may_set_are_shown_to_be_repaired() -> None:
    body = shown_limits(Limits(requests_per_day=-1))
    assert body is not None
    assert body.requests_per_day == -1
