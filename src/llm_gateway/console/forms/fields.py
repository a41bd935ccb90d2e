"""The fields of a form: how each is shown, and how its text becomes a value of a body."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "text",
    "secret",
    "number",
    "decimal",
    "flag",
    "choice",
    "optional_flag",
    "lines",
    "pairs",
    "number_pairs",
    "json",
    "time",
]
# Between the two sides of a pair, one pair a line. A side that holds it, or begins with a quote, is written as
# a JSON string.
_PAIR = "="
_QUOTE = '"'
_FLAGS = {"": None, "yes": True, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field. `name` is that of the body, with dots where bodies nest: "limits.requests_per_day"."""

    name: str
    label: str
    kind: Kind = "text"
    hint: str = ""
    # Values and what they are called, of the kind "choice".
    options: Sequence[tuple[str, str]] = ()
    # Suggestions for a text.
    suggestions: str | None = None
    placeholder: str = ""
    required: bool = False
    # Of a secret: whether there is one that can be removed.
    removable: bool = False
    # Fields of one group stand together, under this heading; what is empty in all of them is folded away.
    group: str | None = None

    @property
    def id(self) -> str:
        """The id of the element in the page."""
        return f"field-{self.name.replace('.', '-')}"

    @property
    def removal(self) -> str:
        """The name of the box that has a secret removed."""
        return f"{self.name}.remove"

    def read(self, text: str | None) -> Any:  # noqa: ANN401 - JSON
        """Return the value of what was typed, None for nothing; raise ValueError that says what is wrong."""
        if self.kind == "flag":
            return text is not None
        if text is None or not text.strip():
            return None
        return _READERS.get(self.kind, str.strip)(text)

    def show(self, value: Any) -> str:  # noqa: ANN401 - JSON
        """Return the text that `read` reads as `value`."""
        if value is None or self.kind == "secret":
            return ""
        if self.kind == "flag":
            return "yes" if value else ""
        if self.kind == "number":
            return str(value).removesuffix(".0")
        if self.kind == "optional_flag":
            return "yes" if value else "no"
        if self.kind == "lines":
            return "\n".join(value)
        if self.kind in {"pairs", "number_pairs"}:
            return "\n".join(f"{_key_text(key)} {_PAIR} {_value_text(item)}" for key, item in value.items())
        if self.kind == "time":
            return str(value).replace(".000000Z", "Z")
        return json.dumps(value, indent=2, ensure_ascii=False) if self.kind == "json" else str(value)


def _number(text: str) -> int | float:
    text = text.strip()
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return _finite(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = f"{text[:100]} is not a number that JSON can hold"
        raise ValueError(message)
    return number


def _flag(text: str) -> bool | None:
    return _FLAGS.get(text.strip())


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in _lines(text):
        key, value = _pair(line)
        if key in pairs:
            raise ValueError(f"{key[:100]} is there twice")
        pairs[key] = value
    return pairs


def _pair(line: str) -> tuple[str, str]:
    key, rest = _unquoted(line)
    if key is None:
        key, sign, rest = line.partition(_PAIR)
    else:
        sign, rest = rest[:1], rest[1:]
    key, rest = key.strip(), rest.strip()
    value, after = _unquoted(rest)
    if value is None or after:
        value = rest
    if sign != _PAIR or not key or not value:
        raise ValueError(f"each line must be `name {_PAIR} value`; this one is not: {line[:100]}")
    return key, value


def _unquoted(text: str) -> tuple[str | None, str]:
    """Return the JSON string at the beginning of `text`, None if there is none, and what follows it."""
    if text.startswith(_QUOTE):
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            return None, text
        return value, text[end:].lstrip()
    return None, text


def _key_text(key: str) -> str:
    return _quoted(key) if _PAIR in key or key.startswith(_QUOTE) else key


def _value_text(value: object) -> str:
    text = str(value)
    return _quoted(text) if text.startswith(_QUOTE) else text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number_pairs(text: str) -> dict[str, int | float]:
    numbers: dict[str, int | float] = {}
    for key, value in _pairs(text).items():
        try:
            numbers[key] = _number(value)
        except ValueError:
            raise ValueError(f"{key[:100]}: {value[:100]} is not a number") from None
    return numbers


def _json(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from None
    except RecursionError:
        raise ValueError("must not be nested so deeply") from None


_READERS: Mapping[str, Any] = {
    "number": _number,
    "optional_flag": _flag,
    "lines": _lines,
    "pairs": _pairs,
    "number_pairs": _number_pairs,
    "json": _json,
    "secret": str.strip,
}
