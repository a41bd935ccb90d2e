"""The top-level fields of a request body: what is not a JSON object, and values of the wrong type."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.surfaces.openai.fields import (
    first_byte,
    is_given,
    read_boolean,
    read_fields,
    read_model,
    wrong_type,
)


def raw(value: str) -> msgspec.Raw:
    return msgspec.Raw(value.encode())


def test_fields_keep_their_bytes() -> None:
    fields = read_fields(b'{"a": 1.50, "b\\u0063": [ 1, 2 ], "\xc3\xa9": null}')
    assert {name: bytes(value) for name, value in fields.items()} == {
        "a": b"1.50",
        "bc": b"[ 1, 2 ]",
        "\u00e9": b"null",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is empty"),
        (b"   ", "not valid JSON"),
        (b'{"model": "m"', "not valid JSON"),
        (b'{"model": "m"} x', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a": "\xc3\x28"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        read_fields(body)
    assert caught.value.code == "invalid_json"


def test_large_bodies_are_read_and_refused_alike() -> None:
    text = b"x" * 10_000
    fields = read_fields(b'{"a": "%b", "\xc3\xa9": [ 1 ], "b\\u0063": 2}' % text)
    assert {name: bytes(value) for name, value in fields.items()} == {
        "a": b'"%b"' % text,
        "\u00e9": b"[ 1 ]",
        "bc": b"2",
    }
    for end, message in (
        (b'", "b": 01}', r"not valid JSON: .*\(byte 10016\)"),
        (b"", "not valid JSON: Input data was truncated"),
        (b'\xc3\x28"}', "not UTF-8"),
    ):
        with pytest.raises(BadRequest, match=message):
            read_fields(b'{"a": "%b%b' % (text, end))
    with pytest.raises(BadRequest, match="must be a JSON object"):
        read_fields(b'["%b"]' % text)


def test_a_syntax_error_names_the_place_and_no_content() -> None:
    with pytest.raises(BadRequest, match="byte 16") as caught:
        read_fields(b'{"api": "sk-1", }')
    assert "sk-1" not in caught.value.message


@pytest.mark.parametrize(("value", "model"), [('"m"', "m"), ('"m\\u002f1"', "m/1"), ('"\u00e9"', "\u00e9")])
def test_the_model_is_read(value: str, model: str) -> None:
    assert read_model({"model": raw(value)}) == model


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "'model' is missing"),
        ("null", "must be a string, not null"),
        ("4", "must be a string, not a number"),
        ('["m"]', "must be a string, not an array"),
        ('"\\ud800"', "must be a string"),
        ('""', "1 to 512 characters"),
        (f'"{"m" * 513}"', "1 to 512 characters"),
    ],
)
def test_a_model_that_is_none_is_refused(value: str | None, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        read_model({} if value is None else {"model": raw(value)})
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("value", "read"), [(None, False), ("null", False), ("false", False), ("true", True)]
)
def test_a_boolean_that_is_missing_or_null_is_false(value: str | None, read: bool) -> None:
    assert read_boolean({} if value is None else {"stream": raw(value)}, "stream") is read


@pytest.mark.parametrize("value", ['"yes"', "1", "0", "[]", '"true"'])
def test_nothing_else_is_a_boolean(value: str) -> None:
    with pytest.raises(BadRequest, match="'stream' must be true or false") as caught:
        read_boolean({"stream": raw(value)}, "stream")
    assert (caught.value.param, caught.value.code) == ("stream", "invalid_type")


def test_null_is_not_given() -> None:
    fields = {"a": raw("null"), "b": raw("0"), "c": raw('""')}
    assert [is_given(fields, name) for name in ("a", "b", "c", "d")] == [False, True, True, False]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ('{"a": 1}', "an object"),
        ("[1]", "an array"),
        ('"text"', "a string"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ("null", "null"),
        ("-1", "a number"),
        ("0.5", "a number"),
    ],
)
def test_an_error_names_the_given_type_and_not_the_value(value: str, kind: str) -> None:
    error = wrong_type("a", "a thing", raw(value))
    assert error.message == f"The field 'a' must be a thing, not {kind}."
    assert first_byte(raw(value)) == value[:1].encode()
