"""What is typed in a field becomes a value of a body, and the other way round."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.console.forms.fields import Field, Kind


def _field(kind: Kind) -> Field:
    return Field(name="value", label="Value", kind=kind)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "  a b ", "a b"),
        ("text", "   ", None),
        ("number", "12", 12),
        ("number", "0.5", 0.5),
        ("flag", "yes", True),
        ("flag", None, False),
        ("optional_flag", "", None),
        ("optional_flag", "no", False),
        ("lines", "a\r\n\r\n b \n", ["a", "b"]),
        ("pairs", "a = b\nc=d=e", {"a": "b", "c": "d=e"}),
        ("json", '{"a": [1]}', {"a": [1]}),
        ("secret", " sk-1 ", "sk-1"),
    ],
)
def test_reads(kind: Kind, text: str | None, value: object) -> None:
    assert _field(kind).read(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("number", "many", "must be a number"),
        ("pairs", "a", "each line must be"),
        ("pairs", "a=1\na=2", "a is there twice"),
        ("json", "{", "must be JSON"),
    ],
)
def test_says_what_is_wrong(kind: Kind, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _field(kind).read(text)


_WORDS = st.text(
    st.characters(codec="ascii", exclude_categories=("C", "Z"), exclude_characters="="), min_size=1
)


@given(
    st.one_of(
        st.tuples(st.just("number"), st.integers()),
        st.tuples(st.just("lines"), st.lists(_WORDS, min_size=1)),
        st.tuples(st.just("pairs"), st.dictionaries(_WORDS, _WORDS, min_size=1)),
        st.tuples(st.just("json"), st.dictionaries(st.text(), st.integers())),
        st.tuples(st.just("optional_flag"), st.booleans()),
    )
)
def test_what_is_shown_is_read_again(case: tuple[Kind, Any]) -> None:
    kind, value = case
    field = _field(kind)
    assert field.read(field.show(value)) == value


def test_a_secret_is_never_shown() -> None:
    assert _field("secret").show("sk-1") == ""
