"""JSON is written without blanks, whatever its values."""

from __future__ import annotations

from llm_gateway.wire.json_text import json_text


def test_blanks_are_left_out_and_characters_stay() -> None:
    assert json_text({"a": [1, "\u00e9 \ud800"], "b": None}) == '{"a":[1,"\u00e9 \ud800"],"b":null}'


def test_what_is_nested_too_deeply_is_no_text() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert json_text(value) == ""
