"""A form becomes a body, and what is wrong stands beside its field."""

from __future__ import annotations

from llm_gateway.console.catalog.common_fields import ENABLED, limit_fields
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.core.errors import Unprocessable
from llm_gateway.resources.tenants import NewTenant

FIELDS = (Field(name="name", label="Name"), ENABLED, *limit_fields("limits", "Limits"))


def test_a_form_becomes_a_body_with_nested_objects() -> None:
    sent = {"name": "acme", "is_enabled": "yes", "limits.requests_per_day": "5"}
    body = FilledForm.sent(FIELDS, sent).body(NewTenant, sent)
    assert body is not None
    assert body.name == "acme"
    assert body.is_enabled
    assert body.limits is not None
    assert body.limits.requests_per_day == 5
    assert body.limits.tokens_per_day is None


def test_a_group_in_which_nothing_is_given_is_null() -> None:
    sent = {"name": "acme"}
    body = FilledForm.sent(FIELDS, sent).body(NewTenant, sent)
    assert body is not None
    assert body.limits is None
    assert not body.is_enabled


def test_what_is_wrong_stands_beside_its_field() -> None:
    sent = {"name": " ", "limits.requests_per_day": "-1", "limits.tokens_per_day": "x"}
    form = FilledForm.sent(FIELDS, sent)
    assert form.body(NewTenant, sent) is None
    assert form.errors == {"limits.tokens_per_day": "must be a number"}
    sent["limits.tokens_per_day"] = "1"
    form = FilledForm.sent(FIELDS, sent)
    assert form.body(NewTenant, sent) is None
    assert set(form.errors) == {"name", "limits.requests_per_day"}
    assert form.texts["limits.requests_per_day"] == "-1"


def test_a_refusal_stands_beside_the_field_that_it_names() -> None:
    form = FilledForm.sent(FIELDS, {})
    form.refuse(Unprocessable("name: is taken", param="name"))
    form.refuse(Unprocessable("limits: too narrow", param="limits"))
    form.refuse(Unprocessable("Something else.", param="other"))
    form.refuse(Unprocessable("No field."))
    assert form.errors == {
        "name": "is taken",
        "limits.requests_per_second": "too narrow",
        "": "Something else.; No field.",
    }


def test_a_row_fills_the_form() -> None:
    form = FilledForm.of(FIELDS, {"name": "a", "is_enabled": True, "limits": {"requests_per_day": 5}})
    assert form.texts["is_enabled"] == "yes"
    assert form.texts["limits.requests_per_day"] == "5"
    assert form.texts["limits.tokens_per_day"] == ""
