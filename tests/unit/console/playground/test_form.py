"""The playground's form as the body of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.console.forms.form import FilledForm
from llm_gateway.console.playground.form import FIELDS, chat_request

SENT = {"model": "gpt-4o", "prompt": "Hello"}


def made(**sent: str) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Return the body and the errors of a form."""
    given = SENT | sent
    form = FilledForm.sent(FIELDS, given)
    return chat_request(form, given), form.errors


def test_what_is_empty_is_not_sent() -> None:
    assert made(temperature=" ", tools="", system="  ") == (
        {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]},
        {},
    )


def test_every_field_has_its_place() -> None:
    body, errors = made(
        system="Be brief.",
        temperature="0.5",
        top_p="1",
        max_tokens="10",
        max_completion_tokens="20",
        seed="7",
        stop="END\n\nSTOP",
        reasoning_effort="low",
        tools='[{"type": "function"}]',
        tool_choice="auto",
        response_format="json_object",
        cache="on",
        extra='{"user": "me", "temperature": 1}',
    )
    assert errors == {}
    assert body == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "temperature": 1,
        "top_p": 1,
        "max_tokens": 10,
        "max_completion_tokens": 20,
        "seed": 7,
        "stop": ["END", "STOP"],
        "reasoning_effort": "low",
        "tools": [{"type": "function"}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "user": "me",
    }


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"type": "object"}, "answer"),
        ({"type": "object", "title": "A city"}, "A_city"),
        ({"type": "object", "title": "Straße"}, "answer"),
    ],
)
def test_a_schema_gets_a_name(schema: dict[str, Any], name: str) -> None:
    body, _ = made(response_format="json_schema", schema=json.dumps(schema))
    assert body is not None
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": schema},
    }


def test_a_schema_that_has_a_name_stays_as_it_is() -> None:
    named = {"name": "mine", "strict": True, "schema": {"type": "object"}}
    body, _ = made(response_format="json_schema", schema=json.dumps(named))
    assert body is not None
    assert body["response_format"]["json_schema"] == named


@pytest.mark.parametrize(
    ("sent", "field", "says"),
    [
        ({"model": " "}, "model", "Enter the model to ask."),
        ({"prompt": "\n"}, "prompt", "Enter a message."),
        ({"temperature": "warm"}, "temperature", "must be a number"),
        ({"tools": "[{]"}, "tools", "must be JSON"),
        ({"tools": "{}"}, "tools", "must be a JSON array"),
        ({"extra": "[]"}, "extra", "must be a JSON object"),
        ({"schema": "1"}, "schema", "must be a JSON object"),
        ({"response_format": "json_schema"}, "schema", "Enter the schema"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(sent: dict[str, str], field: str, says: str) -> None:
    body, errors = made(**sent)
    assert body is None
    assert list(errors) == [field]
    assert says in errors[field]
