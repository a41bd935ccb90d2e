"""A form becomes a body, says beside each field what is wrong, and holds no secret."""

from __future__ import annotations

from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.core.errors import Unprocessable
from llm_gateway.resources.models import ModelChange
from llm_gateway.resources.providers import ProviderChange

KEY = Field(name="api_key", label="Key", kind="secret", removable=True)
FIELDS = (
    Field(name="weight", label="Weight", kind="number"),
    KEY,
    Field(name="oauth2.token_url", label="URL"),
    Field(name="oauth2.client_id", label="Client"),
)
MODEL = (
    Field(name="cache.is_enabled", label="On", kind="optional_flag"),
    Field(name="cache.ttl", label="Seconds", kind="number"),
    Field(name="cache.is_shared", label="Shared", kind="flag"),
)


def given(sent: dict[str, str]) -> dict[str, object]:
    form = FilledForm.sent(FIELDS, sent)
    body = form.body(ProviderChange, sent)
    assert body is not None, form.errors
    return body.given()


def test_a_secret_stays_unless_it_is_typed_or_removed() -> None:
    assert "api_key" not in given({"weight": "1", "api_key": ""})
    assert given({"weight": "1", "api_key.remove": "yes"})["api_key"] is None
    form = FilledForm.sent(FIELDS, {"api_key": "sk-1", "api_key.remove": "yes"})
    assert form.body(ProviderChange, {"api_key": "sk-1", "api_key.remove": "yes"}) is None
    assert "not both" in form.errors["api_key"]


def test_a_page_never_holds_a_secret_and_asks_for_it_again() -> None:
    sent = {"weight": "many", "api_key": "sk-1"}
    form = FilledForm.sent(FIELDS, sent)
    assert form.body(ProviderChange, sent) is None
    assert form.errors == {"weight": "must be a number", "api_key": "Type it again: a page never holds it."}
    assert "sk-1" not in repr(form)


def test_a_group_of_which_nothing_is_given_is_null() -> None:
    assert given({"weight": "1"})["oauth2"] is None
    sent = {"weight": "1", "oauth2.client_id": "c"}
    form = FilledForm.sent(FIELDS, sent)
    assert form.body(ProviderChange, sent) is None
    assert form.errors == {"oauth2.token_url": "is needed"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    fields = (
        *FIELDS,
        Field(name="api_base", label="Base URL", required=True),
        Field(name="oauth2.scope", label="Scope"),
    )
    sent = {"weight": "many", "oauth2.client_id": "c", "oauth2.scope": "s\0"}
    form = FilledForm.sent(fields, sent)
    assert form.body(ProviderChange, sent) is None
    assert set(form.errors) == {"weight", "api_base", "oauth2.token_url", "oauth2.scope"}
    assert form.errors["weight"] == "must be a number"
    assert form.errors["api_base"] == "is needed"


def test_a_required_field_must_be_given() -> None:
    name = (Field(name="provider_key", label="Key", required=True),)
    form = FilledForm.sent(name, {"provider_key": " "})
    assert form.body(ProviderChange, {"provider_key": " "}) is None
    assert form.errors == {"provider_key": "is needed"}


def test_no_differs_from_nothing_in_a_group() -> None:
    for sent, cache in (({}, None), ({"cache.is_enabled": "no"}, False), ({"cache.ttl": "5"}, True)):
        body = FilledForm.sent(MODEL, sent).body(ModelChange, sent)
        assert isinstance(body, ModelChange)
        assert (body.cache and body.cache.is_enabled) == cache
        assert body.cache is None or body.cache.is_enabled is cache


def test_a_refusal_stands_at_its_field() -> None:
    form = FilledForm.sent(FIELDS, {"api_key": "sk-1"})
    form.refuse(Unprocessable("weight: must be 0 or more", param="weight"))
    form.refuse(Unprocessable("no such thing", param="nonsense"))
    form.refuse(Unprocessable("oauth2: is refused", param="oauth2"))
    assert form.errors["weight"] == "must be 0 or more"
    assert form.errors[""] == "no such thing"
    assert form.errors["oauth2.token_url"] == "is refused"
    assert form.errors["api_key"].startswith("Type it again")


def test_a_link_fills_in_fields_but_no_secret() -> None:
    form = FilledForm.of(FIELDS, {"weight": 1})
    form.fill_in({"weight": "7", "api_key": "sk-1", "other": "x"})
    assert form.texts["weight"] == "7"
    assert (form.texts["api_key"], "other" in form.texts) == ("", False)
