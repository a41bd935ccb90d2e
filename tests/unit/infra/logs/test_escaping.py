"""No character that a client chose can forge a line, hide a part of one, or turn its direction."""

from __future__ import annotations

import json
import unicodedata

import pytest

from llm_gateway.infra.logs.escaping import block, json_line, one_line

_CATEGORIES = {"Cc", "Cf", "Zl", "Zp", "Cs"}
DANGEROUS = "".join(chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in _CATEGORIES)
HARMLESS = "a\u00e9\u4e2d\u05d0\u0627\u0e01\U0001f600\u2764\ufe0f"


def dangers(text: str) -> set[str]:
    return {one for one in text if unicodedata.category(one) in _CATEGORIES}


def test_a_line_has_no_dangerous_character() -> None:
    assert dangers(one_line(DANGEROUS)) == {"\t"}
    assert dangers(block(DANGEROUS)) == {"\t", "\n"}


def test_letters_of_every_script_stay() -> None:
    assert one_line(HARMLESS) == HARMLESS
    assert json_line(HARMLESS.encode()).decode() == HARMLESS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\x85", "\\x85"),
        ("\u2028", "\\u2028"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("a\nb\tc", "a\\nb\tc"),
    ],
)
def test_each_is_shown_by_its_number(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_json_has_the_same_value_without_them() -> None:
    text = "".join(one for one in DANGEROUS if unicodedata.category(one) != "Cs" and ord(one) >= 0x20)
    line = json.dumps({"model": text + HARMLESS}, ensure_ascii=False).encode() + b"\n"
    escaped = json_line(line)
    assert dangers(escaped.decode()) == {"\n"}
    assert escaped.endswith(b"}\n")
    assert json.loads(escaped) == {"model": text + HARMLESS}
