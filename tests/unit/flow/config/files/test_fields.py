"""Fields are read by the type that they must have; all that is wrong is named with line and path."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec import UNSET

from llm_gateway.flow.config.files.fields import (
    Fields,
    Problems,
    read_flag,
    read_number,
    read_text,
    read_time,
    read_whole,
)
from llm_gateway.flow.config.files.nodes import InvalidConfigFile, read_yaml


def fields(text: str) -> Fields:
    return Fields(read_yaml(text.encode()), "", Problems())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.01", "0.01"),
        ("1e-06", "0.000001"),
        ("2.5E+3", "2500"),
        ("-3", "-3"),
        (".5", "0.5"),
        ("1_000", "1000"),
        (" 7 ", "7"),
    ],
)
def test_numbers_are_exact(text: str, number: str) -> None:
    assert read_number(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    [".nan", "NaN", "inf", "-.inf", "1e400", "1e-400", "1" * 101, "0x10", "1,5", "", "one", "--1", "1e", "²"],
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3), ("3.0", 3), ("3.5", None), ("2147483648", None), ("-1", -1), ("x", None)]
)
def test_whole_numbers_fit_a_column(text: str, number: int | None) -> None:
    assert read_whole(text) == number


def test_flags_texts_and_times() -> None:
    assert [read_flag(text) for text in ("true", "Yes", "OFF", "no", "1", "")] == [
        True,
        True,
        False,
        False,
        None,
        None,
    ]
    assert [read_text(text) for text in ("a b", " ", "a\nb", "")] == ["a b", None, None, None]
    assert read_time("1970-01-01T00:00:01Z") == 1_000_000
    assert read_time("1970-01-01 01:00:00+01:00") == 0
    assert read_time("1970-01-02") == 86_400_000_000
    assert read_time("soon") is None


def test_every_problem_is_named() -> None:
    root = fields(
        "weight: heavy\nis_on: maybe\nnames: [a, [b]]\nmap: {a: x}\nnested: 5\nitems: {a: 1}\nweigth: 1\n"
    )
    assert root.whole("weight") is UNSET
    assert root.flag("is_on") is UNSET
    assert root.texts("names") is UNSET
    assert root.map("map", read_whole, "must be whole numbers") == {}
    assert root.inner("nested") is not None
    assert root.items("items") == []
    root.finish()
    with pytest.raises(InvalidConfigFile) as raised:
        root.problems.check()
    assert str(raised.value).splitlines() == [
        "line 1: weight must be a whole number",
        "line 2: is_on must be true or false",
        "line 3: names must be a list of names",
        "line 4: map.a must be whole numbers",
        "line 5: nested must be fields and their values",
        "line 6: items must be a list",
        "line 7: weigth is unknown; did you mean weight?",
    ]


def test_null_is_known_from_absent() -> None:
    root = fields("a: null\nb: 1\n")
    assert (root.text("a"), root.text("c")) == (UNSET, UNSET)
    assert (root.is_null("a"), root.is_null("b"), root.is_null("c")) == (True, False, False)


def test_a_file_of_many_faults_names_the_first_ones() -> None:
    root = fields("".join(f"x{n}: 1\n" for n in range(50)))
    root.finish()
    with pytest.raises(InvalidConfigFile) as raised:
        root.problems.check()
    lines = str(raised.value).splitlines()
    assert (len(lines), lines[-1]) == (21, "and 30 more")
