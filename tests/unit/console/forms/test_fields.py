"""Each kind of field shows a value as text that it reads as the same value, and says what is wrong with a text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.console.forms.fields import Field, Kind

# As names in bodies are: printable, and without spaces at their ends.
NAMES = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=' "=\\'), min_size=1, max_size=12
).filter(lambda text: text == text.strip())


def field(kind: Kind) -> Field:
    return Field(name="x", label="X", kind=kind)


@given(st.dictionaries(NAMES, NAMES, min_size=1))
def test_pairs_come_back_whatever_their_names_hold(pairs: dict[str, str]) -> None:
    one = field("pairs")
    assert one.read(one.show(pairs)) == pairs
    assert one.read(one.show(pairs).replace("\n", "\r\n")) == pairs, "as browsers send lines"


@given(st.dictionaries(NAMES, st.integers(0, 2**31), min_size=1))
def test_numbers_by_name_come_back(numbers: dict[str, int]) -> None:
    one = field("number_pairs")
    assert one.read(one.show(numbers)) == numbers


@given(st.lists(NAMES, min_size=1))
def test_lines_come_back(lines: list[str]) -> None:
    one = field("lines")
    assert one.read(one.show(lines)) == lines


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "a b"),
        ("number", 0),
        ("number", 1.5),
        ("flag", True),
        ("optional_flag", False),
        ("optional_flag", True),
        ("json", {"a": [1, None]}),
        ("choice", "openai"),
    ],
)
def test_a_value_comes_back(kind: Kind, value: Any) -> None:
    one = field(kind)
    assert one.read(one.show(value)) == value


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("number", "many", "must be a number"),
        ("pairs", "a", "each line must be `name = value`"),
        ("pairs", "= b", "each line must be `name = value`"),
        ("pairs", "a = b\na = c", "a is there twice"),
        ("number_pairs", "a = b", "a: b is not a number"),
        ("number_pairs", "a = inf", "a: inf is not a number"),
        ("json", "{", "must be JSON"),
        # What Python takes for a number, and JSON cannot hold.
        *(("number", text, "must be a number") for text in ("nan", "inf", "-Infinity", "1e400", "9" * 5000)),
        ("json", "[NaN]", "NaN is not a number that JSON can hold"),
        ("json", '{"a": -1e400}', "-1e400 is not a number that JSON can hold"),
        ("json", "[" * 200_000, "must not be nested so deeply"),
        ("json", '{"a":' * 200_000, "must not be nested so deeply"),
    ],
)
def test_a_text_that_is_no_value_is_refused(kind: Kind, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        field(kind).read(text)


def test_what_is_typed_without_quotes_is_taken_as_it_is() -> None:
    assert field("pairs").read('a=b=c\n"x = y\n"p=q" = "r') == {"a": "b=c", '"x': "y", "p=q": '"r'}


def test_a_secret_is_never_shown() -> None:
    assert field("secret").show("sk-1") == ""
    assert field("secret").read(" sk-1 ") == "sk-1"


def test_nothing_is_none_and_an_unticked_box_is_false() -> None:
    assert [field(kind).read("") for kind in ("text", "number", "pairs", "lines", "optional_flag")] == [
        None
    ] * 5
    assert field("flag").read(None) is False
    assert field("flag").read("yes") is True
