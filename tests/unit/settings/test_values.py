"""The text of a variable becomes a value of the setting's type, or is refused with what it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.settings.values import clean, split_at_commas, to_value, without_none


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "Text", "Text"),
        (str | None, "null", "null"),
        (Path, "a/b", Path("a/b")),
        (Path | None, "a", Path("a")),
        (Secret, "hush", Secret("hush")),
        (Secret | None, "none", Secret("none")),
        (int, "0", 0),
        (int, "+8", 8),
        (int, "-8", -8),
        (int, "50_000_000", 50_000_000),
        (int, "8.0", 8),
        (int, "1e3", 1000),
        (float, "8", 8.0),
        (float, ".5", 0.5),
        (float, "5.", 5.0),
        (float, "1e-3", 0.001),
        (float | None, "1_000.5", 1000.5),
        *((bool, text, True) for text in ("true", "TRUE", "t", "yes", "Y", "on", "1")),
        *((bool, text, False) for text in ("false", "False", "f", "no", "N", "OFF", "0")),
        (Literal["on", "off"], "off", "off"),
        (Literal["text", "json"], "JSON", "json"),
    ],
)
def test_a_text_becomes_a_value_of_the_type(kind: object, text: str, value: object) -> None:
    made = to_value(text, kind, {})
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("kind", "bounds", "text", "expected"),
    [
        (int, {}, "many", "a whole number"),
        (int, {}, "1.5", "a whole number"),
        (int, {}, "nan", "a whole number"),
        (int, {}, "inf", "a whole number"),
        (int, {}, "9" * 5000, "a whole number"),
        (int, {}, "0x10", "a whole number"),
        (int, {}, "\u0663", "a whole number"),
        (float, {}, "\uff11", "a number"),
        (int, {"ge": 1}, "0", "a whole number of at least 1"),
        (int, {"ge": 0, "le": 65535}, "65536", "a whole number from 0 to 65,535"),
        (float | None, {"gt": 0}, "0", "a number above 0"),
        (float, {"gt": 0, "le": 8760}, "nan", "a number above 0 and at most 8,760"),
        (float, {"ge": 0}, "nan", "a number of at least 0"),
        (float, {"ge": 0}, "-inf", "a number of at least 0"),
        (float, {"ge": 0, "le": 1}, "inf", "a number from 0 to 1"),
        (float, {}, "1,5", "a number"),
        (bool, {}, "maybe", "true or false"),
        (bool, {}, "2", "true or false"),
        (Literal["on", "off"], {}, "true", "on or off"),
        (Literal["all", "errors", "off"], {}, "none", "all, errors or off"),
    ],
)
def test_another_text_is_refused_with_what_it_must_be(
    kind: object, bounds: dict[str, float], text: str, expected: str
) -> None:
    with pytest.raises(ValueError, match=f"^the value must be {expected}$"):
        to_value(text, kind, bounds)


@pytest.mark.parametrize(("bound", "text"), [("ge", "1"), ("le", "1"), ("gt", "1.5"), ("gt", "inf")])
def test_what_is_within_the_bounds_is_taken(bound: str, text: str) -> None:
    assert to_value(text, float, {bound: 1}) == float(text)


def test_another_type_needs_a_reader() -> None:
    for kind in (dict[str, str], Path | str, list[int]):
        with pytest.raises(TypeError, match="needs a function"):
            to_value("x", kind, {})


def test_what_surrounds_a_text_is_taken_off() -> None:
    assert clean(' " a b"\r\n') == "a b"
    with pytest.raises(ValueError, match="blank"):
        clean("''")


def test_parts_of_a_list() -> None:
    assert split_at_commas(" a,, b ,") == ("a", "b")
    assert split_at_commas(",") == ()


def test_the_type_of_a_value_that_may_be_missing() -> None:
    assert without_none(int | None) is int
    assert without_none(int) is int
    assert without_none(Literal["a"] | Path | None) == Literal["a"] | Path | None
